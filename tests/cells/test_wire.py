"""What gateways and dispatchers say: whole, in order, bounded, and proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.cells import wire

ASK = wire.Ask(7, "m", ("c", "o", "p"), "page", 10, 20, 5, (1, 2), ("eng",), 1000)
ALL = [
    wire.Challenge(1, b"n" * 16),
    wire.Hello(1, "g", 3, b"n", b"p"),
    wire.Welcome(3, b"p"),
    ASK,
    wire.Runs(ASK, "eng", 5, 2),
    wire.Told(),
    wire.Leaves(7),
    wire.Came(7, 3),
    wire.Over(7, (1, 2, 3), 4, 5),
    wire.Over(7, None, 0, -1),
    wire.Seen("eng", ok=True),
    wire.Granted(7, "eng", 0, 9, 10, 11),
    wire.Waits(7, 1, 2, 3, 4, "queue", ""),
    wire.Turned(7, "line_full", 5),
    wire.Open({"eng": 1}, ("other",), degraded=False),
    wire.Figures({"m": 1}, [], {}, {"m": 2_000_000_000}, {"east": 5}),
    wire.Bye(),
]


@given(st.lists(st.integers(1, 40), max_size=200))
def test_in_whatever_pieces_they_come(sizes: list[int]) -> None:
    data = wire.frame(ALL[:9]) + wire.frame([]) + wire.frame(ALL[9:])
    frames, got = wire.Frames(), []
    for size in sizes:
        got += frames.feed(data[:size])
        data = data[size:]
    assert got + frames.feed(data) == ALL


@pytest.mark.parametrize(
    "bad",
    [
        (wire.MOST_BYTES + 1).to_bytes(4, "big"),
        b"\0\0\0\1\xc1",
        b"\0\0\0\3\x91\x91\x63",  # a list of a message of an unknown kind
        wire.frame([ASK])[:4] + b"\xff" * 60,
    ],
)
def test_nonsense_is_refused(bad: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.Frames().feed(bad)


def test_a_stranger_may_say_little() -> None:
    with pytest.raises(wire.WireError):
        wire.Frames(64).feed(wire.frame([ASK] * 9))


def test_only_who_knows_the_secret_proves_it() -> None:
    proof = wire.proof(b"secret", b"gateway", b"g", b"nonce")
    assert wire.proves(proof, b"secret", b"gateway", b"g", b"nonce")
    assert not wire.proves(proof, b"other", b"gateway", b"g", b"nonce")
    assert not wire.proves(proof, b"secret", b"dispatcher", b"g", b"nonce")
    assert not wire.proves(proof, b"secret", b"gateway", b"gn", b"once")
    assert not wire.proves(b"", b"secret", b"gateway", b"g", b"nonce")
