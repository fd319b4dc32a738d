"""A scenario's file to a ``World``, or all that is wrong with it.

Rule: a key that is unknown or missing, a value of the wrong type or unit, a row that contradicts another:
each is told with its file and line, why, and what would be right. A scenario with a fault is not used (fails
closed). A file is named only by a scenario beside it, never by a path that leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct

from moduai.lined import Lined, LinedError, near
from moduai.packs import choose, typed
from moduai.packs import where as packs
from moduai.packs.pack import Fault, Pack
from moduai.packs.read import PackError, ParsePolicy, told
from moduai.packs.read import read as read_pack
from moduai.planner.handed import everything
from moduai.planner.scenario import check, units
from moduai.planner.scenario.rows import KINDS, Problem, Rows
from moduai.planner.scenario.world import World, build
from moduai.planner.steptime import Coefficients

MOST_BYTES: Final = 1_048_576
MOST_FILES: Final = 8
"""Longest chain of scenarios that extend one another."""
MOST_FAULTS: Final = 100
BESIDE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of files beside a scenario."""


class ScenarioError(ValueError):
    """A scenario cannot be used. The text has a line for each fault."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(told, faults)))
        self.faults = faults


class Given(NamedTuple):
    """What the caller provides: what a policy's text says, and where packs are."""

    parse_policy: ParsePolicy
    """Raises ValueError; its ``problems`` have ``line`` and ``text`` each (``gateway.policy_text.parse``)."""
    policy: str
    """The text of the policy that counts where neither scenario nor pack has one."""
    pack: Callable[[str], Pack]
    """By id or folder. Raises ValueError."""
    instead: str = ""
    """The text of a policy that counts in place of all others."""

    @classmethod
    def here(cls, parse_policy: ParsePolicy, policy: str, folder: Path, instead: str = "") -> Given:
        """With packs by their ids, or by their paths below a folder, each read once."""

        @cache
        def pack(name: str) -> Pack:
            found = packs.folder(name, folder)
            if not found.is_dir():
                raise PackError([choose.absent(found)])
            return read_pack(found, parse_policy)

        return cls(parse_policy, policy, pack, instead)


@cache
def shipped() -> Mapping[str, Path]:
    """Scenarios that come with Modu and can be run, by name."""
    return {name: file for name, file in everything().items() if not name.startswith("_")}


def read(
    where: str | Path,
    given: Given,
    changes: Mapping[str, Any] | None = None,
    fit: Coefficients | None = None,
) -> World:
    """The world of a scenario: one that comes with Modu, by its name, or a file. ``changes``: tables as a
    scenario that extends it would have them; ``fit``: another than Modu's. Raises ScenarioError with all
    faults. Fails closed.
    """
    file = shipped().get(str(where)) or Path(where)
    reading = _Reading(file)
    if changes:
        reading.change(changes)
    rows = reading.rows()
    if rows is None:
        raise ScenarioError(_in_order(reading.faults))
    parts = check.parts(rows, given, file, reading.text)
    reading.faults += [reading.placed(one) for one in parts.problems]
    if not parts.problems:
        reading.faults += [reading.placed(one) for one in check.problems(rows, parts)]
    reading.faults += parts.faults
    if reading.faults:
        raise ScenarioError(_in_order(reading.faults))
    world = build(rows, parts)
    return world if fit is None else replace(world, fit=fit)


def _in_order(faults: list[Fault]) -> list[Fault]:
    return list(dict.fromkeys(sorted(faults, key=lambda one: (one.file, one.line))))[:MOST_FAULTS]


@dataclass
class _Place:
    """Where a row stands: in the newest file first."""

    raw: dict[str, Any] = field(default_factory=dict)
    at: list[tuple[str, tuple[str | int, ...], dict[str, Any]]] = field(default_factory=list)
    """File, path of the row, the row as it is there."""


