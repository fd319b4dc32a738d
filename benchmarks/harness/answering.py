"""Real answers: the whole service with its box, its search process and the model in the box, over HTTP.

Rule: what was answered is kept with the home folder it came from, in a folder named by a digest of everything
that decides an answer; a run that is broken off goes on there, and a change of the code begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.bars import Bench
from benchmarks.harness import modu, process
from benchmarks.harness.modu import Home
from benchmarks.harness.process import StartError
from moduai.knowledge.client import Search
from moduai.settings import load

CACHE = "MODU_BENCH_CACHE"
"""A folder that outlives the run; without it nothing is kept."""
_CODE = Path(__file__).resolve().parents[2] / "src" / "moduai"
_DECIDING = ("knowledge", "desk", "engines/embedded", "gateway/local.py")
ANSWER_S, READY_S = 600.0, 300.0


class Place(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """A citation's place, as the API says it."""

    document: str
    version: int
    start: int
    end: int
    kind: str
    quote: str


class Range(Struct, frozen=True):
    """Where in the answer a citation belongs."""

    url: str
    title: str
    start_index: int
    end_index: int


class Note(Struct, frozen=True):
    """One annotation of an answer."""

    modu: Place
    url_citation: Range


class Message(Struct, frozen=True):
    """What was answered."""

    content: str
    annotations: tuple[Note, ...] = ()


class Answered(Struct, frozen=True):
    """A question and its answer."""

    question: str
    message: Message
    seconds: float

    def told(self, note: Note) -> str:
        """The answer's own words before an annotation, without Markdown's escapes and the link."""
        words = self.message.content[note.url_citation.start_index : note.url_citation.end_index]
        return words.rpartition(" [")[0].replace("\\", "").strip()

    def of(self, kind: str) -> list[Note]:
        """Its annotations of one kind: claim, passage, near."""
        return [each for each in self.message.annotations if each.modu.kind == kind]


class _Choice(Struct):
    message: Message


class _Completion(Struct):
    choices: list[_Choice]


class Service:
    """A service that answers, and what it answered."""

    def __init__(self, home: Home, url: str, place: Path) -> None:
        self.home, self.place, self._url = home, place, url
        self._kept = kept = place / "answers.jsonl"
        self._model = modu.wait_for_model(url, home.key, READY_S)
        lines = kept.read_bytes().splitlines() if kept.exists() else []
        self._answers = {
            each.question: each for each in (msgspec.json.decode(x, type=Answered) for x in lines)
        }

    def ask_all(self, questions: Sequence[str], say: Callable[[str], None]) -> list[Answered]:
        """Answers in the order of the questions; ``say`` hears how far it is."""
        missing = [each for each in dict.fromkeys(questions) if each not in self._answers]
        began = time.monotonic()
        for count, question in enumerate(missing, 1):
            self._keep(self._ask(question))
            left = (time.monotonic() - began) / count * (len(missing) - count)
            if count % 5 == 0 or count == len(missing):
                say(f"{count} of {len(missing)} questions answered, {left / 60:.0f} min left")
        return [self._answers[each] for each in questions]

    def add(self, folder: Path) -> None:
        """Put a folder of documents in, once, and wait until they can be found. Raises
        SubprocessError, SearchAwayError.
        """
        added = self.place / f"{folder.name}.added"
        if not added.exists():
            command = [sys.executable, "-m", "moduai.cli", "knowledge", "add", str(folder), "--json"]
            environ = {**os.environ, **self.home.environ()}
            subprocess.run(command, env=environ, check=True, capture_output=True, timeout=READY_S)
            added.touch()
        asyncio.run(Search(load(self.home.folder, {})).changed(READY_S))

    def find(self, words: str) -> bytes:
        """What a search says."""
        query = urllib.parse.urlencode({"q": words})
        return modu.get(self._url, f"/v1/search?{query}", self.home.key)[1]

    def wait_for_engine(self) -> None:
        """Until the model answers by itself: the desk goes on without it. Raises StartError."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self._post(self._model, "안녕하세요?", max_tokens=1)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StartError(f"the model does not answer: {error}") from None
                time.sleep(0.5)
            else:
                return

    def _ask(self, question: str) -> Answered:
        began = time.monotonic()
        made = msgspec.json.decode(self._post(f"{self._model}+public", question), type=_Completion)
        return Answered(question, made.choices[0].message, round(time.monotonic() - began, 2))

    def _post(self, model: str, question: str, **more: int) -> bytes:
        body = {"model": model, "messages": [{"role": "user", "content": question}], **more}
        request = urllib.request.Request(
            f"{self._url}/v1/chat/completions",
            msgspec.json.encode(body),
            {"authorization": f"Bearer {self.home.key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
            body_read: bytes = reply.read()
        return body_read

    def _keep(self, answered: Answered) -> None:
        self._answers[answered.question] = answered
        with self._kept.open("ab") as file:
            file.write(msgspec.json.encode(answered) + b"\n")


@contextmanager
def service(bench: Bench) -> Iterator[Service]:
    """`modu up` as a person starts it, once for all bars of a run. Raises StartError."""
    cache = os.environ.get(CACHE, "")
    place = Path(cache) / f"answers-{_digest()}" if cache else bench.place("answers")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    log, key = place / "modu.log", place / "key"
    if key.exists():
        home = Home(place / "home", key.read_text())
    else:
        home = modu.prepare(place / "home")
        key.touch(0o600)
        key.write_text(home.key)
    with modu.up(home, log, on=bench.target | bench.beside, engine=True) as supervisor:
        url = modu.wait_for_status(home.folder, supervisor, log, READY_S)
        made = Service(home, url, place)
        deadline = time.monotonic() + READY_S
        while b'"file_id"' not in made.find("대화"):
            if time.monotonic() > deadline:
                raise StartError(f"nothing can be found: {process.tail(log)}")
            time.sleep(0.5)
        made.wait_for_engine()
        yield made


def _digest() -> str:
    files = [file for name in _DECIDING for file in sorted((_CODE / name).rglob("*")) or [_CODE / name]]
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in {".py", ".md", ".tsv"}:
            digest.update(f"{file.relative_to(_CODE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
