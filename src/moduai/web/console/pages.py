"""The views of the console, and the table that says where each is and who may open it."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, NamedTuple

from markupsafe import Markup
from starlette.responses import Response

from moduai.accounts.roles import ROLES
from moduai.accounts.tables import organisations
from moduai.gateway.errors import ApiError
from moduai.knowledge.due import due_at
from moduai.packs.pack import in_language
from moduai.web.api.now import Now
from moduai.web.api.scenarios import Choice, ScenarioWanted
from moduai.web.api.usage import UsageTable
from moduai.web.console.visit import Visit
from moduai.web.plan import words as plan_words

SHOWN = 50
"""Items on one page of a list."""
SCENARIO_FIELDS = frozenset(ScenarioWanted.__struct_fields__) - {"report"}
TOLD_BESIDE = frozenset(
    {"planner_busy", "planner_too_much", "value_not_allowed", "invalid_parameter", "not_found"}
)
"""Errors of a scenario that are told beside its controls."""


class View(NamedTuple):
    """One page."""

    path: str
    permission: str
    show: Callable[[Visit], Awaitable[Response]]


async def now(visit: Visit) -> Response:
    """How the service is right now; ``?part=live`` is what the script puts into the page."""
    state: Now = await visit.ask("now")
    template = "live" if visit.query.get("part") == "live" else "now"
    return visit.page(template, now=state)


async def shares(visit: Visit) -> Response:
    """Who runs and waits now, and who was served how much; ``?part=live`` as above."""
    template = "shares_live" if visit.query.get("part") == "live" else "shares"
    return visit.page(template, shares=await visit.ask("shares"))


async def usage(visit: Visit) -> Response:
    """What was used, in one table with its figure."""
    by = visit.query.get("by", "hour")
    table: UsageTable = await visit.ask("usage", by=by, period=visit.query.get("period", ""))
    before, after = _beside(table)
    return visit.page("usage", table=table, named=_named(visit, table), before=before, after=after)


def _named(visit: Visit, table: UsageTable) -> dict[str, str]:
    """Regions and groups by what they are called in the page's language."""
    site = visit.site
    names = site.regions if table.by == "region" else site.groups if table.by == "group" else {}
    language = visit.site.language(visit.request).code
    return {row.id: in_language(names[row.id], language) for row in table.rows if row.id in names}


def _beside(table: UsageTable) -> tuple[str, str]:
    """The periods before and after; the one after is empty where it is still to come."""
    if table.by == "hour":
        day = date.fromisoformat(table.period)
        before, after = str(day - timedelta(days=1)), str(day + timedelta(days=1))
    else:
        first = date.fromisoformat(table.period + "-01")
        before = f"{first - timedelta(days=1):%Y-%m}"
        after = f"{first + timedelta(days=32):%Y-%m}"
    return before, after if table.until <= time.time() else ""


async def engines(visit: Visit) -> Response:
    """The engines and their models, with a form to add one."""
    found = await visit.ask("engine.list", removed="removed" in visit.query)
    return visit.page("engines", engines=found.items, removed="removed" in visit.query)


async def engine(visit: Visit) -> Response:
    """All that is known of one engine."""
    return visit.page("engine", engine=await visit.ask("engine.show", **visit.named))


async def knowledge(visit: Visit) -> Response:
    """The collections of public documents, with a form to add one."""
    return visit.page("knowledge", collections=(await visit.ask("knowledge.list")).items)


async def collection(visit: Visit) -> Response:
    """One collection, what could not be read of it, and its documents."""
    found = await visit.ask("knowledge.show", **visit.named)
    after = visit.query.get("after", "")
    listed = await visit.ask("knowledge.documents", **visit.named, limit=SHOWN, after=after)
    due = due_at(found, visit.site.services.loaded.settings.knowledge.update_hours)
    return visit.page("collection", collection=found, due=due, documents=listed.items, next=listed.next)


async def plan(visit: Visit) -> Response:
    """Proposals to change the country's plan, with forms to make and decide them."""
    state = visit.query.get("state", "open")
    found = await visit.ask("plan.list", **({} if state == "all" else {"state": state}))
    language, pack = visit.site.language(visit.request).code, visit.site.pack
    return visit.page(
        "plan",
        found=found,
        state_wanted=state,
        pack=pack,
        code=language,
        claim=visit.query.get("claim", ""),
        text=lambda texts: in_language(texts, language),
        statuses=[(one, plan_words.say(plan_words.STATUSES, visit.t, one)) for one in plan_words.STATUSES],
    )


async def scenarios(visit: Visit) -> Response:
    """A scenario of the planner with a few changes, beside the same without; a form that asks with GET."""
    wanted = {name: value for name, value in visit.query.items() if value and name in SCENARIO_FIELDS}
    plain = {name: wanted[name] for name in ("scenario", "days") if name in wanted}
    code = visit.site.language(visit.request).code
    choices: tuple[Choice, ...] = ()
    found = before = None
    try:
        choices = (await visit.ask("scenario.list")).items
        if "scenario" in wanted:
            before = await visit.ask("scenario.run", **plain)
            found = await visit.ask("scenario.run", **wanted, report="ko" if code == "ko" else "en")
    except ApiError as error:
        if error.code not in TOLD_BESIDE:
            raise
        visit = replace(visit, problem=error)
    return visit.page(
        "scenarios",
        choices=choices,
        chosen=next((one for one in choices if one.name == wanted.get("scenario")), None),
        wanted=wanted,
        found=found,
        before=before,
        report=Markup(found.report if found else ""),  # noqa: S704  drawn and escaped by our own child
        text=lambda texts: in_language(texts, code),
    )


