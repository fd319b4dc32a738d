"""People with an account: made, found, changed. Their names and addresses are sealed with their own keys.

Region, group and language are coarse codes that a person may leave empty. Each change announces
"people"; a new person changes nothing that is known.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import unicodedata
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Row, Select, delete, select, update

from moduai.accounts.keys import place_keys
from moduai.accounts.organisations import AccountError, default_organisation, get_organisation
from moduai.accounts.roles import ADMIN, ROLES
from moduai.accounts.tables import people, sessions
from moduai.store.database import Connection
from moduai.store.feed import announce
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectKeys

TOPIC = "people"
PURPOSE = "profile"
STATES = ("active", "blocked")
DAY_S = 86_400
MOST_NAME, MOST_ADDRESS = 100, 254
SCANNED = 20_000
"""Most people that a search in the service unseals; the command line looks at all."""
_BATCH = 50
_ID = re.compile(r"[a-z]{3}_[0-9A-Za-z]{1,64}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\]{1,64}@[^\s@<>\"(),:;\\]{1,189}")
_DIRECTIONS = dict.fromkeys(
    map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
_JOINERS = {"\u200c", "\u200d"}


class Person(Struct, frozen=True, kw_only=True):
    """A person with an account. ``name`` and ``address`` are empty where they cannot be unsealed."""

    id: str
    organisation: str
    """Its id."""
    role: str
    state: str
    """active or blocked."""
    region: str = ""
    group: str = ""
    history: bool = False
    """Whether the person wants conversations to be kept."""
    language: str = ""
    name: str = ""
    address: str = ""
    created_at: int = 0
    seen_on: int = 0
    """The day (its first second, UTC) of the last sign-in or rotation of a session; 0: never."""


class _Profile(Struct, frozen=True):
    name: str = ""
    address: str = ""


def clean_name(text: str) -> str:
    """A name as it is kept: direction marks taken out, spaces made single. Raises AccountError."""
    return clean_line(text, MOST_NAME, "a name")


def clean_line(text: str, most: int, what: str) -> str:
    """One line of text for people, without direction marks or control characters. Raises AccountError."""
    if len(text) <= 10 * most:  # before any work on it
        kept = unicodedata.normalize("NFC", " ".join(text.translate(_DIRECTIONS).split()))
        if len(kept) <= most and all(char.isprintable() or char in _JOINERS for char in kept):
            return kept
    raise AccountError(f"{what} has at most {most} printable characters")


def visible_line(text: str) -> str:
    """Any text on one line, without what ``clean_line`` refuses or takes out."""
    seen = "".join(char for char in text if char.isprintable() or char.isspace() or char in _JOINERS)
    return unicodedata.normalize("NFC", " ".join(seen.split()))


async def create_person(  # noqa: PLR0913  (the fields of a person)
    connection: Connection,
    subjects: SubjectKeys,
    *,
    name: str = "",
    address: str = "",
    role: str = "resident",
    organisation: str = "",
    region: str = "",
    group: str = "",
    language: str = "",
    history: bool = False,
) -> Person:
    """Add a person, with a key of their own. ``organisation`` is a name or id (empty: the default one).

    Raises AccountError, KeyringError.
    """
    given = {"name": name, "address": address, "role": role, "region": region, "group": group}
    fields = _checked({**given, "language": language, "history": history})
    owner = await (
        get_organisation(connection, organisation) if organisation else default_organisation(connection)
    )
    made = Person(
        id=f"sub_{secrets.token_hex(12)}",
        organisation=owner.id,
        state="active",
        created_at=int(time.time()),
        **fields,
    )
    await connection.execute(people.insert().values(_row(subjects, made)))
    return made


async def get_person(connection: Connection, subjects: SubjectKeys, person: str) -> Person:
    """One person by id. Raises AccountError where there is none."""
    if _ID.fullmatch(person):
        row = (await connection.execute(select(people).where(people.c.id == person))).first()
        if row is not None:
            return _person(subjects, row)
    raise AccountError(f"there is no person {person[:40]!r}: see modu person list")


async def find_people(
    connection: Connection,
    subjects: SubjectKeys,
    text: str = "",
    *,
    role: str = "",
    organisation: str = "",
    limit: int = 50,
    after: str = "",
    most: int = SCANNED,
) -> list[Person]:
    """People whose id begins with ``text`` or whose name or address holds it, by id; all for no text.

    ``organisation`` is an id; ``after`` is the id of the last one seen. Names are sealed, and there is no
    index of them that would outlive a destroyed key, so a search unseals each: at most ``most`` of them (some
    60 µs each), a batch at a time, between which others have their turn.
    """
    wanted, found, scanned = text[:MOST_ADDRESS].strip().casefold(), list[Person](), 0
    if not (wanted + after + role + organisation).isprintable():
        return []
    query = _narrowed(select(people).order_by(people.c.id), role, organisation)
    if wanted.startswith("sub_"):
        query = query.where(people.c.id.startswith(wanted, autoescape=True))
    while len(found) < limit and scanned < most:
        size = _BATCH if wanted else min(_BATCH, limit)
        rows = (await connection.execute(query.where(people.c.id > after).limit(size))).all()
        met = (_person(subjects, row) for row in rows)
        found += [one for one in met if _meets(one, wanted)][: limit - len(found)]
        if len(rows) < size:
            break
        scanned, after = scanned + len(rows), rows[-1].id
        await asyncio.sleep(0)
    return found


async def change_person(connection: Connection, subjects: SubjectKeys, person: str, **changes: Any) -> Person:
    """Change fields of a person; "" clears a code. With another role or state they are signed out
    everywhere, so that it holds at once; while they are blocked their keys are refused. Their keys count
    for the region and group that they have.

    Raises AccountError on a field that is not known or a value that is not valid, KeyringError where the
    name or address is changed and cannot be sealed.
    """
    had = await get_person(connection, subjects, person)
    fields = _checked(changes)
    if "organisation" in fields:
        fields["organisation"] = (await get_organisation(connection, fields["organisation"])).id
    made = msgspec.structs.replace(had, **fields)
    values = {name: getattr(made, name) for name in fields if name not in _Profile.__struct_fields__}
    if fields.keys() & set(_Profile.__struct_fields__):
        values["sealed_profile"] = _sealed(subjects, made)
    if values:
        await connection.execute(update(people).where(people.c.id == person).values(values))
        await announce(connection, TOPIC)
    if values.keys() & {"region", "group"}:
        await place_keys(connection, person, made.region, made.group)
    if "state" in values:
        await announce(connection, "keys")
    if (made.role, made.state) != (had.role, had.state):
        await connection.execute(delete(sessions).where(sessions.c.person == person))
        await announce(connection, "sessions")
    return made


async def is_last_admin(connection: Connection, person: str) -> bool:
    """Whether the service would have no active admin without this person. Two who go at the same moment may
    both be told no (fails open): ``modu invite create --role admin`` brings one back.
    """
    admins = select(people.c.id).where(people.c.role == ADMIN, people.c.state == "active")
    return (await connection.scalars(admins.limit(2))).all() == [person]


async def note_seen(connection: Connection, person: str, now: float) -> None:
    """Remember the day on which a person was here; announces nothing."""
    day = int(now) // DAY_S * DAY_S
    where = (people.c.id == person, people.c.seen_on < day)
    await connection.execute(update(people).where(*where).values(seen_on=day))


def _narrowed(query: Select[Any], role: str, organisation: str) -> Select[Any]:
    if role:
        query = query.where(people.c.role == role)
    return query.where(people.c.organisation == organisation) if organisation else query


def _meets(person: Person, wanted: str) -> bool:
    return (
        not wanted
        or person.id.startswith(wanted)
        or any(wanted in text.casefold() for text in (person.name, person.address))
    )


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    """The same fields, cleaned. Raises AccountError."""
    fields = {}
    for name, value in changes.items():
        check = _CHECKS.get(name)
        if check is None:
            raise AccountError(f"a person has no {name!r} that can be changed: {', '.join(_CHECKS)}")
        fields[name] = check(name, value)
    return fields


def _is_code(name: str, value: str) -> str:
    if value and not _CODE.fullmatch(value):
        raise AccountError(f"a {name} is a short code, such as XA-1: letters, digits, '-', '_' and '.'")
    return value


def _is_language(_: str, value: str) -> str:
    if value and not _LANGUAGE.fullmatch(value):
        raise AccountError("a language is a code such as ko or en")
    return value


def _is_address(_: str, value: str) -> str:
    value = value.strip() if len(value) <= 2 * MOST_ADDRESS else value
    if value and not (len(value) <= MOST_ADDRESS and value.isprintable() and _ADDRESS.fullmatch(value)):
        raise AccountError(f"an address is an e-mail address of at most {MOST_ADDRESS} characters")
    return value


def _is_one_of(allowed: tuple[str, ...]) -> Any:
    def check(name: str, value: str) -> str:
        if value not in allowed:
            raise AccountError(f"a {name} is one of {', '.join(allowed)}")
        return value

    return check


def _is_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise AccountError(f"{name} is true or false")
    return value


_CHECKS: dict[str, Any] = {
    "name": lambda _, value: clean_name(value),
    "address": _is_address,
    "role": _is_one_of(ROLES),
    "state": _is_one_of(STATES),
    "organisation": lambda _, value: value,
    "region": _is_code,
    "group": _is_code,
    "language": _is_language,
    "history": _is_bool,
}


def _row(subjects: SubjectKeys, person: Person) -> dict[str, Any]:
    kept = msgspec.structs.asdict(person)
    del kept["name"], kept["address"]
    return {**kept, "sealed_profile": _sealed(subjects, person)}


def _sealed(subjects: SubjectKeys, person: Person) -> bytes:
    clear = msgspec.msgpack.encode(_Profile(person.name, person.address))
    return subjects.seal(person.id, PURPOSE, clear)


def _person(subjects: SubjectKeys, row: Row[Any]) -> Person:
    """A person from a row. A lost key shows as empty names: an account works without them."""
    values = dict(row._mapping)
    sealed = bytes(values.pop("sealed_profile"))
    try:
        profile = msgspec.msgpack.decode(subjects.unseal(values["id"], PURPOSE, sealed), type=_Profile)
    except (KeyringError, msgspec.DecodeError):
        profile = _Profile()
    return Person(**values, name=profile.name, address=profile.address)
