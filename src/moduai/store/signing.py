"""The keys that sign (Ed25519): each purpose has its own, made at its first signature.

Words: a *purpose* says what signatures are for ("audit" and so on), and one of one purpose is none of
another; the key's *id* is the beginning of SHA-256 of its public half. A key that was *rotated* out
signs no more: its private half is gone, its public half stays to check what it signed.

They are in ``home/keyring/signing.json``, apart from the data and never in a backup. Fails closed: a
file that is missing, open to others or damaged is an error, and what cannot be checked is not valid.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from moduai.store.files import place
from moduai.store.keyring import KeyringError

PURPOSES = ("audit", "guest", "receipt", "release")
_HEX = re.compile(r"[0-9a-f]{64}")


class _Key(Struct, kw_only=True):
    id: str
    purpose: str
    public: str
    private: str = ""
    """Empty for one that was rotated out."""
    created_at: int
    retired_at: int = 0


class _File(Struct):
    keys: list[_Key] = []


class SigningKeys:
    """Signs and checks. Several processes may hold the same file: each sees what another made."""

    def __init__(self, file: Path) -> None:
        """Use ``open``."""
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, _Key] = {}

    @classmethod
    def open(cls, home: Path, *, create: bool = True) -> SigningKeys:
        """Read ``home/keyring/signing.json``, making it on first use. Raises KeyringError."""
        file = home / "keyring" / "signing.json"
        if create and not file.exists():
            _make(file)
        opened = cls(file)
        opened._refresh()
        return opened

    def sign(self, purpose: str, data: bytes) -> tuple[str, bytes]:
        """The id of the purpose's key and its signature of ``data``. Raises KeyringError."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  (6 MB)

        key = self._current(purpose) or self._renew(purpose, always=False)
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key.private))
        return key.id, private.sign(message(purpose, data))

    def verify(self, purpose: str, key_id: str, data: bytes, signature: bytes) -> bool:
        """Whether a key of ours for this purpose signed ``data``. An unknown key fails closed."""
        if key_id not in self._keys:
            self._refresh()
        key = self._keys.get(key_id)
        return key is not None and key.purpose == purpose and check(purpose, key.public, data, signature)

    def public(self, purpose: str) -> dict[str, str]:
        """Public keys of a purpose by id, in hexadecimal, the rotated ones too."""
        self._refresh()
        return {key.id: key.public for key in self._keys.values() if key.purpose == purpose}

    def rotate(self, purpose: str) -> str:
        """Sign with a new key from now on, forget the private half of the old one; returns the new id."""
        return self._renew(purpose, always=True).id

    def _current(self, purpose: str) -> _Key | None:
        if purpose not in PURPOSES:
            raise ValueError(f"there is no purpose {purpose!r} of signatures")
        self._refresh()
        return next((key for key in self._keys.values() if key.purpose == purpose and key.private), None)

    def _renew(self, purpose: str, *, always: bool) -> _Key:
        """The purpose's key, made if there is none (or ``always``). Of several processes one makes it."""
        with _told(self._file), _locked(self._file.parent):
            had = self._current(purpose)
            if had is not None and not always:
                return had
            new = _new(purpose)
            if had is not None:
                had.private, had.retired_at = "", new.created_at
            _write(self._file, _File([*self._keys.values(), new]))
            self._keys[new.id] = new
            return new

    def _refresh(self) -> None:
        """Read the file again if it is another than the one that was read."""
        try:
            found = self._file.stat()
        except OSError:
            raise KeyringError(f"{self._file} is missing: put back your copy of it") from None
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._keys = {key.id: key for key in _read(self._file).keys}
            self._seen = seen


def message(purpose: str, data: bytes) -> bytes:
    """The bytes that are signed: ``modu/PURPOSE``, a line feed, then the data."""
    return b"modu/" + purpose.encode() + b"\n" + data


def key_id(public: str) -> str:
    """The id of a public key in hexadecimal."""
    return "sig_" + hashlib.sha256(bytes.fromhex(public)).hexdigest()[:16]


def check(purpose: str, public: str, data: bytes, signature: bytes) -> bool:
    """Whether the holder of ``public`` (hexadecimal) signed ``data``; a bad key or signature fails closed."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    if not _HEX.fullmatch(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message(purpose, data))
    except InvalidSignature:
        return False
    return True


def _new(purpose: str) -> _Key:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw().hex()
    return _Key(
        id=key_id(public),
        purpose=purpose,
        public=public,
        private=private.private_bytes_raw().hex(),
        created_at=int(time.time()),
    )


def _make(file: Path) -> None:
    """An empty file; of several processes that make it at once, the first wins."""
    with _told(file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _draft(file, _File()) as draft, suppress(FileExistsError):  # then another process was first
            place(draft, file)


def _write(file: Path, content: _File) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one."""
    with _draft(file, content) as draft:
        draft.replace(file)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """A full disk or a folder that is closed to us, in the keyring's words."""
    try:
        yield
    except OSError as error:
        raise KeyringError(f"{file} cannot be written: {error.strerror}") from None


@contextmanager
def _draft(file: Path, content: _File) -> Iterator[Path]:
    """The content on disk beside the file; what is still there afterwards is removed."""
    draft = file.with_name(f".{secrets.token_hex(8)}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
            opened.flush()
            os.fsync(handle)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _read(file: Path) -> _File:
    try:
        with file.open("rb") as handle:
            mode = os.fstat(handle.fileno()).st_mode & 0o777
            text = handle.read()
    except OSError as error:
        raise KeyringError(f"{file} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyringError(f"{file} is open to others (mode {mode:o}): run chmod 600 {file}")
    try:
        found = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if found is None or not all(map(_sound, found.keys)):
        raise KeyringError(f"{file} is damaged: put back your copy of it")
    return found


def _sound(key: _Key) -> bool:
    hexadecimal = _HEX.fullmatch(key.public) and (not key.private or _HEX.fullmatch(key.private))
    return bool(hexadecimal) and key.id == key_id(key.public)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process or thread at a time changes the file; held for milliseconds."""
    handle = os.open(folder / ".signing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
