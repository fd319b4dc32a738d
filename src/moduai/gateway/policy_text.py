"""The policy file's text: TOML in, a ``Policy`` or a list of problems with line numbers out.

Rule: nothing is guessed. An unknown key, a value of the wrong type or a rule that cannot be kept is a
problem, all of them are told at once, and a text with a problem is not used (fails closed). In the text,
weights are numbers, guarantees and caps are percent, times have their unit in the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from ipaddress import ip_network
from typing import Any, cast

from moduai.lined import Lined, LinedError, near
from moduai.scheduling.policy import (
    Assign,
    ClassRule,
    Limits,
    NodeRule,
    Path,
    Policy,
    Pressure,
    Problem,
    check,
)
from moduai.scheduling.ticket import ONE
from moduai.scheduling.types import WHOLE

MOST_BYTES = 262_144
MOST_PROBLEMS = 20
"""More are not told: whoever has these begins with them."""
MOST_NUMBER = 1e15
"""Beyond this nothing here has a meaning, and numbers lose their last digits."""
_PERCENT = WHOLE // 100


class PolicyError(ValueError):
    """A policy cannot be used. The text has a line for each problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(told, problems)))
        self.problems = problems


def told(problem: Problem) -> str:
    """A problem as people read it: ``line 12, class.guest.weight: …``."""
    where = [f"line {problem.line}"] if problem.line else []
    where += [".".join(map(str, problem.path))] if problem.path else []
    return f"{', '.join(where)}: {problem.text}" if where else problem.text


@cache
def shipped_text() -> str:
    """The policy that comes with Modu, as text."""
    return (files("moduai.gateway") / "policy.toml").read_text("utf-8")


@cache
def shipped() -> Policy:
    """The policy that comes with Modu."""
    return parse(shipped_text())


def parse(text: str | bytes) -> Policy:
    """The policy that a text describes. Raises PolicyError with all problems. Fails closed."""
    try:
        lined = Lined(text, MOST_BYTES)
    except LinedError as error:
        raise PolicyError([Problem((), error.text, error.line)]) from None
    problems: list[Problem] = []
    policy = _policy(_Table(lined.raw, (), problems))
    problems += check(policy) if not problems else []
    problems += _networks(policy)
    if problems:
        placed = [Problem(one.path, one.text, lined.line(one.path)) for one in problems]
        raise PolicyError(sorted(placed, key=lambda one: one.line)[:MOST_PROBLEMS])
    return policy


def networks(names: Iterable[str]) -> Iterator[str]:
    """Which names of organisations are networks."""
    return (name for name in names if "/" in name)


def _networks(policy: Policy) -> Iterator[Problem]:
    """Networks must be as guests are counted by, or the rule would fit nobody."""
    named: list[tuple[Path, str]] = [
        (("class", rule.name, "organisation", name), name)
        for rule in policy.classes.values()
        for name in networks(rule.organisations)
    ]
    for number, assign in enumerate(policy.assign):
        named += [(("assign", number, "organisations"), name) for name in networks(assign.organisations)]
    for path, name in named:
        try:
            network = ip_network(name)
            fits = network.prefixlen == (24 if network.version == 4 else 56)
        except ValueError:
            fits = False
        if not fits:
            yield Problem(path, f"{name!r} is no network of guests: a.b.c.0/24, or IPv6 with /56")


# from tables to structs


