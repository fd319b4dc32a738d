"""What all commands share: their common options, how they read settings, and how they speak.

Answers go to standard output, everything else to standard error. Tables are plain when the output is
not a terminal, so that they can be piped.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import shutil
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import msgspec
import typer
from msgspec import Struct

from moduai import settings

T = TypeVar("T")

FOLDED = 24
"""Least width of a table's widest column, which may be folded."""
GAP = 3
"""Columns between two of a table."""

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder that holds all data [default: MODU_HOME or the user's data folder]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def new_app(summary: str, *, group: bool = True) -> typer.Typer:
    """A Typer app in the house style: a group of commands, or (``group=False``) a single command."""
    return typer.Typer(
        help=summary,
        no_args_is_help=group,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command of which each parameter that is a Struct becomes options, one for each of its fields: so
    options that several commands have are written once. Such a parameter is keyword-only.
    """
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, type[Struct]] = {
        name: one.annotation for name, one in own.parameters.items() if _is_struct(one.annotation)
    }

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group.__struct_fields__})
        command(**given)

    parameters = [
        each
        for name, one in own.parameters.items()
        for each in (_fields(groups[name]) if name in groups else [one])
    ]
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called


def _is_struct(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def _fields(group: type[Struct]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in msgspec.structs.fields(group):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )


def examples(*lines: str) -> str:
    """The epilog of a command: ``@app.command(epilog=examples("modu key list"))``."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def open_loaded(home: Path | None = None, overrides: Mapping[str, Any] | None = None) -> settings.Loaded:
    """The settings of the home folder; a bad one ends the command with its one line."""
    try:
        return settings.load(home.expanduser().resolve() if home else None, overrides=overrides)
    except settings.SettingsError as error:
        fail(str(error))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work to its end."""
    return asyncio.run(work)


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command with one line on standard error: 1 when it failed, 2 when it was called wrongly."""
    typer.echo(f"modu: {message}", err=True)
    raise typer.Exit(status)


def confirm(question: str, refusal: str, *, final: bool = True) -> None:
    """Ask before what cannot be undone, or (``final=False``) touches many; anything but a yes, also no more
    input, fails with ``refusal``.
    """
    agreed = ended = False
    with contextlib.suppress(typer.Abort):
        agreed = typer.confirm(f"{question} This cannot be undone." if final else question, err=True)
        ended = sys.stdin.isatty()  # a terminal shows the line's end that was typed
    if not ended:
        typer.echo("", err=True)
    if not agreed:
        fail(refusal)


def done(message: str, data: object = None, *, json: bool = False) -> None:
    """Say what was done, or print ``data`` as JSON."""
    typer.echo(to_json(data) if json else message)


def to_json(data: object) -> str:
    """Indented JSON; Structs, paths, times and sets are written as JSON can."""
    text = msgspec.json.encode(data, enc_hook=str, order="deterministic")
    return msgspec.json.format(text, indent=2).decode()


def count(number: int, thing: str) -> str:
    """A number of things in words: 1 segment, 2 segments."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def safe(text: str) -> str:
    """People's text without what a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def size_text(size: float) -> str:
    """Bytes as people read them; a kB is 1,000 bytes."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{max(size, 1) / 1e3:,.1f} kB"


def table(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str] | Sequence[str],
    *,
    json: bool = False,
    empty: str = "Nothing yet.",
) -> None:
    """Print rows as a table. ``columns`` are the fields to show, or a map of field to heading.

    As JSON the rows are printed whole, with all their fields.
    """
    rows = list(rows)
    if json:
        typer.echo(to_json(rows))
        return
    if not rows:
        typer.echo(empty)
        return
    heads = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}
    cells = [[_cell(row.get(field)) for field in heads] for row in rows]
    right = [all(isinstance(row.get(field), int | float | None) for row in rows) for field in heads]
    lines = [list(heads.values()), *cells]
    if not sys.stdout.isatty():
        _plain_table(lines, right)
    elif _fits(lines, shutil.get_terminal_size().columns):
        _rich_table(list(heads.values()), cells, right)
    else:
        _records(lines)


def _fits(lines: list[list[str]], columns: int) -> bool:
    """Whether a table can be read at this width: only its widest column may need more than one line."""
    widths = sorted(max(map(_width, column)) for column in zip(*lines, strict=True))
    return sum(widths[:-1]) + min(widths[-1], FOLDED) + GAP * len(widths) <= columns


def _records(lines: list[list[str]]) -> None:
    """A block for each row, a line for each field: what narrow terminals can show."""
    heads, *rows = lines
    indent = max(map(_width, heads))
    for number, row in enumerate(rows):
        if number:
            typer.echo()
        for head, cell in zip(heads, row, strict=True):
            typer.echo(f"{head}{' ' * (indent - _width(head))}  {cell}".rstrip())


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case int():
            return f"{value:,}"
        case list() | tuple() | set() | frozenset():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _rich_table(heads: list[str], cells: list[list[str]], right: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  Rich costs 0.1 s, so only where it is seen
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    widest = max(heads, key=lambda head: max(_width(row[heads.index(head)]) for row in [heads, *cells]))
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head, is_number in zip(heads, right, strict=True):
        shown.add_column(
            head, justify="right" if is_number else "left", overflow="fold", no_wrap=head != widest
        )
    for row in cells:
        shown.add_row(*map(Text, row))
    Console(width=shutil.get_terminal_size().columns).print(shown)


def _plain_table(lines: list[list[str]], right: list[bool]) -> None:
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            " " * (width - _width(cell)) + cell if is_number else cell + " " * (width - _width(cell))
            for cell, width, is_number in zip(line, widths, right, strict=True)
        ]
        typer.echo("  ".join(padded).rstrip())


def _width(text: str) -> int:
    """Columns in a terminal: Hangul and other wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
