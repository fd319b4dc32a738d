"""Asking the desk, with the events of ``gateway.local``: who can ask a model can ask it.

Where the model fails or its line is full, the passages are the answer: then nothing was written that could
be wrong. Where the search is away there is no answer (fails closed), nor where the operator stopped the
service or the model: passages are not shown either.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from moduai.accounts.principal import Principal
from moduai.desk.shown import markdown, name
from moduai.gateway.errors import ApiError
from moduai.gateway.local import Begun, Delta, Done, Event, Failed, Place
from moduai.gateway.public import PUBLIC
from moduai.history.record import TurnPlace
from moduai.history.recorder import Heard
from moduai.knowledge.answer import (
    Citation,
    Claim,
    Ended,
    Extracts,
    NotFound,
    Searcher,
    Shelf,
    SmallTalk,
    answer,
)
from moduai.knowledge.answer.words import is_korean
from moduai.knowledge.types import Query, SearchAwayError
from moduai.metering.row import Outcome, UsageRow

ANSWER_TOKENS = 320
"""Longest text that a model writes here: a few sentences, of which each is looked for."""
SAMPLING = {"temperature": 0}
IN_THE_BOX = {"dry_multiplier": 0}
"""For the model in the box: its sampling punishes words that stand in the prompt, which are wanted here."""
QUESTION_CHARS = 2_000
"""Characters of a question that are searched and asked; the rest is left out."""
LIMIT = 8
"""Passages that are looked for."""
_AWAY = frozenset(
    """line_full person_line_full organisation_line_full overloaded wait_too_long no_engine engine_failed
    engine_bad_answer engine_unavailable engine_timeout""".split()
)
"""Codes after which the passages are the answer."""


class Ask(Protocol):
    """``gateway.local.LocalAsk``."""

    def __call__(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncIterator[Any]:
        """A chat request's body and its author to events."""


class Told(Delta, frozen=True):
    """A piece of the answer with what it rests on."""

    citations: tuple[Citation, ...] = ()
    kind: str = ""
    """claim: a model wrote it, and the citation says it; passage: the document's own words; near: documents
    on something like it; empty: our own words.
    """


class Known(msgspec.Struct, frozen=True):
    """What the desk needs to know of a model."""

    context: int
    """In tokens; 0: not known."""
    in_the_box: bool
    """Whether only the engine that comes with Modu serves it."""


