"""Write the pages that follow from the code: ``python -m scripts.reference``.

Each page is a function that returns its text; a test compares the committed pages with it, so a setting,
command, error or check cannot be added without its documentation.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Iterator
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from moduai import settings
from moduai.cli import COMMANDS, command
from moduai.packs.typed import hints
from moduai.planner.scenario import schema

ROOT = Path(__file__).parent.parent
NOTE = "<!-- Written by `make reference` from the code; change it there. -->\n"
FAILS = re.compile(r"\bfails? (open|closed)\b", re.IGNORECASE)

SETTINGS_HEAD = """\
# Settings

{note}
`modu settings` shows the values in force and where each came from. They are read from `modu.toml` in the
home folder (`MODU_SETTINGS` names another file), then from the environment, then from the command line; the
later wins. An unknown name or a value that does not fit stops the start.

Lists are written with commas in variables: `MODU_GATEWAY__BEHIND_PROXY=10.0.0.2,10.1.0.0/16`.
"""
COMMANDS_HEAD = """\
# Commands

{note}
All of them have `--help`; those that show something have `--json`. The exit status is 0 when it was done, 1
when it failed and 2 when it was called wrongly.
"""
ERRORS_HEAD = """\
# Error codes

{note}
Errors have OpenAI's shape: `{{"error": {{"message", "type", "param", "code"}}}}`. Codes are stable;
messages may say more than the sentence here. After the head of a stream was sent, an error comes as
`data: {{"error": …}}` and the connection closes without `[DONE]`.

| code | status | type | message |
|---|---|---|---|
"""
METRICS_HEAD = """\
# Metrics

{note}
`GET /metrics` answers this machine, and the collectors that `gateway.scraped_by` lists, in Prometheus' text
format; never a request that came through a proxy. Counters begin at 0 when a worker starts. Histograms have
the buckets {bounds} seconds. The last column says how the values of several gateways are joined: where it is
not `sum`, each tells of its whole cell. Where a machine has several workers, any of them tells of all, with
the label `worker` on each value: join them in the same way. `deploy/monitoring` has a panel for each metric,
and alerts (`python -m scripts.monitoring` writes both).

| metric | type | labels | what it is | joined by |
|---|---|---|---|---|
"""
OPERATIONS_HEAD = """\
# Operations

{note}
What the [console](../console.md) does, programmes can do at `/api`, and the command line on the machine.
The OpenAPI 3.1 document of the running service is at `/api/openapi.json`. Fields of the path stand in
braces; other fields of GET and DELETE are in the query, of POST, PUT and PATCH in a JSON object. A field
that is not known is refused. Errors have the shape and the [codes](errors.md) of the API; times are Unix
seconds.

Send an API key with the scope `manage` (`modu key create NAME --manage PERSON`): it has the role of its
person at the time of the call. With the cookie of a session, the header `modu-token` holds the form token
of one of its pages. Lists have `limit` and `after`, and answer with `next`. What makes something takes an
`Idempotency-Key`: a second request with the same one within a day is refused with 409. Each change stands
in the audit log.

## Who may do what

"""
SCENARIO_HEAD = """\
# Keys of a scenario

{note}
What a scenario of the [planner](../planner.md) may say. `[scenario]` and `[power]` stand once, all others as
often as there are rows. A *part* is between 0 and 1. A *range* is one number, or `[low, middle, high]` where
it is not known well. Dates are `2027-03-02`, times `2027-03-02T09:00:00`.
"""
DECISIONS_HEAD = """\
# Decisions

{note}
What was decided, why, and what follows from it. A decision that no longer holds is not changed: a new one
names it.

| | decision |
|---|---|
"""
FAILURES_HEAD = """\
# Failure modes

{note}
## When parts die

What becomes of people's requests when a part of the service, or what it stands on, fails. Each row has a test
with real processes; `python -m benchmarks cells --only faults` runs them all, with faults of a minute where
it is a matter of time, and prints which rows hold.

{faults}
## Degraded modes

While people are served and something does not work, its name stands on `/health/ready` (which answers 200
for as long as requests are taken), in words on the console's first page, and as `modu_degraded{{mode="…"}}`
in the metrics; [two alerts](../deploy/monitoring/alerts.yaml) go by it, one that wakes somebody and one for
working hours.

{modes}
## Checks

