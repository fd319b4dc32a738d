"""The plan as files: JSON, CSV, JSON-LD in schema.org's words, and an Atom feed of its changes. Pure.

Every file has all languages, the exact numbers, and the source of each claim.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date
from typing import Any
from xml.etree import ElementTree as Xml

import msgspec

from moduai.packs import strategy
from moduai.packs.pack import Pack, in_language
from moduai.packs.schema import Revision
from moduai.packs.strategy import Plan, Standing
from moduai.web.language import Language
from moduai.web.plan import words
from moduai.web.plan.events import Event, became

ATOM = "http://www.w3.org/2005/Atom"
COLUMNS = (
    "item",
    "kind",
    "pillar",
    "title",
    "claim",
    "who",
    "what",
    "number",
    "high",
    "at_least",
    "approximate",
    "unit",
    "since",
    "until",
    "region",
    "purpose",
    "part_of",
    "status",
    "status_since",
    "said",
    "source",
    "source_title",
    "source_url",
    "basis",
    "missing",
    "owner",
    "measure",
    "needs",
)
FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet would compute if a cell began with it; the last four are as wide as a Han character."""
MOST_EVENTS = 200


def as_json(plan: Plan) -> bytes:
    """The plan as of its day, whole."""
    pack = plan.pack
    return msgspec.json.encode(
        {
            "pack": pack.head,
            "locale": pack.locale,
            "day": plan.day,
            "items": [
                {
                    **_fields(entry.item),
                    "missing": entry.gaps,
                    "revisions": entry.revisions,
                    "claims": [one.claim.id for one in entry.claims],
                }
                for entry in plan.entries.values()
            ],
            "claims": [_claim(one) for one in plan.standing.values()],
            "conflicts": strategy.conflicts(plan),
            "money": strategy.money(plan),
            "waits": strategy.triangle(plan),
            "units": pack.units,
            "sources": pack.sources,
            "offices": pack.offices,
            "actors": pack.actors,
            "regions": pack.regions,
            "groups": pack.groups,
        }
    )


def as_csv(plan: Plan, language: str) -> bytes:
    """A row for each standing claim, with a mark of UTF-8 that spreadsheets know."""
    pack, text = plan.pack, io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for entry in plan.entries.values():
        for one in entry.claims:
            claim, source = one.claim, pack.source[one.claim.source]
            rows.writerow(
                map(
                    _cell,
                    (
                        entry.item.id,
                        entry.item.kind,
                        entry.item.pillar,
                        in_language(entry.item.title, language),
                        claim.id,
                        in_language(pack.who(claim.who).name, language),
                        in_language(claim.what, language),
                        claim.number,
                        claim.high,
                        claim.at_least,
                        claim.approximate,
                        claim.unit,
                        claim.since,
                        claim.until,
                        claim.region,
                        claim.purpose,
                        claim.part_of,
                        one.status,
                        one.since,
                        claim.said,
                        claim.source,
                        in_language(source.title, language),
                        source.url,
                        claim.basis,
                        " ".join(entry.gaps),
                        in_language(pack.who(entry.item.owner).name, language) if entry.item.owner else "",
                        in_language(entry.item.measure, language),
                        " ".join(entry.item.needs),
                    ),
                )
            )
    return text.getvalue().encode("utf-8-sig")


def as_json_ld(plan: Plan, address: str) -> bytes:
    """A ``Dataset`` of ``Claim``s. ``address``: where the service is reached."""
    pack = plan.pack
    return msgspec.json.encode(
        {
            "@context": "https://schema.org",
            "@type": "Dataset",
            "@id": f"{address}/plan",
            "url": f"{address}/plan",
            "name": _texts(pack.head.name),
            "description": _texts(pack.head.about),
            "inLanguage": pack.languages,
            "version": str(pack.head.version),
            "dateModified": plan.day,
            "isAccessibleForFree": True,
            "distribution": [
                {"@type": "DataDownload", "contentUrl": f"{address}/plan.{kind}", "encodingFormat": media}
                for kind, media in (("json", "application/json"), ("csv", "text/csv"))
            ],
            "hasPart": [_json_ld_claim(pack, one, address) for one in plan.standing.values()],
        }
    )


