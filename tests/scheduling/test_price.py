"""Prices of tokens."""

from __future__ import annotations

import pytest

from moduai.scheduling.price import LEAST_EVIDENCE, OTHER_SIZE, Price, assumed, size


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("Llama-3.1-8B-Instruct", 8e9),
        ("Qwen3-30B-A3B", 3e9),
        ("gemma-3-270m-it", 270e6),
        ("qwen2.5:0.5b", 0.5e9),
        ("EXAONE-4.0-1.2B", 1.2e9),
        ("gpt-4o", OTHER_SIZE),
        ("4bit-mystery", OTHER_SIZE),
        ("0b", 1),
        ("", OTHER_SIZE),
    ],
)
def test_the_size_is_in_the_name(model: str, parameters: float) -> None:
    assert size(model) == parameters


def test_a_first_price_follows_the_accelerator_and_the_model() -> None:
    assert assumed("NVIDIA H100 SXM", "llama-8b") == 2 * 8_000_000_000 // (989 * 300)
    assert assumed("RNGD", "llama-8b") > 3 * assumed("H100", "llama-8b")
    assert assumed("H100", "llama-70b") > 8 * assumed("H100", "llama-8b")
    assert assumed("", "mystery") > 0
    assert assumed("B200", "0b") == 1


def test_it_follows_what_is_measured_slowly() -> None:
    price = Price(1600)
    price.learn(10, 1)
    assert price.follow() == 1600
    price.learn(4000 * LEAST_EVIDENCE, LEAST_EVIDENCE)
    assert price.follow() == 1700
    for _ in range(40):
        price.learn(4000 * LEAST_EVIDENCE, LEAST_EVIDENCE)
        price.follow()
    assert price.value == pytest.approx(4000, rel=0.01)
    for _ in range(300):
        price.learn(0, LEAST_EVIDENCE)
        price.follow()
    assert price.value == 1
