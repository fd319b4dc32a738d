"""A folder of files to a ``Pack``, or all that is wrong with it.

Rule: nothing is guessed and nothing is run. A file that is no TOML, a key that is unknown or missing, a value
of the wrong type, a row that contradicts another: each is told with its file and line, all at once, and a
pack with a fault is not used (fails closed). A mark ``# GAP:`` says that something is still to be filled in,
and is a fault too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from moduai.lined import Lined, LinedError, decoded, near
from moduai.packs import check, plain, typed
from moduai.packs.files import MOST_BYTES, TABLES, contents
from moduai.packs.pack import KINDS, STRATEGY, Document, Fault, Pack, Problem
from moduai.packs.schema import Data
from moduai.packs.where import POLICY

MOST_ROWS = 20_000
MOST_FAULTS = 200
"""More are not told: whoever has these begins with them."""
GAP = re.compile(r"#\s*GAP:\s*(.*)")

ParsePolicy = Callable[[str], object]
"""Raises ValueError; its ``problems`` have ``line`` and ``text`` each (``gateway.policy_text.parse``)."""


def unread(policy: str) -> None:
    """For who has no use for the policy: it is not looked at."""


class PackError(ValueError):
    """A pack cannot be used. The text has a line for each fault."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(told, faults)))
        self.faults = faults


class Examined(NamedTuple):
    """A pack as far as it can be read."""

    pack: Pack | None
    """None where it cannot be known which country it is of."""
    faults: list[Fault]
    notes: list[Fault]
    """What may be right, and is worth a look."""


def read(folder: Path, parse_policy: ParsePolicy) -> Pack:
    """The pack of a folder. Raises PackError with all faults. Fails closed."""
    pack, faults, _ = examine(folder, parse_policy)
    if faults or pack is None:
        raise PackError(faults)
    return pack


def examine(folder: Path, parse_policy: ParsePolicy) -> Examined:
    """Everything that there is to say of a folder."""
    files, faults = contents(folder)
    reading = _Reading(faults)
    for name in (*TABLES, *(name for name in files if name.startswith(f"{STRATEGY}/"))):
        if name in files:
            reading.tables(name, files[name])
            continue
        reading.skip(name)
        if not any(fault.file == name for fault in faults):
            faults.append(Fault(name, 0, (), "this file is missing"))
    policy = reading.text(POLICY, files)
    faults += _policy_faults(policy, parse_policy)
    documents = [name.split("/") for name in files if name.startswith("documents/")]
    messages = [name for name in files if name.startswith("locales/")]
    fields: dict[str, Any] = {
        "policy": policy,
        "documents": tuple(Document(one[1], one[2], reading.text("/".join(one), files)) for one in documents),
        "messages": {name.split("/")[1]: reading.text(name, files) for name in messages},
        **reading.fields(),
    }
    if None in fields.values():
        return Examined(None, _in_order(faults), [])
    pack = Pack(folder=str(folder), **fields)
    faults += [reading.placed(one) for one in check.problems(pack, reading.unread)]
    faults += plain.faults(pack)
    return Examined(pack, _in_order(faults), [reading.placed(one) for one in check.notes(pack)])


def told(fault: Fault) -> str:
    """A fault as people read it: ``strategy/a.toml:12: claim.3.number: …``."""
    where = f"{fault.file}:{fault.line}" if fault.line else fault.file
    path = ".".join(map(str, fault.path))
    return f"{where}: {path}: {fault.text}" if path else f"{where}: {fault.text}"


def _in_order(faults: list[Fault]) -> list[Fault]:
    unique = dict.fromkeys(sorted(faults, key=lambda one: (one.file, one.line)))
    return list(unique)[:MOST_FAULTS]


