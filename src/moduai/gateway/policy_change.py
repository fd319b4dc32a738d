"""What a change of policy means, in words: which classes, and how many people, keys and organisations.

Rule: whoever changes the policy is told first whom it touches. A class is touched where one of its own rules
changes and where its part of a full service does, for what one class gains the others lose.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from msgspec import Struct
from sqlalchemy import func, or_, select

from moduai.accounts import audit
from moduai.accounts.tables import api_keys, organisations, people
from moduai.gateway.policy_file import InForce
from moduai.gateway.policy_text import networks
from moduai.packs.pack import in_language
from moduai.scheduling.policy import Change, ClassRule, Policy, diff, trusted
from moduai.scheduling.ticket import ONE
from moduai.scheduling.types import WHOLE
from moduai.settings import Loaded
from moduai.store.database import Connection

EVERYONE = "Everyone"
ASSIGNED = "Rules of assignment"


class Crowd(Struct, frozen=True):
    """People and keys that stand alike in every policy."""

    service_class: str
    organisation: str
    group: str
    zone: str
    people: int = 0
    keys: int = 0


class Effect(Struct, frozen=True, kw_only=True):
    """What changes for some, and how many they are now. Guests are not counted: nobody knows them."""

    who: str
    what: list[str]
    people: int = 0
    keys: int = 0
    organisations: int = 0


class ClassShown(Struct, frozen=True, kw_only=True):
    """A class as staff see it. Parts are in percent."""

    name: str
    title: dict[str, str]
    weight: float
    part: float
    """Of a service that is full, while all classes want more: by weight, but at least the guarantee and at
    most the cap.
    """
    guarantee: float
    cap: float
    person_cap: float
    people: int
    keys: int


class Known(Struct, frozen=True):
    """What the database knows of those whom a policy is about."""

    crowds: Sequence[Crowd] = ()
    names: Mapping[str, str] = {}
    """Organisation's id to its name."""


async def known(connection: Connection) -> Known:
    """Count people and keys that count now, by what places them."""
    now = int(time.time())
    c = api_keys.c
    by = (c.service_class, c.organisation, c.group, c.zone)
    valid = (c.revoked_at == 0, or_(c.expires_at == 0, c.expires_at > now))
    keys = await connection.execute(select(*by, func.count()).where(*valid).group_by(*by))
    crowds = [Crowd(row[0], row[1], row[2], row[3], keys=row[4]) for row in keys]
    own = (people.c.organisation, people.c.group)
    persons = await connection.execute(
        select(*own, func.count()).where(people.c.state == "active").group_by(*own)
    )
    crowds += [Crowd("resident", row[0], row[1], "", people=row[2]) for row in persons]
    rows = await connection.execute(select(organisations.c.id, organisations.c.name))
    return Known(crowds, {row.id: row.name for row in rows})


async def record(
    connection: Connection, actor: str, action: str, before: InForce, after: InForce, **more: audit.Value
) -> None:
    """The entry in the audit log."""
    changes = diff(before.policy, after.policy)
    classes = sorted({change.path[1] for change in changes if change.path[0] == "classes"})
    detail = {"before": before.digest, "changes": len(changes), "classes": classes, **more}
    await audit.record(connection, actor=actor, action=action, target=after.digest, detail=detail)


def remarks(policy: Policy, loaded: Loaded, names: Mapping[str, str]) -> list[str]:
    """What is valid and yet may not be meant."""
    chosen, found = loaded.settings.people.groups, []
    for rule in policy.classes.values():
        found += [
            f"class {rule.name}: people can choose the group {group!r} for themselves (people.groups), "
            "so it gets no weight"
            for group in rule.groups
            if group in chosen
        ]
    named = {each for assign in policy.assign for each in assign.organisations}
    for rule in policy.classes.values():
        zones = rule.share_by == "zone"  # any other name may be that of a zone
        named |= {each for each in rule.organisations if each.startswith("org_") or not zones}
    missing = sorted(named - names.keys() - set(networks(named)) - {""})
    return found + [
        f"there is no organisation {each} here, so it fits nobody: use the id, see modu org list"
        for each in missing
    ]


