"""A key for each subject: what seals a person's text, apart from the data and from every backup of it.

The keys are in ``home/keyring/subjects.db``, each wrapped by the keyring. To destroy a subject's key is
to delete all that was sealed with it, wherever copies of that are: it is overwritten in the file, and the
subject is remembered, so that nothing is sealed for it again. What a disk itself keeps of blocks that
were overwritten is beyond us: use an encrypted disk.

A key that cannot be unwrapped (another keyring, damage) is never replaced or removed: a new one is made
beside it, so putting back the lost file makes everything readable again. Fails closed: without its key
nothing is read, and without a usable file nothing is sealed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from moduai.store.files import file_address, identity, place
from moduai.store.keyring import Keyring, KeyringError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = "subjects.db"
SIZE = 32
CACHED = 4096
"""Subjects whose keys stay in memory."""
LOOK_S = 1.0
"""A key that another process destroyed is out of this one's memory after this long at most."""
BUSY_S = 2.0
_FORMAT = b"\x01"
_ID = 4
_NONCE = 12
_HEAD = 1 + _ID
_LOST = "cannot be read: its key is lost (put back keyring/master.key and keyring/subjects.db)"
_SCHEMA = """
CREATE TABLE keys (
    subject TEXT, id BLOB, wrapped BLOB, made_at INTEGER, PRIMARY KEY (subject, id)
) WITHOUT ROWID;
CREATE TABLE destroyed (subject TEXT PRIMARY KEY, at INTEGER) WITHOUT ROWID;
"""


class SubjectGoneError(KeyringError):
    """The subject's key was destroyed: nothing is sealed or read for it any more."""


class SubjectsAwayError(KeyringError):
    """The file of keys is locked, full, damaged or away; the text says which. Trying again may help."""


class _Keys(Struct, frozen=True):
    """A subject's keys by id; None for one that cannot be unwrapped. ``newest`` seals."""

    ciphers: dict[bytes, AESGCM | None]
    newest: bytes = b""
    """Id of the newest key that can be used; empty if there is none."""


