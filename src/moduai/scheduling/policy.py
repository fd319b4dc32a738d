"""How the capacity is shared: the rules of the fair tree, as data.

Words: a *class* (of service) is a node below the root, such as residents or batch; below it stand
*organisations* (or special zones, or for guests the networks they come from), below those people. A
*weight* is a node's part among siblings that want more than there is. A *place* is room for one
request on an engine; a *guarantee* is the part of the places of each model that a node gets before others,
a *cap* the part that it never exceeds; a *person cap* is that of each person of a class. Rules, in words:

* Who belongs to which class: the first assignment that fits, else the class that bears the name of the
  principal's own class of service, else the default class.
* Classes' guarantees are at most 100 % together; what a class guarantees its organisations is at most
  its own guarantee, for more could not be kept.
* Under pressure what is soft comes before what is hard: shorten, then offer a lighter model, then refuse.

Units: weights in thousandths, guarantees and caps in thousandths of the places, all integers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from moduai.scheduling.ticket import ONE
from moduai.scheduling.types import WHOLE

MOST_WEIGHT = 1000 * ONE
MOST_WAITING = 10_000_000
MOST_SECONDS = 86_400
MOST_TOKENS = 1_000_000
MOST_WINDOW = 3_600_000_000
"""Longest locality window: an hour of one accelerator, in micro-accelerator-seconds."""
MOST_PRICE = 1_000_000_000_000
"""Highest price: 1,000 accelerator-seconds a token, in nano-accelerator-seconds."""
MOST_QUOTA = 1_000_000_000_000_000
"""Highest limit for a day, in tokens."""
MOST_TITLE = 60
MOST_RULES = 64
"""Most assignments: they are gone through for each request."""
CLASS_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
"""Code of a title's language: the policy is of no country."""
PERCENT = " %"

Path = tuple[str | int, ...]
"""Where something stands in a policy, as the policy file names it: ("class", "guest", "weight")."""


class Limits(Struct, frozen=True):
    """Most requests that wait: of one person and of one organisation for a model, and in all."""

    person: int = 64
    organisation: int = 4096
    total: int = 32_768


class NodeRule(Struct, frozen=True):
    """One organisation's rule inside its class. Guarantee and cap are parts of the model's places, not of its
    class.
    """

    weight: int = ONE
    guarantee: int = 0
    cap: int = WHOLE


class ClassRule(Struct, frozen=True):
    """One class of service."""

    name: str
    title: dict[str, str] = {}
    """What people read, by language."""
    weight: int = ONE
    guarantee: int = 0
    cap: int = WHOLE
    person_cap: int = WHOLE
    """Of each of its people; one place is always allowed."""
    share_by: Literal["organisation", "zone"] = "organisation"
    """What stands below the class; ``zone``: the special zone of those who have one."""
    each: NodeRule = NodeRule()
    """Rule of the organisations that are not named."""
    organisations: dict[str, NodeRule] = {}
    """By id, or by zone or network."""
    groups: dict[str, int] = {}
    """Weight of a person by group, in thousandths; 1 for all others."""
    limits: Limits = Limits()
    """``total``: most that wait of this class."""
    quota: int = 0
    """Tokens that each of its people may use in a day, read and written; 0: no limit (`quota`)."""

    def rule(self, organisation: str) -> NodeRule:
        """The rule of an organisation."""
        return self.organisations.get(organisation, self.each)


class Assign(Struct, frozen=True):
    """Who goes to a class. Every condition that is not empty must fit."""

    class_name: str
    service_classes: frozenset[str] = frozenset()
    organisations: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def fits(self, service_class: str, organisation: str, group: str, zone: str) -> bool:
        """Whether all conditions fit. Without any it fits nobody: fails closed."""
        return (
            (not self.service_classes or service_class in self.service_classes)
            and (not self.organisations or organisation in self.organisations)
            and (not self.zones or zone in self.zones)
            and (not self.groups or group in self.groups)
            and bool(self.service_classes or self.organisations or self.zones or self.groups)
        )


class Pressure(Struct, frozen=True):
    """What happens when the expected wait of a model passes a time in seconds; 0: never."""

    shorten_after_s: int = 0
    shorten_to: int = 1024
    """Most tokens of an answer then."""
    lighter_after_s: int = 0
    lighter: dict[str, str] = {}
    """Model to the lighter one."""
    lighter_mode: Literal["offer", "auto"] = "offer"
    refuse_after_s: int = 0


