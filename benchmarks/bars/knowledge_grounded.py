"""grounded: what the model in the box writes of our own documents, and whether they say it."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.harness import stored
from benchmarks.harness.answering import Answered, service
from benchmarks.harness.grounding import Judge

DATA = Path(__file__).resolve().parents[1] / "data"
MUST_UNSUPPORTED, WANT_WRITTEN = 0.02, 0.40
QUICK = 4


class Question(Struct, frozen=True):
    """A question and the pages of the box that answer it; none: the box does not."""

    id: str
    language: str
    part: str
    question: str
    gold: tuple[str, ...]


class Read(Struct, frozen=True):
    """A claim that a person has read with its question and quotation."""

    question: str
    claim: str
    quote: str
    supported: bool
    """Whether the quotation says what the claim says."""
    answers: bool
    """Whether it answers what was asked."""
    why: str = ""


class Asked(Struct, frozen=True):
    """A question with its answer."""

    question: Question
    answered: Answered


def questions() -> list[Question]:
    """Those of the project."""
    lines = (DATA / "grounded.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Question) for line in lines]


def asked(bench: Bench) -> list[Asked]:
    """Every question with its answer by the service."""
    wanted = questions()[:: len(questions()) // QUICK] if bench.quick else questions()
    made = bench.shared(service).ask_all([each.question for each in wanted], say)
    return [Asked(*each) for each in zip(wanted, made, strict=True)]


def say(words: str) -> None:
    """How far it is."""
    print(words, file=sys.stderr, flush=True)


def grounded(bench: Bench) -> Measured:
    """Of the claims shown, the share that their quotations do not support; of the questions answered, those
    with a supported one.
    """
    held, judge = asked(bench), Judge()
    keys = stored.keys(bench.shared(service).home)
    pages = {document: PurePosixPath(key).stem for document, key in keys.items()}
    wrong, claims, written = list[str](), 0, 0
    for each in held:
        notes = each.answered.of("claim")
        bad = [note for note in notes if judge.missing(each.answered.told(note), note.modu.quote)]
        claims += len(notes)
        written += len(notes) > len(bad)
        wrong += [f"{each.question.id}: {each.answered.told(note)}" for note in bad]
    answered = [each for each in held if each.answered.of("claim") or each.answered.of("passage")]
    value = [round(len(wrong) / max(1, claims), 4), round(written / max(1, len(answered)), 4)]
    holds = claims > 0 and value[0] <= MUST_UNSUPPORTED
    row = Row(
        "grounded", list(value), f"unsupported <= {MUST_UNSUPPORTED}; written (want {WANT_WRITTEN})", holds
    )
    how = (
        f"{len(held)} questions: {written} answered by the model and supported, "
        f"{len(answered) - written} fell back to passages, {len(held) - len(answered)} not found; "
        f"{claims} claims shown, {len(wrong)} unsupported by the rule"
    )
    pace = f"median {median([each.answered.seconds for each in held]):.1f} s an answer"
    lines = [how, _right(held, pages), _by_hand(judge), pace, *wrong[:10]]
    return Measured(row, lines, broken=not answered)


def _right(held: list[Asked], pages: dict[str, str]) -> str:
    """How many answers cite a page that answers, and what became of questions that none answers."""
    parts = []
    for part in ("dev", "test"):
        mine = [each for each in held if each.question.gold and each.question.part == part]
        right = sum(any(pages[d] in each.question.gold for d in _cited(each)) for each in mine)
        parts.append(f"{part} {right} of {len(mine)}")
    none = [each for each in held if not each.question.gold]
    kept = sum(not _cited(each) for each in none)
    return f"the right page is cited: {', '.join(parts)}; not in the box and said so: {kept} of {len(none)}"


def _cited(each: Asked) -> set[str]:
    return {note.modu.document for kind in ("claim", "passage") for note in each.answered.of(kind)}


def _by_hand(judge: Judge) -> str:
    """How often the rule says what a person said who read claim and quotation."""
    lines = (DATA / "grounded_by_hand.jsonl").read_bytes().splitlines()
    read = [msgspec.json.decode(line, type=Read) for line in lines]
    same = sum(each.supported is not bool(judge.missing(each.claim, each.quote)) for each in read)
    bad = sum(not each.supported for each in read)
    helps = sum(each.answers for each in read)
    return f"{len(read)} claims read by hand: {bad} unsupported, the rule agrees on {same}; {helps} answer"