class SubjectKeys:
    """Seals and unseals for subjects. One object may be used by several threads."""

    def __init__(self, file: Path, keyring: Keyring) -> None:
        """Cheap: the file is opened at first use. See ``open``."""
        self.file = file
        self._keyring = keyring
        self._lock = threading.RLock()
        self._cache: OrderedDict[str, _Keys] = OrderedDict()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._version = -1
        self._nonces = _nonces()
        self._looked_at = 0.0

    @classmethod
    def open(cls, home: Path, keyring: Keyring, *, create: bool = True) -> SubjectKeys:
        """The keys of a home folder, whose file is made on first use. Raises KeyringError where it is open
        to others, or missing and not to be made.
        """
        file = home / "keyring" / FILE
        if create and not file.exists():
            _make(file)
        try:
            mode = file.stat().st_mode & 0o777
        except OSError as error:
            raise SubjectsAwayError(f"{file} cannot be read: {error.strerror}") from None
        if mode & 0o077:
            raise KeyringError(f"{file} is open to others (mode {mode:o}): run chmod 600 {file}")
        return cls(file, keyring)

    def close(self) -> None:
        """Forget every key and close the file."""
        with self._lock:
            self._cache.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def create(self, subject: str) -> None:
        """Make a subject's key unless it has one. Raises SubjectGoneError, SubjectsAwayError."""
        with self._lock:
            self._look()
            self._usable(subject)

    def seal(self, subject: str, purpose: str, clear: bytes) -> bytes:
        """Encrypt (AES-256-GCM), bound to subject and purpose; the key is made at the first time.

        About a microsecond and the cipher's time once the key is in memory. Raises SubjectGoneError,
        SubjectsAwayError.
        """
        (sealed,) = self.seal_all([(subject, purpose, clear)])
        if isinstance(sealed, KeyringError):
            raise sealed
        return sealed

    def seal_all(self, texts: Sequence[tuple[str, str, bytes]]) -> list[bytes | KeyringError]:
        """Several at once: subject, purpose and text of each. What cannot be sealed is the error instead."""
        with self._lock:
            try:
                self._look()
            except SubjectsAwayError as error:
                return [error] * len(texts)
            return [self._seal(*text) for text in texts]

    def _seal(self, subject: str, purpose: str, clear: bytes) -> bytes | KeyringError:
        try:
            keys = self._usable(subject)
        except KeyringError as error:
            return error
        cipher = keys.ciphers[keys.newest]
        assert cipher is not None  # noqa: S101  (``newest`` is never one that cannot be used)
        nonce = next(self._nonces)
        head = _FORMAT + keys.newest
        return head + nonce + cipher.encrypt(nonce, clear, _bound(head, subject, purpose))

    def at_hand(self, subject: str) -> bool:
        """Whether to seal for a subject now needs no look at the file, which could have to be waited for."""
        keys = self._cache.get(subject)
        return keys is not None and bool(keys.newest) and time.monotonic() - self._looked_at < LOOK_S

    def unseal(self, subject: str, purpose: str, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` made. Raises SubjectGoneError, SubjectsAwayError, or KeyringError where the
        key is lost or the text damaged.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  (6 MB)

        head, rest = sealed[:_HEAD], sealed[_HEAD:]
        if head[:1] != _FORMAT or len(rest) < _NONCE + 16:
            raise KeyringError("a sealed text is damaged")
        with self._lock:
            self._look()
            cipher = self._keys(subject).ciphers.get(head[1:])
            if cipher is None and self._is_destroyed(subject):
                raise SubjectGoneError(f"the key of {subject} was destroyed")
        if cipher is None:
            raise KeyringError(_LOST)
        try:
            return cipher.decrypt(rest[:_NONCE], rest[_NONCE:], _bound(head, subject, purpose))
        except InvalidTag:
            raise KeyringError("a sealed text is damaged, or of another subject or purpose") from None

    def readable(self, subject: str, sealed: bytes) -> bool:
        """Whether the key that sealed a text is here and can be used; says nothing about damage."""
        with self._lock:
            self._look()
            return self._keys(subject).ciphers.get(sealed[1:_HEAD]) is not None

    def destroy(self, subject: str, at: int) -> None:
        """Destroy a subject's keys for good and remember that it was at ``at`` (Unix seconds). May be
        repeated: the first time stays. Raises SubjectsAwayError: nothing was destroyed then.
        """
        with self._lock:
            self._look()
            with self._writing() as connection:
                connection.execute("INSERT OR IGNORE INTO destroyed VALUES (?, ?)", (subject, at))
                connection.execute("DELETE FROM keys WHERE subject = ?", (subject,))
            self._cache.pop(subject, None)

    def destroyed(self) -> dict[str, int]:
        """Subjects whose keys were destroyed, and when (Unix seconds). Raises SubjectsAwayError."""
        with self._lock, self._told() as connection:
            return dict(connection.execute("SELECT subject, at FROM destroyed"))

    def forget_cached(self, subject: str | None = None) -> None:
        """Let go of one subject's keys in memory, or of all."""
        with self._lock:
            if subject is None:
                self._cache.clear()
            else:
                self._cache.pop(subject, None)

    def _look(self) -> None:
        """Every ``LOOK_S``: let go of what is in memory if another process wrote, or the file is another."""
        now = time.monotonic()
        if self._connection is not None and now - self._looked_at < LOOK_S:
            return
        with self._told() as connection:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._cache.clear()
        self._version, self._looked_at = version, now

    def _usable(self, subject: str) -> _Keys:
        """A subject's keys, of which one can seal; it is made if need be."""
        keys = self._keys(subject)
        if keys.newest:
            return keys
        with self._writing() as connection:
            keys = self._read(connection, subject)  # another process may have been first
            if not keys.newest:
                if _is_destroyed(connection, subject):
                    raise SubjectGoneError(f"the key of {subject} was destroyed")
                key = secrets.token_bytes(SIZE)
                row = (subject, _id(key), self._keyring.seal(_purpose(subject), key), int(time.time()))
                connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", row)
                keys = self._read(connection, subject)
        self._remember(subject, keys)
        return keys

    def _keys(self, subject: str) -> _Keys:
        found = self._cache.get(subject)
        if found is not None:
            self._cache.move_to_end(subject)
            return found
        with self._told() as connection:
            found = self._read(connection, subject)
        if found.ciphers:
            self._remember(subject, found)
        return found

    def _remember(self, subject: str, keys: _Keys) -> None:
        self._cache[subject] = keys
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)

    def _read(self, connection: sqlite3.Connection, subject: str) -> _Keys:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  (6 MB)

        query = "SELECT id, wrapped FROM keys WHERE subject = ? ORDER BY made_at, id"
        ciphers: dict[bytes, AESGCM | None] = {}
        newest = b""
        for key_id, wrapped in connection.execute(query, (subject,)).fetchall():
            try:
                key = self._keyring.unseal(_purpose(subject), wrapped)
            except KeyringError:
                ciphers[key_id] = None
            else:
                ciphers[key_id] = AESGCM(key)
                newest = key_id
        return _Keys(ciphers, newest)

    def _is_destroyed(self, subject: str) -> bool:
        with self._told() as connection:
            return _is_destroyed(connection, subject)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; on disk when it ends."""
        with self._told() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:  # a failed COMMIT leaves it open, a full disk does not
                    connection.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[sqlite3.Connection]:
        """The connection, made anew if the file was replaced; SQLite's errors in the keyring's words."""
        try:
            if self._connection is None or self._opened != identity(self.file):
                self._connect()
            assert self._connection is not None  # noqa: S101  (for the type checker)
            yield self._connection
        except sqlite3.OperationalError as error:
            raise SubjectsAwayError(f"{self.file} cannot be used: {error}") from None
        except sqlite3.Error as error:
            told = f"{self.file} is damaged ({error}): put back your copy, or move it away to begin anew"
            raise SubjectsAwayError(told) from None

    def _connect(self) -> None:
        self.close()
        opened = identity(self.file)
        connection = sqlite3.connect(
            file_address(self.file), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        for pragma in ("secure_delete=ON", "synchronous=FULL", "temp_store=MEMORY", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")
        self._connection, self._opened, self._version = connection, opened, -1


def _make(file: Path) -> None:
    """Write an empty file of keys; of several processes that do so at once, the first wins."""
    draft = file.with_name(f".{secrets.token_hex(8)}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.executescript(_SCHEMA)
        finally:
            connection.close()
        place(draft, file)
    except FileExistsError:
        pass  # another process was first
    except (OSError, sqlite3.Error) as error:
        raise SubjectsAwayError(f"{file} cannot be made: {error}") from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _is_destroyed(connection: sqlite3.Connection, subject: str) -> bool:
    query = "SELECT 1 FROM destroyed WHERE subject = ?"
    return connection.execute(query, (subject,)).fetchone() is not None


def _purpose(subject: str) -> str:
    """What the keyring binds a subject's key to: no key can be given to another subject."""
    return f"subject key {subject}"


def _id(key: bytes) -> bytes:
    """What a key is told by in what it sealed; says nothing about the key."""
    return hashlib.sha256(b"moduai subject key id" + key).digest()[:_ID]


def _nonces() -> Iterator[bytes]:
    """Random nonces, asked of the system for many at once: each asking costs a microsecond."""
    while True:
        many = os.urandom(_NONCE * 256)
        for at in range(0, len(many), _NONCE):
            yield many[at : at + _NONCE]


def _bound(head: bytes, subject: str, purpose: str) -> bytes:
    return b"%b\x00%b\x00%b" % (head, purpose.encode(), subject.encode())
