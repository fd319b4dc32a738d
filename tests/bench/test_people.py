"""What `python -m benchmarks people` stands on: a resident who is signed in, and what the browser counts."""

import http.client
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

from benchmarks.bars.world import ANSWER
from benchmarks.harness import resident
from benchmarks.harness.answers import LETTERS, pieces
from benchmarks.harness.behaviour import Behaviour, behave, firsts
from benchmarks.harness.browser import Loaded
from benchmarks.harness.load import Load, ask_once
from benchmarks.harness.modu import Home


def test_a_text_is_written_again_and_again_until_the_answer_is_long_enough():
    written = pieces(500, ANSWER)
    assert len(written) == 500
    assert {len(each) for each in written} == {LETTERS}
    assert "".join(written) == (ANSWER * 9)[: 500 * LETTERS]


def test_the_engine_tells_when_a_first_token_was_written(clean):
    behave(clean.engine.url, Behaviour(text=ANSWER, chunks=3, pace_s=0.02))
    answer = ask_once(Load(url=clean.url, key=clean.key, kind="sse", model=clean.model))
    assert ANSWER[:LETTERS].encode() in answer
    assert len(firsts(clean.engine.url)) == 1


def test_a_resident_is_signed_in_and_what_was_asked_is_kept_in_order(clean):
    home = Home(clean.home, clean.key)
    person = resident.sign_in(home)
    conversation = resident.converse(clean.url, person, 3)
    resident.wait_until_kept(home, person, 3)
    with closing(sqlite3.connect(f"file:{clean.home / 'modu.db'}?mode=ro", uri=True)) as database:
        query = "SELECT id, parent FROM turns WHERE conversation = ? ORDER BY at"
        (first, none), (second, after_first), (_, after_second) = database.execute(query, (conversation,))
    assert (none, after_first, after_second) == ("", first, second)
    with closing(http.client.HTTPConnection(urlsplit(clean.url).netloc, timeout=60)) as line:
        line.request("GET", "/", headers=resident.page_fields(clean.url, person, packed=False))
        assert person.form_token in line.getresponse().read().decode()


def test_what_leaves_the_machine_is_told_and_what_is_inline_is_not():
    loaded = Loaded("127.0.0.1:8000")
    for number, url in enumerate(
        ["http://127.0.0.1:8000/", "data:image/png;base64,AA", "https://example.org/font.woff2"]
    ):
        loaded.urls[str(number)] = url
        loaded.sizes[str(number)] = 1_500
    assert loaded.outside == ["https://example.org/font.woff2"]
    assert [line.split()[-1] for line in loaded.files] == ["/", "/font.woff2"]
    assert loaded.kilobytes == 4.5
