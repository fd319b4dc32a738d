"""``modu strategy``: what was promised, decided, paid for and criticised, and what it comes to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from msgspec import Struct

from moduai.cli import proposals
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    examples,
    fail,
    new_app,
    open_loaded,
    safe,
    table,
    to_json,
    with_options,
)
from moduai.cli.pack import open_pack
from moduai.packs import strategy
from moduai.packs.pack import Pack, in_language
from moduai.packs.price import (
    Figure,
    Priced,
    PriceError,
    Terms,
    price_accelerators,
    price_claim,
    price_money,
    rounded,
)
from moduai.packs.schema import Claim, ItemKind, Pillar, Revision
from moduai.packs.strategy import Entry, Gap, Plan, Standing
from moduai.packs.where import shipped
from moduai.planner.handed import CannotHandOverError, handed
from moduai.settings import Loaded

app = new_app("Read the plan of a country pack, as of any day; compute with it; propose changes of it.")
app.add_typer(proposals.app)


class At(Struct, frozen=True):
    """Which plan, as of which day."""

    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", help="The plan as it stood on a day, such as 2025-06-03 [default: the last]."
        ),
    ] = ""
    pack: Annotated[
        str, typer.Option("--pack", help="Another pack than the one in use: an id or a folder.")
    ] = ""
    home: HomeOption = None


LanguageOption = Annotated[str, typer.Option("--language", help="Of the texts, where the pack has it.")]
ITEMS = {
    "id": "item",
    "kind": "kind",
    "pillar": "pillar",
    "title": "title",
    "owner": "owner",
    "claims": "claims",
    "missing": "missing",
}
CLAIMS = {
    "id": "claim",
    "who": "who",
    "said": "said",
    "number": "number",
    "unit": "unit",
    "status": "status",
    "source": "source",
    "what": "what",
}
FIGURES = {
    "name": "figure",
    "low": "low",
    "middle": "middle",
    "high": "high",
    "unit": "unit",
    "basis": "basis",
    "how": "how",
    "sources": "sources",
}


@app.command(
    "list",
    epilog=examples("modu strategy list", "modu strategy list --kind pledge --as-of 2025-06-03 --json"),
)
@with_options
def list_items(
    *,
    kind: Annotated[str, typer.Option("--kind", help=f"{', '.join(get_args(ItemKind))}.")] = "",
    pillar: Annotated[str, typer.Option("--pillar", help=f"{', '.join(get_args(Pillar))}.")] = "",
    language: LanguageOption = "en",
    at: At,
    json: JsonOption = False,
) -> None:
    """List what is followed: goals, pledges, programmes, facilities, posts, criticism."""
    _among("kind", kind, get_args(ItemKind))
    _among("pillar", pillar, get_args(Pillar))
    plan = _plan(at)
    wanted = [
        _item(plan.pack, entry, language)
        for entry in plan.entries.values()
        if kind in {"", entry.item.kind} and pillar in {"", entry.item.pillar}
    ]
    table(wanted, ITEMS, json=json)


@app.command(epilog=examples("modu strategy show ITEM", "modu strategy show ITEM --as-of 2025-06-03 --json"))
@with_options
def show(
    item: Annotated[str, typer.Argument(help="Id of an item: `modu strategy list`.")],
    *,
    language: LanguageOption = "en",
    at: At,
    json: JsonOption = False,
) -> None:
    """Show one item: who said what of it and when, with sources; what it waits for; what is missing."""
    plan = _plan(at)
    if item not in plan.entries:
        fail(f"there is no item {safe(item)!r} on {plan.day}; `modu strategy list` lists them", 2)
    entry = plan.entries[item]
    waits = strategy.waits_for(plan, item)
    if json:
        typer.echo(to_json({"day": plan.day, "entry": entry, "waits_for": waits}))
        return
    about = _item(plan.pack, entry, language)
    measure = in_language(entry.item.measure, language) or ("missing" if "measure" in entry.gaps else "")
    lines = {
        "item": f"{about['title']} ({item})",
        "kind": f"{entry.item.kind}, {entry.item.pillar}",
        "owner": about["owner"] or ("missing" if "owner" in entry.gaps else ""),
        "measure": measure,
        "waits for": ", ".join(waits) or ("missing" if "prerequisite" in entry.gaps else ""),
        "missing": ", ".join(entry.gaps),
        "changed": "; ".join(f"{one.day} {_became(plan.pack, one, language)}" for one in entry.revisions),
        "conflicts": "; ".join(" and ".join(pair) for pair in entry.conflicts),
        "served by": in_language(entry.item.serves, language) or "followed only",
    }
    typer.echo("\n".join(f"{name:<10} {safe(text)}" for name, text in lines.items() if text) + "\n")
    table([_claim(plan.pack, one, language) for one in entry.claims], CLAIMS)


@app.command(epilog=examples("modu strategy gaps", "modu strategy gaps --gap money --json"))
@with_options
def gaps(
    *,
    gap: Annotated[str, typer.Option("--gap", help=f"Only this one: {', '.join(get_args(Gap))}.")] = "",
    language: LanguageOption = "en",
    at: At,
    json: JsonOption = False,
) -> None:
    """Say what the documents do not give: owner, money, date, measure or prerequisite of each item."""
    _among("gap", gap, get_args(Gap))
    plan = _plan(at)
    found = [
        _item(plan.pack, entry, language)
        for entry in plan.entries.values()
        if entry.gaps and (not gap or gap in entry.gaps)
    ]
    table(
        found, {name: ITEMS[name] for name in ("id", "kind", "title", "missing")}, json=json, empty="Nothing."
    )


@app.command(epilog=examples("modu strategy compare", "modu strategy compare WHO WHO --as-of 2025-06-03"))
@with_options
def compare(
    who: Annotated[list[str] | None, typer.Argument(help="Ids of who pledged [default: all].")] = None,
    *,
    language: LanguageOption = "en",
    at: At,
    json: JsonOption = False,
) -> None:
    """Put pledges side by side. Nothing is added up: what different people said stays apart."""
    plan = _plan(at)
    found = strategy.compare(plan, who or ())
    if unknown := set(who or ()) - found.keys():
        fail(safe(f"no pledge of {', '.join(sorted(unknown))} stands on {plan.day}"), 2)
    if json:
        typer.echo(to_json([{"who": name, "claims": claims} for name, claims in found.items()]))
        return
    rows = [
        {
            "who": safe(in_language(plan.pack.who(name).name, language)),
            **{
                kind: _cell(plan.pack, claims, kind, language) for kind in ("money", "accelerators", "people")
            },
            "else": sum(one.claim.number is None for one in claims),
        }
        for name, claims in found.items()
    ]
    table(rows, ("who", "money", "accelerators", "people", "else"))


@app.command(
    epilog=examples(
        "modu strategy price CLAIM",
        "modu strategy price --accelerators 50000 --private 0.5 --year 2026",
        "modu strategy price --money 1e12 --json",
        "modu strategy price CLAIM --scenario mine.toml && modu plan run mine.toml",
    )
)
@with_options
def price(
    claim: Annotated[str, typer.Argument(help="Id of a claim: `modu strategy show`.")] = "",
    *,
    accelerators: Annotated[float, typer.Option("--accelerators", min=0, help="Instead: so many.")] = 0,
    money: Annotated[
        float, typer.Option("--money", min=0, help="Instead: a sum in the pack's currency.")
    ] = 0,
    private: Annotated[
        float | None, typer.Option("--private", min=0, max=1, help="The part that partners pay, 0 to 1.")
    ] = None,
    year: Annotated[int | None, typer.Option("--year", help="Of whose budget parts are taken.")] = None,
    per: Annotated[str, typer.Option("--per", help="Price or purchase that says what one costs.")] = "",
    scenario: Annotated[
        Path | None, typer.Option("--scenario", help="Write a scenario for `modu plan` too; a new file.")
    ] = None,
    at: At,
    json: JsonOption = False,
) -> None:
    """Compute what a pledge costs or buys: money, accelerators, power, energy, parts of the budget.

    Each figure is a range from the pack's unit prices, with its sources. JSON has them unrounded.
    """
    if sum(map(bool, (claim, accelerators, money))) != 1:
        fail("name a claim, or say --accelerators or --money", 2)
    loaded, plan, terms = open_loaded(at.home), _plan(at), Terms(private=private, year=year, per=per)
    try:
        if claim:
            priced = price_claim(plan, claim, terms)
        elif accelerators:
            priced = price_accelerators(plan.pack, accelerators, terms)
        else:
            priced = price_money(plan.pack, money, terms)
    except PriceError as error:
        fail(safe(str(error)))
    if scenario:
        _hand_over(loaded, plan, at.pack, plan.standing[claim].claim if claim else accelerators, scenario)
    if json:
        typer.echo(to_json(priced))
        return
    _tell(plan.pack, priced)


def _hand_over(loaded: Loaded, plan: Plan, pack: str, asked: Claim | float, file: Path) -> None:
    """Write a scenario; no file that is there is written over."""
    if not asked:
        fail("a scenario is of accelerators: name such a claim, or say --accelerators", 2)
    base = open_pack(loaded, pack)
    name = pack or (plan.pack.head.id if plan.pack.head.id in shipped() else plan.pack.folder)
    try:
        proposed = isinstance(asked, Claim) and asked.id not in base.claim
        text = handed(plan.pack, name, asked, proposed=proposed)
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except (CannotHandOverError, OSError) as error:
        fail(safe(str(error)))
    typer.echo(f"The scenario is in {file}: modu plan run {shlex.quote(str(file))}", err=True)


def _tell(pack: Pack, priced: Priced) -> None:
    table([_figure(one) for one in priced.figures], FIGURES)
    typer.echo(
        "\nRounded to three digits; at full load all year; a range is from the lowest to the highest prices."
    )
    for one in priced.beside:
        relation = "within" if one.enough else "more than"
        typer.echo(
            f"The cost, {rounded(one.cost):,.15g} {pack.locale.currency}, is {relation} the "
            f"{one.pledged:,.15g} of {one.claim}: {rounded(one.ratio):g} times."
        )


def _plan(at: At) -> Plan:
    """The plan as the page has it; of a pack that is named, as its files have it."""
    try:
        day = date.fromisoformat(at.as_of) if at.as_of else None
    except ValueError:
        fail(f"{safe(at.as_of)!r} is no day: write 2025-06-03", 2)
    loaded = open_loaded(at.home)
    found = open_pack(loaded, at.pack)
    return strategy.as_of(found if at.pack else proposals.present(loaded, found), day)


def _among(name: str, value: str, known: Iterable[str]) -> None:
    if value and value not in known:
        fail(f"there is no {name} {safe(value)!r}; there are {', '.join(known)}", 2)


def _item(pack: Pack, entry: Entry, language: str) -> dict[str, Any]:
    item = entry.item
    return {
        "id": item.id,
        "kind": item.kind,
        "pillar": item.pillar,
        "title": safe(in_language(item.title, language)),
        "owner": safe(in_language(pack.who(item.owner).name, language)) if item.owner else "",
        "claims": len(entry.claims),
        "missing": list(entry.gaps),
    }


def _became(pack: Pack, one: Revision, language: str) -> str:
    """What a revision gives, with its source."""
    given = []
    if one.owner is not None:
        name = in_language(pack.who(one.owner).name, language) if one.owner else ""
        given.append(f"owner {name or 'none'}")
    if one.measure is not None:
        given.append(f"measure {in_language(one.measure, language) or 'none'}")
    if one.needs is not None:
        given.append(f"waits for {', '.join(one.needs) or 'nothing'}")
    return f"{', '.join(given)} [{one.source}]"


def _claim(pack: Pack, one: Standing, language: str) -> dict[str, Any]:
    claim = one.claim
    return {
        "id": claim.id,
        "who": safe(in_language(pack.who(claim.who).name, language)),
        "said": str(claim.said),
        "number": _number(one),
        "unit": claim.unit,
        "status": one.status,
        "source": claim.source,
        "what": safe(in_language(claim.what, language)),
    }


def _number(one: Standing) -> str:
    claim = one.claim
    if claim.number is None:
        return ""
    text = f"{claim.number:,.15g}" + (f" to {claim.high:,.15g}" if claim.high is not None else "")
    return f"{'about ' * claim.approximate}{'at least ' * claim.at_least}{text}"


def _cell(pack: Pack, claims: Iterable[Standing], kind: str, language: str) -> str:
    """All numbers of a kind that are not parts of others."""
    found = []
    for one in claims:
        unit = pack.unit.get(one.claim.unit or "")
        if unit and unit.kind == kind and one.claim.part_of is None:
            found.append(f"{_number(one)} {in_language(unit.name, language)}")
    return safe("; ".join(dict.fromkeys(found)))


def _figure(one: Figure) -> dict[str, Any]:
    low, middle, high = (rounded(value) for value in (one.low, one.middle, one.high))
    shown = {"low": f"{low:,.15g}", "middle": f"{middle:,.15g}", "high": f"{high:,.15g}"}
    return {
        **shown,
        "name": one.name,
        "unit": one.unit,
        "basis": one.basis,
        "how": one.how,
        "sources": list(one.sources),
    }