class Placed(Struct, frozen=True):
    """Where a principal stands in the tree; the person below is its subject."""

    class_name: str
    organisation: str
    weight: int
    """Of the person, in thousandths."""


class Policy(Struct, frozen=True):
    """All rules. Immutable: a change is another policy."""

    name: str
    classes: dict[str, ClassRule]
    default: str
    """Class of those whom nothing else assigns."""
    assign: tuple[Assign, ...] = ()
    limits: Limits = Limits()
    pressure: Pressure = Pressure()
    locality_window: int = 0
    """In micro-accelerator-seconds at weight 1; 0: what an engine has in its cache changes no order."""
    estimate_quantile: int = 700
    """Which answer's length is expected, in thousandths of those seen: 500 is the median."""
    prices: dict[str, int] = {}
    """Nano-accelerator-seconds a token, by model; what is not here is measured."""

    def place(self, service_class: str, organisation: str, group: str = "", zone: str = "") -> Placed:
        """Where a principal stands. ``organisation``: for a guest the network it comes from."""
        name = service_class if service_class in self.classes else self.default
        for rule in self.assign:
            if rule.fits(service_class, organisation, group, zone):
                name = rule.class_name
                break
        found = self.classes[name]
        outer = zone if zone and found.share_by == "zone" else organisation
        return Placed(name, outer, found.groups.get(group, ONE))


PLAIN = Policy("plain", {"all": ClassRule("all", {"ko": "모두", "en": "Everyone"})}, "all")
"""Everyone alike."""


class Problem(Struct, frozen=True):
    """Why a policy is not valid. ``line``: where in the file, from 1; 0: not known."""

    path: Path
    text: str
    line: int = 0


class Change(Struct, frozen=True):
    """One value that differs, in the names and units of the structs here; None: it is not there."""

    path: tuple[str, ...]
    old: object
    new: object


def check(policy: Policy) -> list[Problem]:
    """All that is wrong with a policy; an empty list: it is valid. Fails closed: what has a problem is not
    used.
    """
    return [Problem(path, text) for path, text in _problems(policy)]


def trusted(policy: Policy, chosen: Collection[str]) -> Policy:
    """The policy without what it gives to groups that people may choose for themselves: anybody could claim
    it. Fails closed: such a group counts as none.
    """
    classes = {
        name: msgspec.structs.replace(
            rule, groups={group: weight for group, weight in rule.groups.items() if group not in chosen}
        )
        for name, rule in policy.classes.items()
    }
    assign = tuple(
        msgspec.structs.replace(rule, groups=groups)
        for rule in policy.assign
        if (groups := rule.groups.difference(chosen)) or not rule.groups
    )
    return msgspec.structs.replace(policy, classes=classes, assign=assign)


def diff(old: Policy, new: Policy) -> list[Change]:
    """What differs, value by value, in the order of the paths."""
    before, after = (dict(_values(msgspec.to_builtins(one, order="sorted"))) for one in (old, new))
    paths = (path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path))
    return [Change(path, before.get(path), after.get(path)) for path in paths]


_Found = Iterator[tuple[Path, str]]