def shown(policy: Policy, crowds: Iterable[Crowd]) -> list[ClassShown]:
    """The classes, each with whom it has."""
    count, parts = _Count(policy, policy, crowds), _parts(policy)
    return [
        ClassShown(
            name=rule.name,
            title=rule.title,
            weight=rule.weight / ONE,
            part=parts[rule.name],
            guarantee=rule.guarantee / 10,
            cap=rule.cap / 10,
            person_cap=rule.person_cap / 10,
            people=count.into(rule.name).people,
            keys=count.into(rule.name).keys,
        )
        for rule in policy.classes.values()
    ]


def effects(old: Policy, new: Policy, loaded: Loaded, db: Known) -> list[Effect]:
    """What the new policy changes for whom."""
    chosen = loaded.settings.people.groups
    old, new = trusted(old, chosen), trusted(new, chosen)
    changes, count = diff(old, new), _Count(old, new, db.crowds)
    before, after, found = _parts(old), _parts(new), []
    for name, rule in new.classes.items():
        what = [_of_class(change, db.names) for change in changes if change.path[:2] == ("classes", name)]
        if name not in old.classes:
            what = [_new(rule, after[name])]
        elif before[name] != after[name]:
            grows = f"{before[name]:g} % → {after[name]:g} %"
            what.append(f"part of a full service, while all classes want more: {grows}")
        if what:
            found.append(count.into(name, _title(rule), what))
    for name in sorted(old.classes.keys() - new.classes.keys()):
        gone = [f"the class is gone, its keys go to {new.default} unless a rule says otherwise"]
        found.append(count.out_of(name, _title(old.classes[name]), gone))
    found += count.moves()
    if old.assign != new.assign:
        found.append(count.assigned())
    if what := [_general(change) for change in changes if change.path[0] not in {"classes", "assign"}]:
        found.append(_effect(EVERYONE, what, db.crowds))
    return found


class _Count:
    """Who stands in which class under two policies."""

    def __init__(self, old: Policy, new: Policy, crowds: Iterable[Crowd]) -> None:
        self._found = [(_place(old, crowd), _place(new, crowd), crowd) for crowd in crowds]

    def into(self, name: str, who: str = "", what: Sequence[str] = ()) -> Effect:
        """On those who stand in a class under the new one."""
        return _effect(who, what, (crowd for _, after, crowd in self._found if after == name))

    def out_of(self, name: str, who: str, what: Sequence[str]) -> Effect:
        """On those who stand in a class under the old one."""
        return _effect(who, what, (crowd for before, _, crowd in self._found if before == name))

    def moves(self) -> list[Effect]:
        """On those who change their class."""
        moves: dict[tuple[str, str], list[Crowd]] = {}
        for before, after, crowd in self._found:
            if before != after:
                moves.setdefault((before, after), []).append(crowd)
        return [
            _effect(f"From {before} to {after}", ["they change their class"], crowds)
            for (before, after), crowds in sorted(moves.items())
        ]

    def assigned(self) -> Effect:
        """On all who change their class where the rules of assignment did."""
        movers = [crowd for before, after, crowd in self._found if before != after]
        who_moves = "all who change their class" if movers else "of those who are known now nobody moves"
        return _effect(ASSIGNED, [f"they changed: {who_moves}"], movers)


def _effect(who: str, what: Sequence[str], crowds: Iterable[Crowd]) -> Effect:
    found = list(crowds)
    return Effect(
        who=who,
        what=list(what),
        people=sum(crowd.people for crowd in found),
        keys=sum(crowd.keys for crowd in found),
        organisations=len({crowd.organisation for crowd in found}),
    )


def _place(policy: Policy, crowd: Crowd) -> str:
    return policy.place(crowd.service_class, crowd.organisation, crowd.group, crowd.zone).class_name


def _new(rule: ClassRule, part: float) -> str:
    of_places = f"guarantee {_percent(rule.guarantee)}, cap {_percent(rule.cap)}"
    if rule.person_cap < WHOLE:
        of_places += f", of one person {_percent(rule.person_cap)}"
    return f"a new class: weight {_weight(rule.weight)} ({part:g} % of a full service), {of_places}"


