"""The operations guide does what it says: its blocks run one after the other, against a service that runs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from benchmarks.harness import modu, process

from moduai.accounts.audit_roots import seal_day
from moduai.cli import COMMANDS, everything, main
from moduai.settings import load
from moduai.store.database import Database
from moduai.store.signing import SigningKeys

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"
CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
AGAIN = ("curl", "modu now", "modu usage", "modu engine list")
"""What only looks: asked again until it says what stands in the guide, for changes take a moment."""


class Step(NamedTuple):
    """A command of the guide, and what must be in its answer."""

    where: str
    command: str
    answers: tuple[str, ...]


def pages() -> list[Path]:
    """In the order in which the guide lists them."""
    listed = re.findall(r"^\| \[.*?\]\((\S+?)\)", _text(GUIDE / "README.md"), re.MULTILINE)
    return [GUIDE / name for name in listed]


def _text(page: Path) -> str:
    return page.read_text("utf-8")


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each block."""
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", _text(page), re.MULTILINE | re.DOTALL):
        yield found[2], found[3]


def steps() -> Iterator[Step]:
    for page in pages():
        for language, text in _blocks(page):
            if language == "console":
                for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    command, *answers = each.splitlines()
                    yield Step(page.name, command, tuple(filter(None, answers)))


class Walk:
    """Somebody who types the guide: its examples stand for what there is here."""

    def __init__(self, folder: Path, examples: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._examples, self._monkeypatch = examples, monkeypatch
        shim = folder / "bin" / "modu"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "src"} exec {sys.executable} -m moduai.cli "$@"\n')
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
        monkeypatch.chdir(folder)

    def take(self, step: Step) -> None:
        """Do one step, and hold the answer to the guide."""
        deadline = time.monotonic() + 60
        while True:
            status, said = self._run(self._here(step.command))
            missing = [line for line in step.answers if self._here(line) not in said]
            again = step.command.startswith(AGAIN) and time.monotonic() < deadline
            if not (status or missing) or not again:
                break
            time.sleep(0.2)
        assert (status, missing) == (0, []), f"{step.where}: {step.command}\n{said}"

    def _here(self, text: str) -> str:
        for example, real in self._examples.items():
            text = text.replace(example, real)
        return text

    def _run(self, command: str) -> tuple[int, str]:
        """Its status and all that it said. `modu` alone runs in this process, which is ten times as fast."""
        if given := re.fullmatch(r"([A-Z]+)=\$\((modu .*)\)", command):
            status, said = self._modu(given[2])
            self._monkeypatch.setenv(given[1], said.strip())
            self._examples.setdefault("modu-AbCdEfG", said.strip()[:12])
            return status, said
        if given := re.fullmatch(r"export ([A-Z_]+)=(\S+)", command):
            self._monkeypatch.setenv(given[1], given[2])
            return 0, ""
        if command.startswith("modu ") and "|" not in command:
            return self._modu(command)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def _modu(self, command: str) -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                main(shlex.split(command)[1:])
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
        if found := re.search(r"sub_[0-9a-f]{24}", said.getvalue()):
            self._examples["sub_1f2e3d4c5b6a798800112233"] = found[0]
        return status, said.getvalue()


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = modu.Home(tmp_path / "home", "")
    settings = {"knowledge__enabled": "false"}
    for name, value in home.environ(**settings).items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        engines = [
            stack.enter_context(process.engine_process(tmp_path / f"engine-{n}.log", on=CPUS)) for n in (1, 2)
        ]
        log = tmp_path / "modu.log"
        supervisor = stack.enter_context(modu.up(home, log, on=CPUS, settings=settings))
        examples = {
            "http://10.0.0.5:8000": engines[0],
            "http://10.0.0.6:8000": engines[1],
            "http://127.0.0.1:8080": modu.wait_for_status(home.folder, supervisor, log, within_s=60),
            "qwen3-8b": "fake-model",
        }
        for folder in ("/backups", "/vault", "/srv"):
            (tmp_path / folder[1:]).mkdir()
            examples[f"{folder}/"] = f"{tmp_path}{folder}/"
        walk = Walk(tmp_path, examples, monkeypatch)
        taken = 0
        for step in steps():
            if step.command == "modu audit rotate":
                asyncio.run(_a_day_passes(home.folder))
            walk.take(step)
            taken += 1
    assert taken > 60


async def _a_day_passes(home: Path) -> None:
    """The root of yesterday, which the service would have signed last night."""
    db = Database(load(home, {}).database_url)
    try:
        async with db.begin() as connection:
            yesterday = datetime.now(UTC).date() - timedelta(days=1)
            await seal_day(connection, SigningKeys.open(home), yesterday.isoformat())
    finally:
        await db.dispose()


def _not_run() -> Iterator[tuple[str, str]]:
    """Commands of `modu` in blocks that are not run, each with its page."""
    for page in pages():
        for language, text in _blocks(page):
            if language == "sh":
                assert text.lstrip().startswith("# not run\n"), page.name
                yield from ((page.name, line) for line in re.findall(r"^ *(modu .*)", text, re.MULTILINE))
            else:
                assert language == "console", page.name


def test_what_is_not_run_names_commands_and_options_that_there_are() -> None:
    found = list(_not_run())
    assert len(found) > 8
    tree = everything()
    for page, line in found:
        words = shlex.split(line, comments=True)[1:]
        assert words[0] in COMMANDS, page
        command: Any = tree
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, f"{page}: {line}"