def as_atom(pack: Pack, found: Iterable[Event], language: Language, address: str, title: str) -> bytes:
    """A feed of events, the newest first."""
    entries = list(found)[:MOST_EVENTS]
    Xml.register_namespace("", ATOM)
    feed = Xml.Element(f"{{{ATOM}}}feed", {"{http://www.w3.org/XML/1998/namespace}lang": language.code})
    _add(feed, "id", f"urn:modu:plan:{pack.head.id}")
    _add(feed, "title", title)
    _add(feed, "updated", _moment(entries[0].day if entries else pack.head.as_of))
    _add(feed, "rights", pack.head.licence)
    Xml.SubElement(feed, f"{{{ATOM}}}author").append(
        _text("name", in_language(pack.head.name, language.code))
    )
    Xml.SubElement(feed, f"{{{ATOM}}}link", rel="self", href=f"{address}/plan/feed.xml?lang={language.code}")
    Xml.SubElement(feed, f"{{{ATOM}}}link", rel="alternate", href=f"{address}/plan")
    for one in entries:
        _entry(Xml.SubElement(feed, f"{{{ATOM}}}entry"), pack, one, language, address)
    return bytes(Xml.tostring(feed, encoding="utf-8", xml_declaration=True))


def _entry(entry: Xml.Element, pack: Pack, one: Event, language: Language, address: str) -> None:
    source, text = pack.source[one.source], in_language(one.text, language.code)
    news = [text, words.say(words.STATUSES, language.words, one.status or "")]
    if one.kind == "status":
        news.reverse()
    if one.revision:
        news = [_became(pack, one.revision, language), text]
    who = [in_language(pack.who(pack.claim[one.claim].who).name, language.code)] if one.claim else []
    told = [*news, *who, in_language(source.title, language.code)]
    place = f"{address}/plan/items/{one.item}" + (f"#c-{one.claim}" if one.claim else "")
    _add(entry, "id", f"urn:modu:plan:{pack.head.id}:{one.id}")
    _add(entry, "title", f"{in_language(pack.item[one.item].title, language.code)}: {news[0]}")
    _add(entry, "updated", _moment(one.day))
    Xml.SubElement(entry, f"{{{ATOM}}}link", rel="alternate", href=place)
    Xml.SubElement(entry, f"{{{ATOM}}}category", term=one.kind)
    _add(entry, "summary", " · ".join(filter(None, told)))
    if source.url:
        Xml.SubElement(entry, f"{{{ATOM}}}link", rel="via", href=source.url)


def _became(pack: Pack, revision: Revision, language: Language) -> str:
    """What a revision gives, in a line."""
    t = language.words
    pairs = (
        (words.say(words.GAPS, t, gap), [in_language(one, language.code) for one in texts])
        for gap, texts in became(pack, revision)
    )
    return "; ".join(f"{gap}: {', '.join(texts) or words.none(t)}" for gap, texts in pairs)


def _claim(one: Standing) -> dict[str, Any]:
    return {
        **_fields(one.claim),
        "status": one.status,
        "status_since": one.since,
        "status_source": one.source,
        "replaced": one.replaced,
    }


def _fields(row: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(row)


def _json_ld_claim(pack: Pack, one: Standing, address: str) -> dict[str, Any]:
    claim, source = one.claim, pack.source[one.claim.source]
    unit = pack.unit.get(claim.unit or "")
    found: dict[str, Any] = {
        "@type": "Claim",
        "@id": f"{address}/plan/items/{claim.item}#c-{claim.id}",
        "text": _texts(claim.what),
        "author": {"@type": _kind(pack, claim.who), "name": _texts(pack.who(claim.who).name)},
        "datePublished": claim.said,
        "creativeWorkStatus": one.status,
        "appearance": {
            "@type": "CreativeWork",
            "name": _texts(source.title),
            "publisher": {"@type": "Organization", "name": source.publisher},
            **({"url": source.url} if source.url else {}),
            **({"datePublished": source.published} if source.published else {}),
        },
    }
    if claim.number is not None:
        value = (
            {"value": claim.number}
            if claim.high is None
            else {"minValue": claim.number, "maxValue": claim.high}
        )
        money = (
            {"currency": unit.currency} if unit and unit.currency else {"unitText": unit.id if unit else ""}
        )
        kind = "MonetaryAmount" if unit and unit.currency else "QuantitativeValue"
        found["about"] = {"@type": kind, **value, **money}
    return found


def _kind(pack: Pack, who: str) -> str:
    actor = pack.actor.get(who)
    return "Person" if actor and actor.kind == "person" else "Organization"


def _texts(texts: dict[str, str]) -> list[dict[str, str]]:
    return [{"@language": code, "@value": text} for code, text in texts.items()]


def _cell(value: object) -> str:
    """A cell that no spreadsheet runs; numbers in full."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _moment(day: date) -> str:
    return f"{day}T00:00:00Z"


def _add(parent: Xml.Element, name: str, text: str) -> None:
    parent.append(_text(name, text))


def _text(name: str, text: str) -> Xml.Element:
    made = Xml.Element(f"{{{ATOM}}}{name}")
    made.text = text
    return made