class _Table:
    """One table that is read: every access says what is expected, and what is left over is a problem."""

    def __init__(self, raw: dict[str, Any], path: Path, problems: list[Problem]) -> None:
        self._raw, self._path, self._problems = dict(raw), path, problems
        self._known: list[str] = []

    def problem(self, name: str, text: str) -> None:
        self._problems.append(Problem((*self._path, name), text))

    def take(self, name: str) -> object:
        self._known.append(name)
        return self._raw.pop(name, None)

    def names(self) -> list[str]:
        """Of a table with names that are free."""
        return list(self._raw)

    def text(self, name: str, default: str, *among: str) -> str:
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, str) or (among and value not in among):
            self.problem(name, f"{name} is {' or '.join(map(repr, among)) or 'a text'}, not {_short(value)}")
            return default
        return value

    def number(self, name: str, default: int, unit: int = 1) -> int:
        """``unit``: how many of ours are one of the file's; with 1 it is a whole number."""
        value = self.take(name)
        if value is None:
            return default
        is_number = (
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER
        )
        if not isinstance(value, int | float) or not is_number or (unit == 1 and value != int(value)):
            kind = "whole number" if unit == 1 else "number"
            self.problem(name, f"{name} is a {kind}, not {_short(value)}")
            return default
        return round(value * unit)

    def texts(self, name: str) -> frozenset[str]:
        value = self.take(name)
        if value is None:
            return frozenset()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.problem(name, f'{name} is a list of texts such as ["a", "b"], not {_short(value)}')
            return frozenset()
        return frozenset(value)

    def table(self, name: str, form: str = "") -> _Table:
        """``form``: how it may be written."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            self.problem(name, f"{name} is a table{form and f' {form}'}, not {_short(value)}")
            value = None
        return _Table(value or {}, (*self._path, name), self._problems)

    def tables(self, name: str) -> list[_Table]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.problem(name, f"{name} is written [[{name}]]")
            return []
        path = (*self._path, name)
        return [_Table(one, (*path, number), self._problems) for number, one in enumerate(value)]

    def end(self) -> None:
        """What nobody asked for is a problem."""
        for name in self._raw:
            self.problem(name, f"nothing here is called {name[:64]!r}; {near(name, self._known)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _policy(root: _Table) -> Policy:
    limits = _limits(root.table("limits"), Limits())
    classes = root.table("class")
    policy = Policy(
        name=root.text("name", ""),
        classes={name: _class(classes.table(name), name, limits) for name in classes.names()},
        default=root.text("default", ""),
        assign=tuple(map(_assign, root.tables("assign"))),
        limits=limits,
        pressure=_pressure(root.table("pressure")),
        locality_window=root.number("locality_window_ms", 0, 1000),
        estimate_quantile=root.number("estimate_percentile", 700, 10),
        prices=_numbers(root.table("prices"), 1000),
    )
    root.end()
    return policy


def _class(table: _Table, name: str, limits: Limits) -> ClassRule:
    node, title = _node(table), table.table("title", '{ ko = "…", en = "…" }')
    organisations = table.table("organisation")
    rule = ClassRule(
        name=name,
        title={language: title.text(language, "") for language in title.names()},
        weight=node.weight,
        guarantee=node.guarantee,
        cap=node.cap,
        person_cap=table.number("person_cap", WHOLE, _PERCENT),
        share_by=cast("Any", table.text("share_by", "organisation", "organisation", "zone")),
        each=_ended(table.table("each")),
        organisations={name: _ended(organisations.table(name)) for name in organisations.names()},
        groups=_numbers(table.table("groups"), ONE),
        limits=_limits(table.table("limits"), limits),
        quota=table.number("quota", 0),
    )
    table.end()
    return rule


def _node(table: _Table) -> NodeRule:
    return NodeRule(
        table.number("weight", ONE, ONE),
        table.number("guarantee", 0, _PERCENT),
        table.number("cap", WHOLE, _PERCENT),
    )


def _ended(table: _Table) -> NodeRule:
    node = _node(table)
    table.end()
    return node


def _limits(table: _Table, default: Limits) -> Limits:
    limits = Limits(
        table.number("person", default.person),
        table.number("organisation", default.organisation),
        table.number("total", default.total),
    )
    table.end()
    return limits


def _numbers(table: _Table, unit: int) -> dict[str, int]:
    return {name: table.number(name, unit, unit) for name in table.names()}


def _assign(table: _Table) -> Assign:
    rule = Assign(
        table.text("class", ""),
        table.texts("service_classes"),
        table.texts("organisations"),
        table.texts("zones"),
        table.texts("groups"),
    )
    table.end()
    return rule


def _pressure(table: _Table) -> Pressure:
    lighter, own = table.table("lighter"), Pressure()
    pressure = Pressure(
        table.number("shorten_after_s", own.shorten_after_s),
        table.number("shorten_to", own.shorten_to),
        table.number("lighter_after_s", own.lighter_after_s),
        {name: lighter.text(name, "") for name in lighter.names()},
        cast("Any", table.text("lighter_mode", own.lighter_mode, "offer", "auto")),
        table.number("refuse_after_s", own.refuse_after_s),
    )
    table.end()
    return pressure
