"""The tables of a scenario: which there are, what each row is found by, and all rows of one that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from moduai.planner.scenario import schema


class Kind(NamedTuple):
    """One table."""

    type: type[Struct]
    key: str = "id"
    """The field that a row is found by."""
    one: bool = False
    """One table, ``[power]``; else a list, ``[[fleet]]``."""


KINDS: Final[Mapping[str, Kind]] = {
    "scenario": Kind(schema.Head, "", one=True),
    "region": Kind(schema.RegionRow),
    "group": Kind(schema.GroupRow),
    "curve": Kind(schema.CurveRow),
    "demand": Kind(schema.DemandRow),
    "model": Kind(schema.ModelRow),
    "accelerator": Kind(schema.AcceleratorRow),
    "site": Kind(schema.SiteRow),
    "fleet": Kind(schema.FleetRow),
    "link": Kind(schema.LinkRow),
    "event": Kind(schema.EventRow),
    "goal": Kind(schema.GoalRow, "service_class"),
    "power": Kind(schema.PowerRow, "", one=True),
    "budget": Kind(schema.BudgetRow, "year"),
}
"""Name of a table to what it is."""


class Problem(NamedTuple):
    """What is wrong with a row; who read it knows its file and line."""

    kind: str
    key: object
    """What the row is found by; empty for a table that is there once."""
    field: str
    """With dots to what is in it; empty: the whole row."""
    text: str


class Rows:
    """All rows of a scenario, in the order of the file."""

    def __init__(self, found: Mapping[str, Sequence[Any]]) -> None:
        self.head: schema.Head = found["scenario"][0]
        self.power: schema.PowerRow = next(iter(found["power"]), schema.PowerRow())
        self.regions: Sequence[schema.RegionRow] = found["region"]
        self.groups: Sequence[schema.GroupRow] = found["group"]
        self.curves: Sequence[schema.CurveRow] = found["curve"]
        self.demands: Sequence[schema.DemandRow] = found["demand"]
        self.models: Sequence[schema.ModelRow] = found["model"]
        self.accelerators: Sequence[schema.AcceleratorRow] = found["accelerator"]
        self.sites: Sequence[schema.SiteRow] = found["site"]
        self.fleets: Sequence[schema.FleetRow] = found["fleet"]
        self.links: Sequence[schema.LinkRow] = found["link"]
        self.events: Sequence[schema.EventRow] = found["event"]
        self.goals: Sequence[schema.GoalRow] = found["goal"]
        self.budgets: Sequence[schema.BudgetRow] = found["budget"]
