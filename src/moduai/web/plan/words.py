"""What the codes of a plan are called. Neutral words: a judgement of plans, never of persons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from gettext import NullTranslations
from typing import TypeVar

from moduai.packs.schema import Live

Words = NullTranslations
Key = TypeVar("Key", bound=str)
Says = Callable[[Words], str]

KINDS: Mapping[str, Says] = {
    "goal": lambda t: t.gettext("Goal"),
    "pledge": lambda t: t.gettext("Pledge"),
    "programme": lambda t: t.gettext("Programme"),
    "facility": lambda t: t.gettext("Facility"),
    "post": lambda t: t.gettext("Office or post"),
    "criticism": lambda t: t.gettext("Criticism"),
    "background": lambda t: t.gettext("Background"),
}
PILLARS: Mapping[str, Says] = {
    "money": lambda t: t.gettext("Money"),
    "compute": lambda t: t.gettext("GPUs and computing"),
    "model": lambda t: t.gettext("Models"),
    "data": lambda t: t.gettext("Data"),
    "talent": lambda t: t.gettext("Talent"),
    "service": lambda t: t.gettext("Service for everyone"),
    "industry": lambda t: t.gettext("Industry"),
    "safety": lambda t: t.gettext("Safety and society"),
    "governance": lambda t: t.gettext("Rules and offices"),
    "world": lambda t: t.gettext("The world"),
    "region": lambda t: t.gettext("Regions"),
}
STATUSES: Mapping[str, Says] = {
    "announced": lambda t: t.gettext("announced"),
    "funded": lambda t: t.gettext("funded"),
    "tendered": lambda t: t.gettext("put out to tender"),
    "under-way": lambda t: t.gettext("under way"),
    "done": lambda t: t.gettext("done"),
    "dropped": lambda t: t.gettext("dropped"),
}
GAPS: Mapping[str, Says] = {
    "owner": lambda t: t.gettext("In charge"),
    "money": lambda t: t.gettext("Money"),
    "date": lambda t: t.gettext("By when"),
    "measure": lambda t: t.gettext("Measure"),
    "prerequisite": lambda t: t.gettext("Waits for"),
}
LIVE: Mapping[Live, Says] = {
    "accelerators": lambda t: t.gettext("GPUs and other accelerators in service"),
    "residents": lambda t: t.gettext("Residents served this month"),
    "residents-by-region": lambda t: t.gettext("Residents served this month, by region"),
    "residents-by-group": lambda t: t.gettext("Residents served this month, by group"),
    "documents": lambda t: t.gettext("Public documents that answers rest on"),
    "models": lambda t: t.gettext("Models that can be asked"),
    "tokens": lambda t: t.gettext("Tokens read and written this month"),
    "guests": lambda t: t.gettext("Guests served this month"),
    "engines": lambda t: t.gettext("Engines in service"),
    "collections": lambda t: t.gettext("Collections of public documents that anyone can search"),
    "corpora": lambda t: t.gettext("Corpora"),
    "releases": lambda t: t.gettext("Models released"),
    "spend": lambda t: t.gettext("Money spent this month: electricity alone, computed"),
}
BASES: Mapping[str, Says] = {
    "asked": lambda t: t.gettext("as asked"),
    "measured": lambda t: t.gettext("measured"),
    "published": lambda t: t.gettext("published"),
    "derived": lambda t: t.gettext("derived"),
    "assumed": lambda t: t.gettext("assumed"),
}
FIGURES: Mapping[str, Says] = {
    "said": lambda t: t.gettext("What was said"),
    "as said": lambda t: t.gettext("as said"),
    "about": lambda t: t.gettext("about"),
    "residents": lambda t: t.gettext("residents"),
    "cost": lambda t: t.gettext("What it costs"),
    "accelerators": lambda t: t.gettext("Accelerators that it buys"),
    "power of devices": lambda t: t.gettext("Power of the accelerators"),
    "power": lambda t: t.gettext("Power with cooling and losses"),
    "energy": lambda t: t.gettext("Energy in a year at full load"),
    "bill": lambda t: t.gettext("Electricity in a year"),
    "state": lambda t: t.gettext("What the state pays"),
    "part of the budget": lambda t: t.gettext("Part of a year’s budget"),
    "part of the AI budget": lambda t: t.gettext("Part of a year’s AI budget"),
    "per resident": lambda t: t.gettext("For each resident"),
    "energy used": lambda t: t.gettext("Energy used, as estimated"),
    "electricity": lambda t: t.gettext("Electricity used"),
    "pay": lambda t: t.gettext("Pay in a year"),
}


def none(t: Words) -> str:
    """Of what the documents do not give."""
    return t.gettext("none in the documents")


def say(known: Mapping[Key, Says], t: Words, code: Key) -> str:
    """The words of a code; the code where there are none."""
    says = known.get(code)
    return says(t) if says else code
