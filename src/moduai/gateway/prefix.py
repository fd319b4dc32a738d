"""The beginning of a prompt as chained hashes, so that requests that share it can meet at one engine.

What is hashed is the raw JSON of the field that holds the prompt, as the client wrote it: no tokenizer and no
decoding on the lane, and what stands around it (model, sampling) makes no difference. What an engine's chat
template puts before the messages (`BEFORE`) is part of the salt, as are the model and the organisation: one
organisation can neither find out what another one has asked nor be sent to what it has cached.

The hash is Python's own of bytes, SipHash under a key of this process that no client knows, so nobody can
write two prompts that look alike. If two did, a request would go to an engine that has to compute more:
hashes choose where, never what is charged or answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from moduai.scheduling.prefix import BLOCK

MOST_BLOCKS = 64
"""Blocks that are looked at: whoever shares the first 64 KiB most often shares what follows."""
BEFORE = ("tools", "functions", "instructions")


def salt(organisation: str, model: str, fields: Mapping[str, Raw]) -> int:
    """What else must be the same for a prompt to be held."""
    before = [bytes(fields[name]) for name in BEFORE if name in fields]
    return hash((organisation, model, *before))


def blocks(prompt: bytes, salt: int) -> tuple[int, ...]:
    """Hashes of the prompt's whole blocks; each stands for all up to its end. 0.1 µs and 0.6 µs a block."""
    if len(prompt) < BLOCK:
        return ()
    chain: list[int] = []
    link = salt
    for start in range(0, min(len(prompt) - BLOCK + 1, MOST_BLOCKS * BLOCK), BLOCK):
        link = hash((link, prompt[start : start + BLOCK]))
        chain.append(link)
    return tuple(chain)