async def switches(visit: Visit) -> Response:
    """The banner and the stops."""
    found = await visit.ask("switch.list")
    lane = visit.site.services.lane
    models = sorted(lane.fleet.models()) if lane else []
    banner = next((one for one in found.items if one.name == "banner"), None)
    stops = [one for one in found.items if one.name != "banner"]
    return visit.page("switches", shown=banner, stops=stops, models=models)


async def people(visit: Visit) -> Response:
    """People by id; a search is a form, so that no name stands in an address."""
    wanted = {name: visit.query[name] for name in ("role", "after") if visit.query.get(name)}
    found = await visit.ask("person.find", limit=SHOWN, **wanted)
    return await people_page(visit, found)


async def people_page(visit: Visit, found: Any) -> Response:
    """The list, of everybody or of what was searched for."""
    return visit.page(
        "people", people=found.items, next=found.next, roles=ROLES, names=await _organisations(visit)
    )


async def person(visit: Visit) -> Response:
    """One person: what staff may know, and what they may do."""
    shown = await visit.ask("person.show", **visit.named)
    looks = await visit.ask("look.show", **visit.named) if visit.may("look") else None
    return visit.page(
        "person",
        person=shown.person,
        sessions=shown.sessions,
        looks=looks,
        quota=(await visit.ask("quota.show", owner=shown.person.id)).quota,
        roles=ROLES,
        names=await _organisations(visit),
    )


async def look(visit: Visit) -> Response:
    """Leave to look at one person's text, for stewards, who know a person by id only."""
    person = visit.named.get("person") or visit.query.get("person", "").strip()
    looks = await visit.ask("look.show", person=person) if person else None
    return visit.page("look", person=person, looks=looks)


async def organisation_list(visit: Visit) -> Response:
    """Organisations, with a form to add one."""
    return visit.page("organisations", organisations=(await visit.ask("org.list")).items)


async def invitations(visit: Visit) -> Response:
    """Invitations, with a form to make one."""
    found = await visit.ask("invite.list", closed="closed" in visit.query)
    return visit.page(
        "invitations",
        invitations=found.items,
        closed="closed" in visit.query,
        roles=ROLES,
        names=await _organisations(visit),
    )


async def keys(visit: Visit) -> Response:
    """API keys, with a form to make one."""
    after, revoked = visit.query.get("after", ""), "revoked" in visit.query
    found = await visit.ask("key.list", limit=SHOWN, after=after, revoked=revoked)
    return visit.page(
        "keys", keys=found.items, next=found.next, revoked=revoked, names=await _organisations(visit)
    )


async def reports(visit: Visit) -> Response:
    """The inbox: reports without their text."""
    state = visit.query.get("state", "open")
    wanted = {"after": visit.query.get("after", ""), "limit": SHOWN}
    found = await visit.ask("report.list", **wanted, **({} if state == "all" else {"state": state}))
    return visit.page("reports", reports=found.items, next=found.next, state_wanted=state)


async def settings(visit: Visit) -> Response:
    """Every setting with its origin."""
    return visit.page("settings", settings=(await visit.ask("setting.list")).items)


async def audit(visit: Visit) -> Response:
    """The audit log, newest first."""
    wanted = {name: visit.query.get(name, "").strip() for name in ("actor", "action", "target", "after")}
    found = await visit.ask("audit.list", limit=SHOWN, **wanted)
    return visit.page("audit", entries=found.items, next=found.next, wanted=wanted)


async def verdict(visit: Visit) -> Response:
    """The audit log checked, every entry of it."""
    return visit.page("verdict", verdict=await visit.ask("audit.verify"))


async def looks(visit: Visit) -> Response:
    """Leave that staff took, for those who oversee them."""
    return visit.page("looks", leaves=(await visit.ask("look.list")).items)


async def _organisations(visit: Visit) -> dict[str, str]:
    """Names of organisations by id, for who may see people or keys."""
    async with visit.site.services.database.connect() as connection:
        rows = await connection.execute(organisations.select().order_by(organisations.c.name).limit(1000))
        return {row.id: row.name for row in rows}


VIEWS = (
    View("/console", "console", now),
    View("/console/shares", "console", shares),
    View("/console/usage", "usage", usage),
    View("/console/engines", "engines", engines),
    View("/console/engines/{engine}", "engines", engine),
    View("/console/knowledge", "knowledge", knowledge),
    View("/console/knowledge/{collection}", "knowledge", collection),
    View("/console/plan", "plan", plan),
    View("/console/scenarios", "usage", scenarios),
    View("/console/switches", "switch", switches),
    View("/console/reports", "reports", reports),
    View("/console/look", "look", look),
    View("/console/people", "people", people),
    View("/console/people/{person}", "people", person),
    View("/console/invitations", "people", invitations),
    View("/console/organisations", "people", organisation_list),
    View("/console/keys", "keys", keys),
    View("/console/settings", "settings", settings),
    View("/console/audit", "audit", audit),
    View("/console/audit/verify", "audit", verdict),
    View("/console/looks", "audit", looks),
)
_PATTERNS = [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", view.path)), view) for view in VIEWS]


def find(path: str) -> tuple[View, dict[str, str]] | None:
    """The view of a path, with the fields that the path names."""
    for pattern, view in _PATTERNS:
        if match := pattern.fullmatch(path.rstrip("/") or "/"):
            return view, match.groupdict()
    return None


async def show(view: View, visit: Visit) -> Response:
    """The view as a page. Raises ApiError where the role may not open it. Fails closed."""
    if not visit.may(view.permission):
        raise ApiError("permission_missing")
    return await view.show(visit)
