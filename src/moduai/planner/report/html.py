"""A run as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeAlias

from moduai.packs.numbers import grouped
from moduai.packs.pack import in_language
from moduai.packs.price import rounded
from moduai.packs.schema import Words as Named
from moduai.planner.basis import Spread
from moduai.planner.estimates import Beside, Part, Sampled
from moduai.planner.outcome import ByClass, Outcome
from moduai.planner.report.figures import Bar, Line, Said, bars, lines, short
from moduai.planner.report.words import Words

STYLE = """
:root{--ink:#1e2124;--soft:#464c53;--ground:#fff;--line:#cdd1d5;--blue:#256ef4;--limit:#bd2c0f;
--c0:#1d56bc;--c1:#267337;--c2:#9e4200;--c3:#7a1fa2;--c4:#a3124e;--c5:#464c53;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#f4f5f6;--soft:#b1b8be;--ground:#131416;--line:#464c53;
--blue:#4c87f6;--limit:#f48771;--c0:#86aff9;--c1:#7fcf90;--c2:#ffb37a;--c3:#d8a5f0;--c4:#ff9cbf;--c5:#cdd1d5}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--ground);
color:var(--ink);font:1rem/1.6 system-ui,"Noto Sans KR","Malgun Gothic",sans-serif;word-break:keep-all}
h1{font-size:1.7rem;line-height:1.3;margin:.2em 0}h2{font-size:1.25rem;margin:2.2em 0 .5em}
p{max-width:45rem}.soft,figcaption,caption{color:var(--soft)}figure{margin:1rem 0 1.5rem}
svg{width:100%;height:auto;max-width:46rem;display:block}
svg text{font:12px system-ui,"Noto Sans KR",sans-serif}
.mark,.end{fill:var(--ink)}.grid{stroke:var(--line)}.line{fill:none;stroke-width:2}.bar{fill:var(--blue)}
.band{stroke:var(--ink);stroke-width:1.5;fill:none}.limit{stroke:var(--limit);stroke-width:3}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
.c5{stroke:var(--c5)}.t0{fill:var(--c0)}.t1{fill:var(--c1)}.t2{fill:var(--c2)}.t3{fill:var(--c3)}
.t4{fill:var(--c4)}.t5{fill:var(--c5)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:start;padding:.3em 0}th,td{border-bottom:1px solid var(--line);padding:.3em .7em;
text-align:end;vertical-align:top}th:first-child,td:first-child,.text{text-align:start}
thead th{white-space:nowrap}
tbody th{font-weight:500;min-width:9rem}
.text{display:block;min-width:16rem}
summary{cursor:pointer;color:var(--soft);padding:.3em 0}
.kept{font-weight:600}.not{color:var(--limit);font-weight:600}
@media print{body{max-width:none;padding:0}details>*{display:block!important}details::details-content{
content-visibility:visible}summary{list-style:none}figure,tr{break-inside:avoid}h2{break-after:avoid}
.wide{overflow:visible}table{font-size:.75rem}}
"""
READING = (
    (
        "A wait is the time in line until an engine takes the question, with the way there and back. It "
        "comes from the curves of what came and what went (first come first served within a demand), and "
        "from what chance adds. Waits are {waits}, energy is {energy}, money is {money}: each is known no "
        "better than the weakest figure it rests on."
    ),
    "Bands: {draws} runs with figures drawn from their ranges; 5 to 95 of a hundred. Seed {seed}.",
    "Nothing is lost: what was asked was served, turned away, gave up or waits (difference {missing}).",
    (
        "This mode does not know: answers cut short under pressure, the lighter model, limits of single "
        "persons. Everything bought is counted whole, whoever pays."
    ),
)
"""How to read a report."""
SAMPLE = (
    "{drawn} of {planned} cells, {requests} requests one by one. Sampled, with intervals that hold {sure} of "
    "what chance does; then the fluid, with the band of its drawn runs. Engines may be {error} slower or "
    "faster: no interval holds that. Waits are {waits}. Hash {digest}."
)
Row: TypeAlias = Sequence[object]


def report(outcome: Outcome, language: str = "en", sample: Sampled | None = None) -> str:
    """The whole file. ``sample``: cells that were drawn beside."""
    words = Words(language)
    page = _Page(outcome, words, sample)
    body = page.head() + page.sections()
    title = escape(page.name(outcome.name) or outcome.scenario)
    return (
        f'<!doctype html>\n<html lang="{words.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} – Modu</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def sections(outcome: Outcome, language: str = "en") -> str:
    """What stands below its head, for another page."""
    return _Page(outcome, Words(language)).sections()


class _Page:
    """The parts of a report."""

    def __init__(self, outcome: Outcome, words: Words, sample: Sampled | None = None) -> None:
        self.outcome, self.words, self.sample = outcome, words, sample

    def name(self, words: Named, other: str = "") -> str:
        return in_language(words, self.words.language) or other

    def sections(self) -> str:
        parts = (
            self.short(), self.goals(), self.waits(), self.load(), self.cells(), self.regions(), self.money(),
            self.sites(), self.engines(), self.rests(),
        )  # fmt: skip
        return "".join(parts)

    def head(self) -> str:
        o, w = self.outcome, self.words
        said = w("{days} days from {start}", days=f"{o.days:g}", start=o.start)
        first = w("The run was stopped: these are the first {days} days of it.", days=f"{o.days:.3g}")
        stopped = "" if o.whole else f'<p class="not">{first}</p>'
        about = escape(self.name(o.about))
        return (
            f'<p class="soft">Modu – {w("Plan")}</p><h1>{escape(self.name(o.name, o.scenario))}</h1>'
            f"<p>{about}</p><p class='soft'>{escape(said)}</p>{stopped}"
        )

    def short(self) -> str:
        o, w = self.outcome, self.words
        rows: list[Row] = [
            (w("accelerators"), f"{o.accelerators:,}"),
            (w("of them answering"), f"{o.serving:,}"),
            (w("questions"), f"{o.asked:,.0f}"),
            (w("tokens a second"), short(o.tokens_s)),
        ]
        for name, used in o.used.items():
            rows.append((f"{w('used')}: {name}", f"{used:.1%} ({w('busiest')} {o.peak[name]:.1%})"))
        return self._section("In short", _table(w("What was run"), ("", ""), rows) + self._reading())

    def _reading(self) -> str:
        o, w = self.outcome, self.words
        basis = {name: w(str(one.value)) for name, one in o.basis.items()}
        values = {**basis, "draws": o.draws, "seed": o.seed, "missing": f"{o.missing:.1e}"}
        said = [w(text, **values) for text in READING]
        return f"<h3>{w('How to read this')}</h3>" + "".join(f"<p>{escape(one)}</p>" for one in said)

    def goals(self) -> str:
        w = self.words
        if not self.outcome.goals:
            return ""
        rows = [
            (
                self._class(one.service_class),
                f"≤ {one.wait_s:g} s",
                f"{one.wanted:.1%}",
                f"{one.within:.2%}",
                f"{one.turned_away:.2%}",
                _Raw(
                    f'<span class="{"kept" if one.kept else "not"}">{w("yes" if one.kept else "no")}</span>'
                ),
            )
            for one in self.outcome.goals
        ]
        heads = [w(one) for one in ("class", "goal", "wanted", "reached", "turned away", "kept")]
        return self._section("Goals", _table(w("Goals"), heads, rows))

    def waits(self) -> str:
        o, w = self.outcome, self.words
        names = [self._class(one.service_class) for one in o.classes]
        marks = [str(one.hour) for one in o.hours]
        some = [Line(name, [one.wait[place] for one in o.hours]) for place, name in enumerate(names)]
        rows: list[Row] = [(one.hour, *map(short, one.wait)) for one in o.hours]
        by_hour = self._figure(
            "by-hour",
            "Mean wait by hour of the day and class",
            "Seconds in line, in powers of ten; each line is a class.",
            lambda said: lines(said, marks, some, is_log=True),
            ([w("hour"), *names], rows),
        )
        banded = [
            Bar(name, one.p99.middle, one.p99.low, one.p99.high)
            for name, one in zip(names, o.classes, strict=True)
        ]
        heads = (
            "class", "questions", "served", "band", "turned away", "gave up", "still waiting",
            "share of accelerators' time", "tokens a second", "mean wait, s", "half wait less than, s",
            "nine of ten, s", "99 of 100, s", "band",
        )  # fmt: skip
        rows = [
            (
                name, f"{one.asked:,.0f}", *_served(one),
                f"{one.refused:.2%}", f"{one.left:.2%}", f"{one.waiting:.2%}", f"{one.share:.1%}",
                short(one.tokens_s), short(one.mean), short(one.p50), short(one.p90), short(one.p99.middle),
                _band(one.p99),
            )
            for name, one in zip(names, o.classes, strict=True)
        ]  # fmt: skip
        by_class = self._figure(
            "by-class",
            "How long 99 of 100 wait at most, by class",
            "Seconds, in powers of ten; the thin line is the band of the drawn runs.",
            lambda said: bars(said, banded, is_log=True),
            ([w(one) for one in heads], rows),
        )
        return self._section("Waits", by_class + by_hour)

    def load(self) -> str:
        o, w = self.outcome, self.words
        marks = [one.at[11:] if o.days <= 2 else one.at[2:10] for one in o.curve]
        some = [
            Line(w("asked"), [one.asked for one in o.curve]),
            Line(w("served a second"), [one.served for one in o.curve]),
        ]
        rows = [
            (
                one.at.replace("T", " "),
                short(one.asked),
                short(one.served),
                f"{one.used:.1%}",
                short(one.megawatts),
            )
            for one in o.curve
        ]
        heads = [w(one) for one in ("time", "questions a second", "served a second", "used", "power, MW")]
        figure = self._figure(
            "load",
            "Questions a second over the run",
            "What was asked, and what was answered.",
            lambda said: lines(said, marks, some),
            (heads, rows),
        )
        return self._section("Load", figure)

    def cells(self) -> str:
        """What a sample says, beside the fluid in the same windows."""
        s, w = self.sample, self.words
        if s is None:
            return ""
        rows = [
            (
                f"{one.model}, {one.accelerator}, {one.level}", one.drawn, short(one.hours),
                _beside(one.answers_s), _beside(one.tokens_s),
            )
            for one in s.strata
        ]  # fmt: skip
        heads = [w(one) for one in ("stratum", "cells", "hours", "answers a second", "tokens a second")]
        said = w(
            SAMPLE, drawn=s.drawn, planned=s.planned, requests=f"{s.requests:,}", sure=f"{s.sure:.0%}",
            error=f"{s.error:.0%}", waits=w(str(s.known.basis["waits"].value)), digest=s.digest,
        )  # fmt: skip
        parts = (f"<p>{escape(said)}</p>", self._by_cell(s.nation), _table(w("Strata"), heads, rows))
        return self._section("A sample, request by request", "".join(parts))

    def _by_cell(self, nation: Part) -> str:
        w = self.words
        names = [self.name(one.title, one.service_class) for one in nation.classes]
        some = [
            Bar(name, one.p99.sampled.middle, one.p99.sampled.low, one.p99.sampled.high, one.p99.fluid.middle)
            for name, one in zip(names, nation.classes, strict=True)
        ]
        heads = (
            "class",
            "served",
            "turned away",
            "share of accelerators' time",
            "mean wait, s",
            "99 of 100, s",
        )
        rows = [
            (
                name, _beside(one.served, percent=True), _beside(one.away, percent=True),
                _beside(one.share, percent=True), _beside(one.mean), _beside(one.p99),
            )
            for name, one in zip(names, nation.classes, strict=True)
        ]  # fmt: skip
        return self._figure(
            "sample",
            "How long 99 of 100 wait at most in the cells, by class",
            "Seconds, in powers of ten; the thin line is the interval, the tick is what the fluid says.",
            lambda said: bars(said, some, is_log=True),
            ([w(one) for one in heads], rows),
        )

    def regions(self) -> str:
        o, w = self.outcome, self.words
        if len(o.regions) < 2:
            return ""
        some = [Bar(self.name(one.name, one.region), one.p99) for one in o.regions]
        rows = [
            (
                self.name(one.name, one.region),
                f"{one.asked:,.0f}",
                f"{one.served:.2%}",
                short(one.mean),
                short(one.p99),
            )
            for one in o.regions
        ]
        heads = [w(one) for one in ("region", "questions", "served", "mean wait, s", "99 of 100, s")]
        figure = self._figure(
            "regions",
            "How long 99 of 100 wait at most, by region",
            "Seconds, in powers of ten, of people: without agents and batch work.",
            lambda said: bars(said, some, is_log=True),
            (heads, rows),
        )
        return self._section("Regions", figure)

    def money(self) -> str:
        o, w = self.outcome, self.words
        paid, used = [], []
        rows: list[Row] = []
        for one in o.years:
            bill = one.bill or Spread(0, 0, 0)
            whole = [one.bought.low + bill.low, one.bought.middle + bill.middle, one.bought.high + bill.high]
            paid.append(Bar(f"{one.year}, {o.currency}", whole[1], whole[0], whole[2], one.budget))
            energy = one.energy_mwh
            if energy:
                used.append(Bar(str(one.year), energy.middle, energy.low, energy.high))
            rows.append(
                (
                    one.year,
                    self._money(one.bought.middle), self._range(one.bought),
                    self._money(bill.middle) if one.bill else "–", self._range(bill) if one.bill else "",
                    self._money(one.budget) if one.budget else "–",
                    f"{one.part:.1%}" if one.part is not None else "–",
                    short(energy.middle) if energy else "–", _band(energy) if energy else "",
                )
            )  # fmt: skip
        heads = [
            w(one)
            for one in (
                "year", "bought", "band", "electricity", "band", "budget", "part of the budget",
                "energy of a year, MWh", "band",
            )
        ]  # fmt: skip
        money = self._figure(
            "money",
            "Money by year, beside the budget",
            "Bought and electricity; the tick is the year's budget, the thin line the range of prices.",
            lambda said: bars(said, paid, told=self._money),
            (heads, rows),
        )
        energy_figure = self._figure(
            "energy",
            "Energy of a year",
            "At the pace of the days that were run; the thin line is the range of servers and sites.",
            lambda said: bars(said, used),
            ([heads[0], *heads[-2:]], [(row[0], *row[-2:]) for row in rows]),
        )
        return self._section("Money and energy", (money if o.currency else "") + energy_figure)

    def sites(self) -> str:
        w = self.words
        rows = [
            (
                self.name(one.name, one.site),
                f"{one.accelerators:,}",
                f"{one.powered:.1%}",
                short(one.peak_mw),
                short(one.energy_mwh),
            )
            for one in self.outcome.sites
        ]
        heads = [w(one) for one in ("site", "accelerators", "powered", "most power, MW", "energy, MWh")]
        return self._section("Sites", _table(w("Sites"), heads, rows))

    def engines(self) -> str:
        w = self.words
        rows = [
            (
                f"{one.model}, {one.accelerator}, {one.site}", f"{one.replicas:,}", one.devices, one.batch,
                short(one.requests_s), short(one.tpot_ms), f"± {one.error:.0%}", w(one.basis.value),
            )
            for one in self.outcome.pools
        ]  # fmt: skip
        heads = [
            w(one)
            for one in (
                "model", "replicas", "devices each", "at once", "questions a second each",
                "time per token, ms", "nine of ten within", "basis",
            )
        ]  # fmt: skip
        return self._section("Engines", _table(w("Engines"), heads, rows))

    def rests(self) -> str:
        w = self.words
        rows = [
            (
                one.what, short(one.value.low), short(one.value.middle), short(one.value.high), one.unit,
                w(one.basis.value), _Raw(f'<span class="text">{escape(one.source)}</span>'),
            )
            for one in self.outcome.rests
        ]  # fmt: skip
        heads = [w(one) for one in ("figure", "low", "middle", "high", "unit", "basis", "source")]
        behind = _table(w("What this rests on"), heads, rows)
        opened = f"<details><summary>{escape(w('the numbers as a table'))}</summary>{behind}</details>"
        return self._section("What this rests on", opened)

    def _class(self, name: str) -> str:
        titles = {one.service_class: one.title for one in self.outcome.classes}
        return self.name(titles.get(name, {}), name)

    def _money(self, value: float) -> str:
        """With the language's names of large numbers, to three digits."""
        names = self.outcome.large_numbers.get(self.words.language, {})
        return grouped(rounded(value), names)

    def _range(self, spread: Spread) -> str:
        return f"{self._money(spread.low)} – {self._money(spread.high)}"

    def _section(self, title: str, content: str) -> str:
        return f"<section><h2>{escape(self.words(title))}</h2>{content}</section>"

    def _figure(
        self,
        name: str,
        title: str,
        about: str,
        draw: Callable[[Said], str],
        table: tuple[Sequence[str], Iterable[Row]],
    ) -> str:
        w = self.words
        drawn = draw(Said(name, w(title), w(about)))
        behind = _table(w(title), *table)
        return (
            f"<figure>{drawn}<figcaption><strong>{escape(w(title))}.</strong> {escape(w(about))}</figcaption>"
            f"<details><summary>{escape(w('the numbers as a table'))}</summary>{behind}</details></figure>"
        )


