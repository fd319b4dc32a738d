"""The beginning of a prompt as chained hashes, so that requests that share it can meet at one engine.

What is hashed is the raw JSON of the field that holds the prompt, as the client wrote it: no tokenizer and no
decoding on the lane, and what stands around it (model, sampling) makes no difference. What an engine's chat
template puts before the messages (`BEFORE`) is part of the salt, as are the model and the organisation: one
organisation can neither find out what another one has asked nor be sent to what it has cached.

The hash is BLAKE2b (RFC 7693) under a key from the keyring that no client knows, so nobody can write two
prompts that look alike, and all gateways of a cell give the same prompt the same hashes: who goes on talking
at another gateway is found all the same. If two did look alike, a request would go to an engine that has to
compute more: hashes choose where, never what is charged or answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from msgspec import Raw

from moduai.scheduling.prefix import BLOCK

MOST_BLOCKS = 64
"""Blocks that are looked at: whoever shares the first 64 KiB most often shares what follows."""
BEFORE = ("tools", "functions", "instructions")
SIZE = 7
"""Bytes of a hash: as a number, a machine word."""


def salt(key: bytes, organisation: str, model: str, fields: Mapping[str, Raw]) -> bytes:
    """What else must be the same for a prompt to be held."""
    parts = [organisation.encode(), model.encode("utf-8", "surrogatepass")]
    parts += [name.encode() + bytes(fields[name]) for name in BEFORE if name in fields]
    made = blake2b(digest_size=SIZE, key=key)
    for part in parts:
        made.update(len(part).to_bytes(8))
        made.update(part)
    return made.digest()


def blocks(prompt: bytes, salt: bytes) -> tuple[int, ...]:
    """Hashes of the prompt's whole blocks; each stands for all up to its end. About 2 µs a block."""
    chain: list[int] = []
    link = salt
    for start in range(0, min(len(prompt) - BLOCK + 1, MOST_BLOCKS * BLOCK), BLOCK):
        link = blake2b(prompt[start : start + BLOCK], digest_size=SIZE, key=link).digest()
        chain.append(int.from_bytes(link))
    return tuple(chain)
