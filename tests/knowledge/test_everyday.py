"""The questions in citizens' words: of the form that the benchmark reads, and with an article that exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "data" / "everyday.jsonl"
QUESTIONS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
DATA = Path(os.environ.get("MODU_BENCH_DATA", ROOT.parent / "shared" / "data"))
STATUTES = DATA / "law" / "statutes.tar.zst"


def test_each_line_is_whole():
    for each in QUESTIONS:
        assert list(each) == ["id", "part", "topic", "question", "gold"]
        assert each["gold"]
        for gold in each["gold"]:
            assert list(gold) == ["title", "article"]
            assert re.fullmatch(r"제\d+조(의\d+)?", gold["article"])
            assert each["question"].find(gold["title"]) < 0, "the question names its answer"


def test_there_are_enough_of_many_kinds_and_none_twice():
    assert len(QUESTIONS) >= 200
    assert len({each["id"] for each in QUESTIONS}) == len(QUESTIONS)
    assert len({each["question"] for each in QUESTIONS}) == len(QUESTIONS)
    assert len({each["topic"] for each in QUESTIONS}) >= 12
    assert len({each["gold"][0]["title"] for each in QUESTIONS}) >= 80


def test_half_is_kept_for_the_test_and_answers_none_of_the_other_half():
    parts = Counter(each["part"] for each in QUESTIONS)
    assert parts.keys() == {"dev", "test"}
    assert abs(parts["dev"] - parts["test"]) <= 2
    answers: dict[str, set[str]] = {"dev": set(), "test": set()}
    for each in QUESTIONS:
        answers[each["part"]] |= {f"{gold['title']} {gold['article']}" for gold in each["gold"]}
    assert not answers["dev"] & answers["test"]


@pytest.mark.skipif(not STATUTES.is_file(), reason="the statutes are not here (MODU_BENCH_DATA)")
@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_each_article_is_in_the_statutes_and_not_deleted():
    wanted = {(gold["title"], gold["article"]) for each in QUESTIONS for gold in each["gold"]}
    titles = {title for title, _ in wanted}
    found = set()
    unpacking = subprocess.Popen(["zstd", "-dc", str(STATUTES)], stdout=subprocess.PIPE)
    with unpacking, tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None or not member.name.endswith(".md"):
                continue
            text = content.read().decode("utf-8")
            title = re.search(r"(?m)^제목: '?(.*?)'?$", text)
            if title and title[1] in titles:
                there = re.findall(r"(?m)^##### (제\d+조(?:의\d+)?) (?!삭제)|^##### (제\d+조)$", text)
                found |= {(title[1], one or other) for one, other in there}
    assert wanted <= found
