from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.store.keyring import SIZE, Keyring, KeyringError


@settings(max_examples=30)
@given(clear=st.binary(max_size=300), purpose=st.text(min_size=1, max_size=20))
def test_what_is_sealed_is_unsealed_and_nothing_shows(clear: bytes, purpose: str) -> None:
    keyring = Keyring(bytes(SIZE))
    sealed = keyring.seal(purpose, clear)
    assert keyring.unseal(purpose, sealed) == clear
    assert len(clear) < 4 or clear not in sealed
    assert keyring.seal(purpose, clear) != sealed


@given(position=st.integers(min_value=0, max_value=60), flip=st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_found(position: int, flip: int) -> None:
    keyring = Keyring(bytes(SIZE))
    sealed = bytearray(keyring.seal("engine key", b"sk-123"))
    sealed[position % len(sealed)] ^= flip
    with pytest.raises(KeyringError):
        keyring.unseal("engine key", bytes(sealed))


def test_another_purpose_cannot_unseal() -> None:
    keyring = Keyring(bytes(SIZE))
    with pytest.raises(KeyringError, match="purpose"):
        keyring.unseal("cookies", keyring.seal("engine key", b"sk-123"))


def test_another_keyring_is_named() -> None:
    sealed = Keyring(bytes(SIZE)).seal("engine key", b"sk-123")
    with pytest.raises(KeyringError, match="another keyring"):
        Keyring(b"\x01" * SIZE).unseal("engine key", sealed)


def test_a_truncated_secret_is_damaged() -> None:
    with pytest.raises(KeyringError, match="damaged"):
        Keyring(bytes(SIZE)).unseal("engine key", b"\x01abc")


def test_secrets_differ_by_purpose_and_stay() -> None:
    keyring = Keyring(bytes(SIZE))
    assert keyring.secret("cookies") == Keyring(bytes(SIZE)).secret("cookies")
    assert keyring.secret("cookies") != keyring.secret("guests")
    assert len(keyring.secret("cookies")) == 32


def test_the_derivation_is_hkdf() -> None:
    """The same as cryptography's HKDF-SHA256, whose purpose is the info."""
    expected = HKDF(SHA256(), 32, b"moduai keyring", b"cookies").derive(b"\x07" * SIZE)
    assert Keyring(b"\x07" * SIZE).secret("cookies") == expected


def test_it_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    first = Keyring.open(tmp_path).secret("x")
    assert Keyring.open(tmp_path).secret("x") == first
    assert (tmp_path / "keyring").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keyring" / "master.key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "keyring") == ["master.key"]  # noqa: PTH208


def test_many_that_make_it_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: Keyring.open(tmp_path).secret("x"), range(16)))
    assert len(secrets) == 1


def test_a_lost_one_is_named_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="missing: put back"):
        Keyring.open(tmp_path, create=False)
    assert not (tmp_path / "keyring").exists()


def test_one_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Keyring.open(tmp_path)
    (tmp_path / "keyring" / "master.key").chmod(0o640)
    with pytest.raises(KeyringError, match="chmod 600"):
        Keyring.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"\xff" * 64])
def test_a_damaged_one_is_refused(tmp_path: Path, content: bytes) -> None:
    Keyring.open(tmp_path)
    (tmp_path / "keyring" / "master.key").write_bytes(content)
    with pytest.raises(KeyringError, match="damaged"):
        Keyring.open(tmp_path)