def _values(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every leaf with its path; a list is a leaf, for its order is part of what it says."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, (*path, name))
    else:
        yield path, value


def _problems(policy: Policy) -> _Found:
    if not (0 < len(policy.name) <= MOST_TITLE and policy.name.isprintable()):
        yield ("name",), f"a policy has a name of 1 to {MOST_TITLE} characters"
    if not policy.classes:
        yield ("class",), "there is no class: nobody could be served"
    elif policy.default not in policy.classes:
        yield ("default",), f"the default class {policy.default!r} is not among the classes"
    yield from _limits(policy.limits, ("limits",))
    whole = 0
    for rule in policy.classes.values():
        yield from _class(rule)
        before, whole = whole, whole + rule.guarantee
        if before <= WHOLE < whole:
            here: Path = ("class", rule.name, "guarantee")
            yield here, f"up to here the classes are guaranteed {_percent(whole)}: more than 100 %"
    yield from _assignments(policy)
    yield from _pressure(policy.pressure)
    yield from _range(("locality_window_ms",), policy.locality_window, 0, MOST_WINDOW, 1000)
    yield from _range(("estimate_percentile",), policy.estimate_quantile, 10, 990, 10)
    for model, price in policy.prices.items():
        yield from _range(("prices", model), price, 1, MOST_PRICE, 1000)


def _class(rule: ClassRule) -> _Found:
    here: Path = ("class", rule.name)
    if not CLASS_NAME.fullmatch(rule.name):
        yield here, "a class's name has 1 to 32 of a-z, 0-9 and -, and begins with a letter"
    if not rule.title:
        yield (*here, "title"), "a class has a title in at least one language"
    for language, title in rule.title.items():
        if not LANGUAGE.fullmatch(language):
            yield (*here, "title", language), "a title is of a language by its code, such as en"
        if not (0 < len(title) <= MOST_TITLE and title.isprintable()):
            yield (*here, "title", language), f"a title has 1 to {MOST_TITLE} characters"
    yield from _node(NodeRule(rule.weight, rule.guarantee, rule.cap), here)
    yield from _range((*here, "person_cap"), rule.person_cap, 1, WHOLE, 10, PERCENT)
    yield from _node(rule.each, (*here, "each"))
    if rule.each.guarantee:
        yield (*here, "each", "guarantee"), "a guarantee is for organisations that are named"
    for name, node in rule.organisations.items():
        yield from _node(node, (*here, "organisation", name))
    given = sum(node.guarantee for node in rule.organisations.values())
    if given > rule.guarantee:
        own = _percent(rule.guarantee)
        yield (
            (*here, "organisation"),
            f"its organisations are guaranteed {_percent(given)}, the class itself {own}",
        )
    for group, weight in rule.groups.items():
        yield from _range((*here, "groups", group), weight, 1, MOST_WEIGHT, ONE)
    yield from _limits(rule.limits, (*here, "limits"))
    yield from _range((*here, "quota"), rule.quota, 0, MOST_QUOTA)


def _node(rule: NodeRule, here: Path) -> _Found:
    yield from _range((*here, "weight"), rule.weight, 1, MOST_WEIGHT, ONE)
    yield from _range((*here, "guarantee"), rule.guarantee, 0, WHOLE, 10, PERCENT)
    yield from _range((*here, "cap"), rule.cap, 1, WHOLE, 10, PERCENT)
    if 0 < rule.cap < rule.guarantee:
        yield (
            (*here, "guarantee"),
            f"the guarantee ({_percent(rule.guarantee)}) is above the cap ({_percent(rule.cap)})",
        )


def _limits(limits: Limits, here: Path) -> _Found:
    for field in ("person", "organisation", "total"):
        yield from _range((*here, field), getattr(limits, field), 1, MOST_WAITING)
    if not limits.person <= limits.organisation <= limits.total:
        yield here, "a person's limit is at most an organisation's, and that at most the total"


def _assignments(policy: Policy) -> _Found:
    if len(policy.assign) > MOST_RULES:
        yield ("assign", MOST_RULES), f"at most {MOST_RULES} rules: one may name many"
    named = all(map(CLASS_NAME.fullmatch, policy.classes))  # else a class may be missing for its name alone
    for number, rule in enumerate(policy.assign):
        if named and rule.class_name not in policy.classes:
            yield ("assign", number, "class"), f"there is no class {rule.class_name!r}"
        if not (rule.service_classes or rule.organisations or rule.zones or rule.groups):
            yield ("assign", number), "it names nobody: give service_classes, organisations, zones or groups"


def _pressure(pressure: Pressure) -> _Found:
    last, earlier = 0, ""
    for field in ("shorten_after_s", "lighter_after_s", "refuse_after_s"):
        after = getattr(pressure, field)
        yield from _range(("pressure", field), after, 0, MOST_SECONDS)
        if 0 < after < last:
            yield ("pressure", field), f"it comes before {earlier}: what is soft comes first"
        if after > 0:
            last, earlier = after, field
    yield from _range(("pressure", "shorten_to"), pressure.shorten_to, 1, MOST_TOKENS)
    for model, lighter in pressure.lighter.items():
        if lighter in pressure.lighter:
            yield ("pressure", "lighter", model), f"{lighter!r} has a lighter one itself: name that"


def _range(path: Path, value: int, least: int, most: int, unit: int = 1, sign: str = "") -> _Found:
    """``unit``: how many of ours are one of the file's."""
    if not least <= value <= most:
        is_, low, high = (_number(each, unit) + sign for each in (value, least, most))
        yield path, f"{path[-1]} is {is_}: it must be {low} to {high}"


def _number(value: int, unit: int) -> str:
    return f"{value / unit:g}" if value % unit else f"{value // unit:,}"


def _percent(thousandths: int) -> str:
    return _number(thousandths, 10) + PERCENT