What each check does when it cannot decide. *Closed* refuses, stops or keeps nothing; *open* goes on without
it. Every line is the docstring of the code it names.

| where | what it is | fails | how |
|---|---|---|---|
"""


WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    date: "date",
    datetime: "time",
}
"""Types, as those who write a file know them."""


def settings_page() -> str:
    """Every setting, by section."""
    out = [SETTINGS_HEAD.format(note=NOTE)]
    defaults = settings.Loaded(settings.Settings(), Path(), {})
    section = ""
    for row in defaults.rows():
        table, field = row.name.split(".")
        if table != section:
            section = table
            about = (settings.sections()[table].__doc__ or "").splitlines()[0]
            out.append(
                f"\n## [{table}]\n\n{about}\n\n| field | default | variable | what it is |\n|---|---|---|---|"
            )
        variable = f"`MODU_{row.name.upper().replace('.', '__')}`"
        out.append(f"| `{field}` | {_value(row.value)} | {variable} | {row.description} |")
    return "\n".join(out) + "\n"


def _value(value: object) -> str:
    if value in ("", ()):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def commands_page() -> str:
    """Every command, as its own ``--help`` tells it."""
    out = [COMMANDS_HEAD.format(note=NOTE)]
    for name, entry in COMMANDS.items():
        out.append(f"\n## modu {name}\n\n{entry.help}\n")
        out += [f"```text\n{text}\n```\n" for text in _helps(command(name), f"modu {name}", None)]
    return "\n".join(out)


def _helps(one: Any, words: str, parent: Any) -> Iterator[str]:
    from typer import Context  # noqa: PLC0415

    context = Context(one, info_name=words.rsplit(maxsplit=1)[-1] if parent else words, parent=parent)
    context.terminal_width = context.max_content_width = 100
    yield re.sub(r"[ \t]+$", "", one.get_help(context), flags=re.MULTILINE).strip()
    for name, child in sorted(getattr(one, "commands", {}).items()):
        yield from _helps(child, f"{words} {name}", context)


def errors_page() -> str:
    """Every error code."""
    from moduai.gateway.errors import CATALOGUE  # noqa: PLC0415

    rows = [
        f"| `{code}` | {kind.status} | `{kind.type}` | {kind.message} |\n" for code, kind in CATALOGUE.items()
    ]
    return ERRORS_HEAD.format(note=NOTE) + "".join(rows)


def metrics_page() -> str:
    """Every metric."""
    from moduai.gateway.metrics import CATALOGUE  # noqa: PLC0415
    from moduai.gateway.stats import BOUNDS_S  # noqa: PLC0415

    rows = [
        f"| `{one.name}` | {one.type} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} "
        f"| {one.over} |\n"
        for one in CATALOGUE
    ]
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_S)
    return METRICS_HEAD.format(note=NOTE, bounds=bounds) + "".join(rows)


def operations_page() -> str:
    """Every operation, and every role's permissions."""
    from moduai.accounts.roles import PERMISSIONS  # noqa: PLC0415
    from moduai.web.api.table import OPERATIONS  # noqa: PLC0415

    columns = sorted(set().union(*PERMISSIONS.values()))
    out = [OPERATIONS_HEAD.format(note=NOTE)]
    out.append(f"| role | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n")
    for role, allowed in PERMISSIONS.items():
        out.append(f"| {role} | {' | '.join('yes' if one in allowed else '' for one in columns)} |\n")
    out.append("\n## All operations\n\n| operation | request | permission | command | what it does |\n")
    out.append("|---|---|---|---|---|\n")
    for one in OPERATIONS:
        about = " ".join((one.handler.__doc__ or "").split())
        out.append(
            f"| `{one.name}` | `{one.method} {one.path}` | {one.permission} | `modu {one.command}` | "
            f"{one.summary} {_cell(about)} |\n"
        )
    return "".join(out)


def scenario_page() -> str:
    """Every key of a scenario."""
    from moduai.planner.scenario.rows import KINDS  # noqa: PLC0415

    out = [SCENARIO_HEAD.format(note=NOTE)]
    for kind in KINDS.values():
        about = " ".join((kind.type.__doc__ or "").split()).replace("``", "`").removesuffix(" and")
        out.append(f"\n## {about}\n\n| key | is | default | what it is |\n|---|---|---|---|\n")
        out += [
            f"| `{one}` | {_kind(hint)} | {default} | {_cell(about)} |\n"
            for one, hint, default, about in _keys(kind.type)
        ]
    return "".join(out)