class _Raw(str):
    """Markup of ours."""

    __slots__ = ()


def _table(caption: str, heads: Sequence[str], rows: Iterable[Row]) -> str:
    """Its first column names the row."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    head = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(one)}</td>" for one in others)}</tr>'
        for first, *others in rows
    )
    said = escape(caption)
    table = f"<table><caption>{said}</caption>{head}<tbody>{body}</tbody></table>"
    return f'<div class="wide" role="region" aria-label="{said}" tabindex="0">{table}</div>'


def _cell(value: object) -> str:
    return value if isinstance(value, _Raw) else escape(str(value))


def _served(one: ByClass) -> tuple[str, str]:
    """And its band; nothing where nobody asked."""
    return (f"{one.served.middle:.2%}", _band(one.served, percent=True)) if one.served else ("–", "–")


def _beside(one: Beside, *, percent: bool = False) -> str:
    middles = (f"{side.middle:.2%}" if percent else short(side.middle) for side in (one.sampled, one.fluid))
    bands = (_band(side, percent=percent) for side in (one.sampled, one.fluid))
    return "; ".join(f"{middle} ({band})" for middle, band in zip(middles, bands, strict=True))


def _band(spread: Spread, *, percent: bool = False) -> str:
    low, high = (f"{one:.2%}" if percent else short(one) for one in (spread.low, spread.high))
    return f"{low} – {high}"