class _Reading:
    """Files as they come, the oldest last, and where each value stands."""

    def __init__(self, file: Path) -> None:
        self.faults: list[Fault] = []
        self._files: dict[str, Lined] = {}
        self._places: dict[str, dict[object, _Place]] = {kind: {} for kind in KINDS}
        self._chain(file)

    def text(self, file: Path) -> bytes | None:
        """A file that a scenario names; None where it cannot be read."""
        try:
            if file.stat().st_size > check.MOST_TRACE_BYTES:
                return None
            return file.read_bytes()
        except OSError:
            return None

    def change(self, changes: Mapping[str, Any]) -> None:
        """Lay tables over what was read."""
        for kind, value in changes.items():
            self._take("command line", kind, value)

    def rows(self) -> Rows | None:
        """All rows, typed; None where some cannot be."""
        found: dict[str, list[Any]] = {}
        for kind, places in self._places.items():
            found[kind] = []
            for place in places.values():
                row, wrong = typed.row(KINDS[kind].type, place.raw)
                for one in wrong:
                    self._wrong(kind, place, one)
                if row is not None:
                    found[kind].append(row)
        if not found["scenario"] and not self.faults:
            self.faults.append(Fault(next(iter(self._files), ""), 0, (), "[scenario] is missing"))
        return None if self.faults else Rows(found)

    def placed(self, problem: Problem) -> Fault:
        """With its file and line."""
        place = self._places[problem.kind].get(problem.key, _Place())
        return self._fault(place, problem.kind, problem.field, problem.text)

    def _chain(self, file: Path) -> None:
        begun = file
        for _ in range(MOST_FILES):
            lined = self._lined(file)
            if lined is None:
                return
            name = self._name(file)
            for kind, value in reversed(lined.raw.items()):
                self._take(name, kind, value, is_older=True)
            head = lined.raw.get("scenario", {})
            base = head.get("extends", "") if isinstance(head, dict) else ""
            if not isinstance(base, str) or not base:
                return
            line = lined.line(("scenario", "extends"))
            found = self._base(file, base)
            if isinstance(found, str):
                self.faults.append(Fault(name, line, ("scenario", "extends"), found))
                return
            file = found
        self.faults.append(Fault(begun.name, 0, (), f"more than {MOST_FILES} scenarios, or a circle, extend"))

    def _base(self, file: Path, base: str) -> Path | str:
        """The file of a scenario that one extends, or what is wrong."""
        names = [*shipped()]
        if base in everything():
            return everything()[base]
        if not BESIDE.fullmatch(base):
            return f"{base[:64]!r} is no name of a file beside this one"
        if not (file.parent / base).is_file():
            return f"there is no file {base!r} here and Modu has no such scenario; {near(base, names)}"
        return file.parent / base

    def _name(self, file: Path) -> str:
        return file.name

    def _lined(self, file: Path) -> Lined | None:
        name = self._name(file)
        try:
            lined = self._files[name] = Lined(file.read_bytes(), MOST_BYTES)
        except LinedError as error:
            self.faults.append(Fault(name, error.line, (), error.text))
            return None
        except OSError as error:
            why = f"it cannot be read: {error.strerror}; Modu has {', '.join(shipped())}"
            self.faults.append(Fault(str(file), 0, (), why))
            return None
        return lined

    def _take(self, file: str, kind: str, value: object, *, is_older: bool = False) -> None:
        if kind not in KINDS:
            text = f"no table here is called {kind[:64]!r}; {near(kind, list(KINDS))}"
            self._at(file, (kind,), text)
            return
        one = KINDS[kind].one
        raws = [value] if one else value
        if not isinstance(raws, list) or not all(isinstance(raw, dict) for raw in raws):
            self._at(file, (kind,), f"{kind} is written {f'[{kind}]' if one else f'[[{kind}]]'}")
            return
        seen = set()
        for number, raw in enumerate(raws):
            path = (kind,) if one else (kind, number)
            key = "" if one else raw.get(KINDS[kind].key)
            if isinstance(key, list | dict):
                key = str(key)
            if key in seen:
                self._at(file, (*path, KINDS[kind].key), f"{key!r} is there twice")
            seen.add(key)
            self._lay(self._places[kind].setdefault(key, _Place()), (file, path, raw), is_older=is_older)

    @staticmethod
    def _lay(place: _Place, at: tuple[str, tuple[str | int, ...], dict[str, Any]], *, is_older: bool) -> None:
        if is_older:
            place.raw = {**at[2], **place.raw}
            place.at.append(at)
        else:
            place.raw = {**place.raw, **at[2]}
            place.at.insert(0, at)

    def _wrong(self, kind: str, place: _Place, wrong: typed.Wrong) -> None:
        value = place.raw.get(wrong.field)
        text = units.explained(KINDS[kind].type, wrong.field, value, wrong.text)
        self.faults.append(self._fault(place, kind, wrong.field, text))

    def _fault(self, place: _Place, kind: str, name: str, text: str) -> Fault:
        """At the field, in the newest file that has it; at the row where none has."""
        inner = tuple(name.split(".")) if name else ()
        for file, path, raw in place.at:
            if not inner or inner[0] in raw:
                return self._made(file, (*path, *inner), text)
        for file, path, _ in place.at[:1]:
            return self._made(file, (*path, *inner), text)
        return Fault(next(iter(self._files), ""), 0, (kind, *inner), text)

    def _at(self, file: str, path: tuple[str | int, ...], text: str) -> None:
        self.faults.append(self._made(file, path, text))

    def _made(self, file: str, path: tuple[str | int, ...], text: str) -> Fault:
        lined = self._files.get(file)
        return Fault(file, lined.line(path) if lined else 0, path, text)


def kinds() -> Iterator[tuple[str, type[Struct]]]:
    """Tables of a scenario and their types, for the reference."""
    return ((name, kind.type) for name, kind in KINDS.items())