def _keys(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any, str, str]]:
    """Fields of a row: name, type, default, docstring; those that must be there first."""
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("moduai"):
            said |= _attributes(ast.parse(inspect.getsource(base)))
    for field in sorted(msgspec.structs.fields(kind), key=lambda one: not one.required):
        default = "required" if field.required else _value(_plain(field))
        yield field.name, hints(kind)[field.name], default, said.get(field.name, "")


def _plain(field: Any) -> object:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "" if value is None or value == {} else value


def _attributes(tree: ast.Module) -> dict[str, str]:
    """Docstrings below annotated names."""
    found = {}
    for node in tree.body:
        body = node.body if isinstance(node, ast.ClassDef) else []
        for one, after in itertools.pairwise(body):
            match one, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _kind(hint: Any) -> str:
    """A type in the words of those who write it."""
    for alias, said in ((schema.Range, "range"), (schema.PartRange, "range of parts"), (schema.Part, "part")):
        if hint == alias:
            return said
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    match typing.get_origin(hint):
        case typing.Literal:
            text = ", ".join(f"`{one}`" for one in inner)
        case typing.Annotated | typing.Union | types.UnionType:
            text = _kind(inner[0])
        case origin if origin is dict:
            text = f"table of {_kind(inner[1])}s"
        case origin if origin is tuple:
            text = f"list of {_kind(inner[0])}s"
        case _:
            choices = list(hint) if isinstance(hint, type) and issubclass(hint, Enum) else []
            text = ", ".join(f"`{one.value}`" for one in choices) or WORDS.get(hint, "table")
    return text


def decisions_page() -> str:
    """The index of decisions, from their titles."""
    rows = []
    for file in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = file.read_text("utf-8").splitlines()[0].removeprefix("# ")
        number, _, rest = title.partition(" ")
        rows.append(f"| [{number}]({file.name}) | {rest} |\n")
    return DECISIONS_HEAD.format(note=NOTE) + "".join(rows)


class Failing(NamedTuple):
    """A check, and what happens when it cannot decide."""

    where: str
    what: str
    fails: str
    how: str


def failure_modes_page() -> str:
    """When parts die, degraded modes, and every docstring that says whether a check fails open or closed."""
    from benchmarks.faults import read  # noqa: PLC0415

    from moduai.gateway.degraded import MODES  # noqa: PLC0415

    faults = "| what | what people see | refused | kept | how it comes back | tests |\n" + "|---" * 6 + "|\n"
    for one in read():
        tests = ", ".join(f"`{name}`" for name in one.tests)
        cells = (f"**{one.part}** {one.fault}", one.seen, one.refused, one.kept, one.back, tests)
        faults += f"| {' | '.join(cells)} |\n"
    modes = "| mode | what it says | where to look | somebody is wanted |\n" + "|---" * 4 + "|\n"
    for mode in MODES:
        modes += f"| `{mode.name}` | {mode.what} | {mode.do} | {'now' if mode.page else 'soon'} |\n"
    rows = [f"| `{one.where}` | {one.what} | {one.fails} | {one.how} |\n" for one in failing()]
    return FAILURES_HEAD.format(note=NOTE, faults=faults, modes=modes) + "".join(rows)


def failing() -> Iterator[Failing]:
    """What the docstrings of the code say, in the order of its files."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for name, docstring in _docstrings(ast.parse(file.read_text("utf-8"))):
            sentences = re.split(r"(?<=\.)\s+(?=[A-Z`*])", " ".join(docstring.split()))
            for sentence in sentences:
                if found := FAILS.search(sentence):
                    how = "" if sentence == sentences[0] else sentence
                    where = f"{module}.{name}" if name else module
                    yield Failing(where, _cell(sentences[0]), found[1].lower(), _cell(how))


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    yield "", ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, ast.get_docstring(node) or ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`").replace("* ", "")


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/errors.md": errors_page,
    "reference/metrics.md": metrics_page,
    "reference/api-operations.md": operations_page,
    "reference/scenario.md": scenario_page,
    "decisions/README.md": decisions_page,
    "failure-modes.md": failure_modes_page,
}
"""Page below docs/ to the function that writes it."""


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