def _parts(policy: Policy) -> dict[str, float]:
    """Percent of a full service that each class gets while all want more.

    Rule: water is poured into all classes, as wide as their weights, until the whole is used; each stands at
    its guarantee before and is full at its cap.
    """
    rules = policy.classes.values()

    def held(rule: ClassRule, level: Fraction) -> Fraction:
        return min(Fraction(rule.cap), max(Fraction(rule.guarantee), rule.weight * level))

    def used(level: Fraction) -> Fraction:
        return sum((held(rule, level) for rule in rules), Fraction(0))

    # between the levels at which a class begins to rise or is full, what is used grows evenly
    bends = {Fraction(bend, rule.weight) for rule in rules for bend in (0, rule.guarantee, rule.cap)}
    levels = sorted(bends)
    at = min(bisect_left(levels, Fraction(WHOLE), key=used), len(levels) - 1)
    level = levels[at]
    if at and used(level) > WHOLE:
        low = levels[at - 1]
        level = low + (WHOLE - used(low)) * (level - low) / (used(level) - used(low))
    parts = {rule.name: float(held(rule, level) / 10) for rule in rules}
    return {name: round(part, 0 if part >= 10 else 1) for name, part in parts.items()}


def _title(rule: ClassRule) -> str:
    return f"{in_language(rule.title, 'en')} ({rule.name})"


def _weight(value: object) -> str:
    return f"{value / ONE:g}" if isinstance(value, int) else "1"


def _percent(value: object) -> str:
    return f"{value / 10:g} %" if isinstance(value, int) else "none"


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


def _milliseconds(value: object) -> str:
    return f"{value / 1000:g} ms" if isinstance(value, int) else "0"


def _price(value: object) -> str:
    return f"{value / 1000:g} µs" if isinstance(value, int) else "measured"


def _tokens(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and value else "no limit"


_LABELS: dict[str, tuple[str, Callable[[object], str]]] = {
    "weight": ("weight", _weight),
    "guarantee": ("guarantee", _percent),
    "cap": ("cap", _percent),
    "person_cap": ("cap of each person", _percent),
    "quota": ("tokens that each person may use in a day", _tokens),
    "share_by": ("shared by", _plain),
    "person": ("most requests of one person that wait", _plain),
    "organisation": ("most requests of one organisation that wait", _plain),
    "total": ("most requests that wait", _plain),
    "shorten_after_s": ("answers are shortened when the wait passes so many seconds", _plain),
    "shorten_to": ("tokens of a shortened answer", _plain),
    "lighter_after_s": ("a lighter model comes in when the wait passes so many seconds", _plain),
    "lighter_mode": ("how the lighter model comes in", _plain),
    "refuse_after_s": ("new requests are refused when the wait passes so many seconds", _plain),
    "locality_window": ("what a prompt in an engine's cache may cost others", _milliseconds),
    "estimate_quantile": ("answers are expected to be as long as this part of earlier ones", _percent),
    "default": ("class of those whom nothing assigns", _plain),
    "name": ("name of the policy", _plain),
}


def _of_class(change: Change, names: Mapping[str, str]) -> str:
    match change.path[2:]:
        case ("groups", group):
            return f"each person of the group {group}: {_changed('weight', change)}"
        case ("organisations", organisation, field):
            known_as = names.get(organisation, "")
            shown_as = f"{known_as} ({organisation})" if known_as else organisation
            return f"{shown_as}: {_changed(field, change)}"
        case ("each", field):
            return f"each organisation that is not named: {_changed(field, change)}"
        case ("title", language):
            return f"title ({language}): {_plain(change.old)} → {_plain(change.new)}"
        case rest:
            return _changed(rest[-1], change)


def _general(change: Change) -> str:
    match change.path:
        case ("pressure", "lighter", model):
            return f"lighter model than {model}: {_plain(change.old)} → {_plain(change.new)}"
        case ("prices", model):
            return f"what a token of {model} costs: {_price(change.old)} → {_price(change.new)}"
        case path:
            return _changed(path[-1], change)


def _changed(field: str, change: Change) -> str:
    label, words = _LABELS[field]
    return f"{label} {words(change.old)} → {words(change.new)}"
