"""The decision log: every call has its line, and the lines decide the same again."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks import fairness_histories
from benchmarks.fairness_histories import History

from moduai.scheduling import FairQueue, Grant, ReplicaSpec, Telemetry, Ticket, Used
from moduai.scheduling.journal import CHECKED, Journal, LogError, replay
from moduai.scheduling.policy import Policy
from moduai.scheduling.ticket import NO_TICKET

from .world import SECOND, M, policy

RULES = policy(locality_window=1000)


def kept() -> tuple[Journal, list[bytes]]:
    lines: list[bytes] = []
    return Journal(RULES, lines.append), lines


def ticket(number: int, **fields: object) -> Ticket:
    return Ticket(number, "m", ("c", "o", f"p{number % 3}"), "a", 100, 5, 0, **fields)  # type: ignore[arg-type]


def test_every_kind_of_call_is_replayed() -> None:
    queue, lines = kept()
    for name in "rs":
        queue.set_replica(name, ReplicaSpec(M, 1), is_open=True, now=0)
    granted = [queue.submit(ticket(number, blocks=(1, 2)), number) for number in range(7)]
    grant = granted[0]
    assert isinstance(grant, Grant)
    queue.place(grant.ticket, 7)
    waits = ticket(9)
    queue.submit(waits, 8)
    assert queue.place(waits, 9)
    assert queue.cancel(waits, 9)
    assert not queue.cancel(waits, 9)
    queue.progress(grant, 3, 10)
    queue.finish(grant, Used(100, 10, 3), 5, -1, 11)
    grant.ticket.avoid = (grant.replica,)
    queue.submit(grant.ticket, 12, again=True)
    queue.finish(grant, None, 0, -1, 12)
    queue.observe("s", Telemetry(1, 2, 3), 13)
    queue.tick(14)
    queue.move([("m", ("c",), 10)], [("m", ("d", "o"), 5)], 14)
    queue.set_policy(policy(), 15)
    queue.restore(FairQueue(policy()).dump(0), 16, 5)
    queue.remove_replica("s")
    queue.close()
    came = replay(lines)
    assert came.agrees
    assert came.calls == queue.calls == len(lines) - 2
    assert came.recorded == queue.digest
    found = {line.split(b'"')[1].decode() for line in lines}
    assert found == {
        "begin", "replica", "submit", "place", "cancel", "progress", "finish", "observe", "tick", "policy",
        "restore", "remove", "move", "hash",
    }  # fmt: skip


def test_nothing_slips_in() -> None:
    queue, lines = kept()
    queue.set_replica("r", ReplicaSpec(M, 1), is_open=True, now=0)
    for _ in range(20):
        assert queue.slip("m", "c", 10) is None
    assert len(lines) == 2


@pytest.mark.parametrize("seed", range(60))
def test_any_history_replays(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []

    def journal(rules: Policy) -> Journal:
        return Journal(rules, lines.append)

    monkeypatch.setattr(fairness_histories, "FairQueue", journal)
    history = History(seed)
    history.play()
    assert isinstance(history.queue, Journal)
    history.queue.close()
    came = replay(lines)
    assert came.agrees
    assert came.calls == history.queue.calls


def test_a_log_that_was_cut_is_good_up_to_its_last_hash() -> None:
    queue, lines = kept()
    for number in range(CHECKED + 10):
        queue.tick(number * SECOND)
    assert replay([*lines[:-1], lines[-1][:-3]]).calls == CHECKED
    came = replay([*lines, b'["hash",266,"other"]\n', b'["hash",267,"other"]\n'])
    assert (came.agrees, came.differs) == (False, CHECKED)
    assert not replay(lines[:5]).agrees


def test_a_log_that_lacks_lines_differs() -> None:
    queue, lines = kept()
    queue.set_replica("r", ReplicaSpec(M, 1), is_open=True, now=0)
    random = Random(1)
    running = [queue.submit(ticket(number), number) for number in range(40)]
    grants = [each for each in running if isinstance(each, Grant)]
    while grants:
        grants += queue.finish(grants.pop(random.randrange(len(grants))), Used(100, 0, 2), 0, SECOND, SECOND)
    queue.close()
    assert replay(lines).agrees
    for kind in (b'["submit"', b'["replica"'):
        gone = next(number for number, line in enumerate(lines) if line.startswith(kind))
        assert not replay(lines[:gone] + lines[gone + 1 :]).agrees
    assert NO_TICKET.state == 0


@pytest.mark.parametrize(
    "lines",
    [[], [b"{"], [b"odd\n"], [b"7\n"], [b'["tick",1]\n'], [b'["begin",99,[],{}]\n'], [b'["begin",1]\n']],
)
def test_what_is_no_log_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(LogError):
        replay(lines)


@pytest.mark.parametrize("line", [b'["odd",1]\n', b'["tick"]\n', b'["submit",1,[],false]\n', b"\xff\n"])
def test_a_damaged_line_is_named(line: bytes) -> None:
    _, lines = kept()
    with pytest.raises(LogError, match="line 2 "):
        replay([*lines, line])