class _Reading:
    """Rows as they come, and where each stands."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        self.unread: set[tuple[str, str]] = set()
        """Kind and id of rows that are left out for their faults: references to them are not told."""
        self._rows: dict[str, list[Data]] = {kind: [] for kind in KINDS}
        self._places: dict[str, list[tuple[str, int]]] = {kind: [] for kind in KINDS}
        """File and number in the file, beside ``_rows``."""
        self._files: dict[str, Lined] = {}
        self._count = 0

    def tables(self, name: str, data: bytes) -> None:
        """Take the tables of a file."""
        try:
            lined = self._files[name] = Lined(data, MOST_BYTES)
        except LinedError as error:
            self.faults.append(Fault(name, error.line, (), error.text))
            self.skip(name)
            return
        for line, comment in lined.comments.items():
            if gap := GAP.search(comment):
                self.faults.append(Fault(name, line, (), f"to be filled in: {gap[1]}"))
        kinds = _kinds(name)
        for kind, value in lined.raw.items():
            if kind in kinds:
                self._take(name, kind, value)
            else:
                home = f"it belongs into {KINDS[kind].file}" if kind in KINDS else near(kind, kinds)
                self._fault(name, (kind,), f"no table here is called {kind[:64]!r}; {home}")

    def skip(self, name: str) -> None:
        """Nobody knows what a file has."""
        self.unread |= {(kind, check.ALL) for kind in _kinds(name)}

    def text(self, name: str, files: Mapping[str, bytes]) -> str:
        """A file as UTF-8; empty where there is none."""
        try:
            return decoded(files.get(name, b""), MOST_BYTES)
        except LinedError as error:
            self.faults.append(Fault(name, error.line, (), error.text))
            return ""

    def fields(self) -> dict[str, Any]:
        """Fields of a pack; None for a table that must be there and is not."""
        fields: dict[str, Any] = {}
        for kind, (_, field, file, one) in KINDS.items():
            rows = self._rows[kind]
            fields[field] = (rows[0] if rows else None) if one else tuple(rows)
            if one and not rows and (kind, "") not in self.unread and file in self._files:
                self.faults.append(Fault(file, 0, (kind,), f"[{kind}] is missing"))
        return fields

    def placed(self, problem: Problem) -> Fault:
        """With its file and line."""
        kind, field = problem.kind, problem.field
        file, place = self._places[kind][problem.number]
        path: tuple[str | int, ...] = (kind,) if KINDS[kind].one else (kind, place)
        path += tuple(field.split(".")) if field else ()
        return Fault(file, self._files[file].line(path), path, problem.text)

    def _take(self, name: str, kind: str, value: object) -> None:
        type_, _, _, one = KINDS[kind]
        raws = [value] if one else value
        if not isinstance(raws, list) or not all(isinstance(raw, dict) for raw in raws):
            self._fault(name, (kind,), f"{kind} is written {f'[{kind}]' if one else f'[[{kind}]]'}")
            self.unread.add((kind, "" if one else check.ALL))
            return
        for number, raw in enumerate(raws):
            path = (kind,) if one else (kind, number)
            self._count += 1
            if self._count > MOST_ROWS:
                self._fault(name, path, f"there are too many rows; at most {MOST_ROWS:,}")
                return
            row, wrong = typed.row(type_, raw)
            for field, text in wrong:
                self._fault(name, (*path, *([field] if field else [])), text)
            if row is None:
                self.unread.add((kind, "" if one else str(raw.get("id", raw.get("code", "")))))
            else:
                self._rows[kind].append(row)
                self._places[kind].append((name, number))

    def _fault(self, name: str, path: tuple[str | int, ...], text: str) -> None:
        self.faults.append(Fault(name, self._files[name].line(path), path, text))


def _kinds(file: str) -> list[str]:
    """Which tables belong into a file."""
    return [kind for kind, one in KINDS.items() if one.file == file.partition("/")[0]]


def _policy_faults(text: str, parse: ParsePolicy) -> Iterator[Fault]:
    if not text:
        return
    try:
        parse(text)
    except ValueError as error:
        for problem in getattr(error, "problems", []):
            yield Fault(POLICY, problem.line, tuple(problem.path), problem.text)
        if not getattr(error, "problems", []):
            yield Fault(POLICY, 0, (), str(error))
