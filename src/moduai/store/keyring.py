"""The keyring: one master key in a file, from which each purpose has its own key.

It seals secrets that the database holds (such as the keys of engines), so that a copy of the
database or a backup is no use without it. It is never in a backup: keep a copy of the file apart.
Fails closed: without the right keyring nothing is unsealed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from moduai.store.files import place

SIZE = 32
_FORMAT = b"\x01"
_ID = 4
_NONCE = 12


class KeyringError(RuntimeError):
    """The keyring is missing, open to others, damaged or not the right one; the text says which."""


class Keyring:
    """Seals and unseals. Two keyrings with the same master key are the same."""

    def __init__(self, master: bytes) -> None:
        """``master`` is 32 random bytes."""
        self._master = master
        self._id = self.secret("keyring id")[:_ID]

    @classmethod
    def open(cls, home: Path, *, create: bool = True) -> Keyring:
        """Read ``home/keyring/master.key``, making it on first use. Raises KeyringError."""
        file = home / "keyring" / "master.key"
        if create and not file.exists():
            _make(file)
        return cls(_read(file))

    def secret(self, purpose: str) -> bytes:
        """32 bytes that belong to a purpose (HKDF-SHA256, RFC 5869); the same at every call."""
        extracted = hmac.digest(b"moduai keyring", self._master, hashlib.sha256)
        return hmac.digest(extracted, purpose.encode() + b"\x01", hashlib.sha256)

    def seal(self, purpose: str, clear: bytes) -> bytes:
        """Encrypt (AES-256-GCM), bound to the purpose."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  (6 MB)

        nonce = secrets.token_bytes(_NONCE)
        head = _FORMAT + self._id
        return head + nonce + AESGCM(self.secret(purpose)).encrypt(nonce, clear, head + purpose.encode())

    def fits(self, sealed: bytes) -> bool:
        """Whether this keyring sealed it; says nothing about damage."""
        return sealed[: 1 + _ID] == _FORMAT + self._id

    def unseal(self, purpose: str, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` made. Raises KeyringError."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        head, rest = sealed[: 1 + _ID], sealed[1 + _ID :]
        if head[:1] != _FORMAT or len(rest) < _NONCE + 16:
            raise KeyringError("a sealed secret in the database is damaged")
        if not self.fits(sealed):
            raise KeyringError("a secret was sealed with another keyring: put back keyring/master.key")
        key = AESGCM(self.secret(purpose))
        try:
            return key.decrypt(rest[:_NONCE], rest[_NONCE:], head + purpose.encode())
        except InvalidTag:
            raise KeyringError("a sealed secret in the database is damaged or of another purpose") from None


def _make(file: Path) -> None:
    """Write a new master key; of several processes that do so at once, the first wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{secrets.token_hex(8)}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(SIZE).hex().encode() + b"\n")
        os.fsync(handle)
        place(draft, file)
    except FileExistsError:
        pass  # another process was first
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)


def _read(file: Path) -> bytes:
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        raise KeyringError(f"{file} is missing: put back your copy of it") from None
    except OSError as error:
        raise KeyringError(f"{file} cannot be read: {error.strerror}") from None
    try:
        mode = os.fstat(handle).st_mode & 0o777
        text = os.read(handle, 1024)
    finally:
        os.close(handle)
    if mode & 0o077:
        raise KeyringError(f"{file} is open to others (mode {mode:o}): run chmod 600 {file}")
    try:
        master = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        master = b""
    if len(master) != SIZE:
        raise KeyringError(f"{file} is damaged: put back your copy of it")
    return master
