"""A short run of every fuzzer, and the same promises under hypothesis, which shrinks what it finds."""

from __future__ import annotations

import logging
import random
from itertools import pairwise

import pytest
from benchmarks.fuzz import SHARE, fuzz
from benchmarks.fuzzing import bodies, clients, engines, requests
from benchmarks.fuzzing.requests import Step
from benchmarks.fuzzing.wire import Oracle, read_answers
from benchmarks.fuzzing.world import KEY, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUTS = {"clients": 4000, "engines": 2000, "bodies": 8000, "documents": 1000}
SHORT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(autouse=True)
def quiet():
    """Every failing engine is a line in the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", SHARE)
async def test_no_input_of_a_short_run_breaks_a_promise(kind):
    report = await fuzz(kind, seed=20, inputs=INPUTS[kind], seconds=8)
    assert not report.findings, [(problem, report.first[problem]) for problem in report.findings]
    assert report.inputs > 200


fields = st.lists(
    st.sampled_from([*requests.FIELDS, b"Host: localhost", b"Authorization: Bearer " + KEY]), max_size=4
)
messages = st.builds(
    lambda method, target, version, lines, body: (
        b"%b %b %b\r\n%b\r\n\r\n%b" % (method, target, version, b"\r\n".join(lines), body)
    ),
    st.sampled_from([b"POST", b"GET", *requests.METHODS]),
    st.sampled_from([b"/v1/chat/completions", *requests.TARGETS]),
    st.sampled_from([b"HTTP/1.1", *requests.VERSIONS]),
    fields,
    st.sampled_from([b"", b"5\r\nhello\r\n0\r\n\r\n", b'{"model":"m","messages":[]}'])
    | st.binary(max_size=40),
)


@SHORT
@given(st.lists(messages, min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=3), st.booleans())
async def test_any_requests_in_any_split_are_answered_or_refused_once(parts, cuts, together):
    data = b"".join(parts)
    edges = sorted({min(cut, len(data)) for cut in (0, *cuts, len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)] if together else parts
    steps = [step for piece in pieces for step in (Step("data", piece), Step("settle"), Step("engine"))]
    world = World()
    try:
        assert await clients.check(world, steps, random.Random(1)) is None
    finally:
        await world.close()


@SHORT
@given(st.integers(0, 2**32))
async def test_whatever_an_engine_answers_the_client_has_an_end_and_the_ledger_a_row(number):
    world = World(engines=2)
    try:
        assert await engines.check(world, random.Random(number)) is None
    finally:
        await world.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(SHORT, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["model", "messages", "stream", "stream_options", "x:y", "x", ":"])
            | st.text(max_size=4),
            json_values,
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_an_accepted_body_is_one_object_without_duplicates_and_goes_on_unchanged(pairs, escape):
    import json  # noqa: PLC0415

    named = [("model", "m"), ("messages", []), *pairs]
    names = [json.dumps(name) for name, _ in named]
    if escape:
        names = [name.replace(":", "\\u003a") for name in names]
    body = "{" + ",".join(f"{n}:{json.dumps(v)}" for n, (_, v) in zip(names, named, strict=True)) + "}"
    assert bodies.check(body.encode()) is None


# the judges themselves: each must see what it is there for


def test_the_oracle_reads_what_llhttp_reads():
    oracle = Oracle(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\n\r\nx")
    assert [(each.method, each.target, each.body) for each in oracle.requests] == [
        (b"POST", b"/a", b"hi"),
        (b"GET", b"/b", b""),
    ]
    assert Oracle(b"GET / HTTP/1.1\r\nA : b\r\n\r\n").refused


def test_the_reader_of_answers_sees_a_cut_and_a_second_answer():
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert [answer.whole for answer in read_answers(one + one[:-1], [b"GET", b"GET"])] == [True, False]
    assert read_answers(one[:-2], [b"HEAD"])[0].whole


@pytest.mark.source
async def test_a_planted_defect_is_found(monkeypatch):
    """A connection that takes every second request for the first one is caught."""
    from moduai.engines.repeated import RepeatedHead  # noqa: PLC0415

    right = RepeatedHead.body
    monkeypatch.setattr(
        RepeatedHead, "body", lambda self, data: right(self, data) and b'{"model":"m","messages":[]}'
    )
    report = await fuzz("clients", seed=1, inputs=3000, seconds=8)
    assert report.findings


@pytest.mark.source
def test_a_planted_duplicate_is_found(monkeypatch):
    from moduai.gateway import ask  # noqa: PLC0415

    monkeypatch.setattr(ask, "_check_pairs", lambda _body, _fields: None)
    assert (
        bodies.check(b'{"model":"m","messages":[],"model":"n"}') == "accepted with a name that stands twice"
    )