class Desk:
    """Answers from public documents, by any model that is served."""

    def __init__(
        self,
        ask: Ask,
        searcher: Searcher,
        shelf: Shelf,
        known: Callable[[str], Known | None],
        keep: Callable[[Heard], None] = lambda _: None,
        check: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``known``: None for a model that nobody serves; ``keep``: takes turns that are to be kept;
        ``check``: raises ApiError where the operator stopped this model, or the service; "" asks for the
        service alone.
        """
        self._ask, self._searcher, self._known, self._keep = ask, searcher, known, keep
        self.check = check
        self.shelf = shelf

    @property
    def searcher(self) -> Searcher:
        """The search that it uses."""
        return self._searcher

    async def __call__(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Events of one chat request; one for a model without ``+public`` goes to the model as it is. Closing
        the iterator cancels it. Raises PlaceError as ``LocalAsk`` does.
        """
        model = str(body.get("model", ""))
        if not model.endswith(PUBLIC):
            passed = self._ask(body, principal, conversation=conversation, parent=parent)
            async with aclosing(passed) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event
            return
        known = self._known(model.removesuffix(PUBLIC))
        if known is None:
            yield _failed(ApiError("model_not_found", f"No engine serves {model[:128]!r}."))
            return
        try:
            self.check(model.removesuffix(PUBLIC))
            self.check(model)
        except ApiError as error:
            yield _failed(error)
            return
        turn = _Turn(self, model, known, questions_of(body), principal)
        place = TurnPlace.of(conversation, parent)
        async with aclosing(turn.events(place)) as made:
            async for event in made:
                yield event


class _Turn:
    """One question and what came of it."""

    def __init__(
        self, desk: Desk, model: str, known: Known, questions: list[str], principal: Principal
    ) -> None:
        self._desk, self._model, self._known, self._principal = desk, model, known, principal
        self._question, self._before = [each[:QUESTION_CHARS] for each in (*questions, "", "")][:2]
        self._began = time.time_ns() // 1000
        self._id, self._text, self._named = "", "", ""
        self._done: Done | None = None
        self._failed: Failed | None = None

    async def events(self, place: TurnPlace) -> AsyncGenerator[Event, None]:
        """As ``LocalAsk`` gives them; the text is checked."""
        outcome: Outcome = "cancelled"
        try:
            async with aclosing(self._answer()) as made:
                async for event in made:
                    begun = self._begin(event, place)
                    if begun is not None:
                        yield begun
                    if not isinstance(event, Begun):
                        yield event
            outcome = "ok" if self._failed is None else "failed"
        finally:
            self._record(place, outcome)

    def _begin(self, event: Event, place: TurnPlace) -> Begun | None:
        """The first event of all that are not refused at once, whether or not a model was asked."""
        if self._id or (isinstance(event, Failed) and not self._text):
            return None
        self._id = event.id if isinstance(event, Begun) else f"doc-{secrets.token_hex(8)}"
        keeps = self._principal.history
        return Begun(self._id, place.conversation_of(self._id) if keeps else "")

    async def _answer(self) -> AsyncGenerator[Event, None]:
        query = Query(self._question, LIMIT, language="ko" if is_korean(self._question) else "en")
        desk, known = self._desk, self._known
        made = answer(
            query, desk.searcher, desk.shelf, self._written, known.context,
            before=self._before, weak=known.in_the_box,
        )  # fmt: skip
        async with aclosing(made) as events:
            try:
                async for event in events:
                    match event:
                        case Ended():
                            break
                        case Claim() | Extracts() | NotFound() | SmallTalk():
                            if self._failed is not None and self._failed.code not in _AWAY:
                                break
                            yield self._tell(event, query.language)
                        case Begun() | Place():
                            yield event
            except SearchAwayError:
                self._failed = _failed(ApiError("search_unavailable", retry_after_s=2))
        if self._failed is not None and (self._failed.code not in _AWAY or not self._text):
            yield self._failed
            return
        self._failed = None
        if self._done is None:
            yield Done("stop", self._model, 0, 0, self._id)
        else:
            yield replace(self._done, finish_reason="stop", model=self._done.model + PUBLIC, id=self._id)

    async def _written(self, messages: list[dict[str, Any]]) -> AsyncGenerator[str | Begun | Place, None]:
        """What the model writes; how it ended is kept for the end of the whole."""
        sampling = SAMPLING | (IN_THE_BOX if self._known.in_the_box else {})
        asked = {
            "model": self._model.removesuffix(PUBLIC),
            "messages": messages,
            "max_tokens": ANSWER_TOKENS,
            **sampling,
        }
        plain = replace(
            self._principal, history=False
        )  # what is kept is what was shown, not what was written
        async with aclosing(self._desk._ask(asked, plain)) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case Delta():
                        yield event.text
                    case Done():
                        self._done = event
                    case Failed():
                        self._failed = event
                    case Begun() | Place():
                        yield event

    def _tell(self, event: Claim | Extracts | NotFound | SmallTalk, language: str) -> Told:
        text = markdown(event, language, self._named)
        self._text += text
        self._named = name(event.citation) if isinstance(event, Claim) else ""
        match event:
            case Claim():
                return Told(text, (event.citation,), "claim")
            case Extracts():
                return Told(text, event.citations, "passage")
            case NotFound():
                return Told(text, event.nearest, "near")
            case SmallTalk():
                return Told(text)

    def _record(self, place: TurnPlace, outcome: Outcome) -> None:
        if not self._principal.history or not self._id:
            return
        asked = {"messages": [{"role": "user", "content": self._question}]}
        said = {"choices": [{"message": {"content": self._text}}]}
        row = UsageRow(self._id, self._began, self._principal.subject, model=self._model, outcome=outcome)
        encode = msgspec.json.encode
        self._desk._keep(Heard(row, place, encode(asked), encode(said), b"", None))


def questions_of(body: dict[str, Any]) -> list[str]:
    """The texts that were asked, the last first; a text is a message's parts together."""
    asked = []
    for message in reversed(body.get("messages") or ()):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            asked.append("\n".join(text for text in texts if isinstance(text, str)))
    return asked


def _failed(error: ApiError) -> Failed:
    return Failed(error.code, error.message, error.status, error.retry_after_s)
