"""The bounded first-come line: places, order, refusals, and nothing leaked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moduai.scheduling import Grant, Line, Queued, Refused, Ticket
from moduai.scheduling.line import CLOSED_RETRY, SECOND

A, B = frozenset({"a"}), frozenset({"a", "b"})


def ticket(number: int, pool: str = "a", avoid: tuple[str, ...] = ()) -> Ticket:
    return Ticket(
        id=number,
        pool=pool,
        path=("standard", "o", "p"),
        app="a",
        tokens_in=1,
        max_out=1,
        arrived=number,
        avoid=avoid,
    )


def granted(decision: object) -> str:
    assert isinstance(decision, Grant)
    return decision.replica


def test_a_request_runs_at_once_where_the_smallest_part_is_used() -> None:
    line = Line(10)
    line.set_replica("small", A, 2, is_open=True)
    line.set_replica("large", A, 4, is_open=True)
    assert [granted(line.submit(ticket(n))) for n in range(6)] == [
        "small", "large", "large", "small", "large", "large",
    ]  # fmt: skip
    assert line.running() == {"small": 2, "large": 4}


def test_nobody_serves_or_all_are_closed() -> None:
    line = Line(10)
    assert line.submit(ticket(1)).__class__ is Refused
    line.set_replica("r", A, 1, is_open=False)
    decision = line.submit(ticket(1))
    assert isinstance(decision, Refused)
    assert (decision.reason, decision.retry_after) == ("no_replica", CLOSED_RETRY)
    line.set_replica("r", A, 1, is_open=True)
    assert isinstance(line.submit(ticket(1, avoid=("r",))), Refused)


def test_waiting_places_and_expected_waits() -> None:
    line = Line(3)
    line.set_replica("r", A, 2, is_open=True)
    first = [line.submit(ticket(n)) for n in range(2)]
    queued = line.submit(waiting := ticket(2))
    assert isinstance(queued, Queued)
    assert (queued.position, queued.wait) == (1, -1)
    (next_grant,) = line.finish(first[0], 4 * SECOND)  # type: ignore[arg-type]
    assert next_grant.ticket is waiting
    assert line.place(waiting) is None
    later = [line.submit(ticket(n)) for n in range(3, 6)]
    assert [(d.position, d.wait) for d in later if isinstance(d, Queued)] == [
        (1, 2 * SECOND), (2, 4 * SECOND), (3, 6 * SECOND),
    ]  # fmt: skip
    full = line.submit(ticket(9))
    assert isinstance(full, Refused)
    assert (full.reason, full.retry_after) == ("line_full", 2 * SECOND)
    assert line.waiting() == {"a": 3}


def test_the_mean_run_time_moves_slowly_and_failed_runs_do_not_count() -> None:
    line = Line(3)
    line.set_replica("r", A, 1, is_open=True)
    for ran in (8 * SECOND, -1, 16 * SECOND):
        decision = line.submit(ticket(1))
        assert isinstance(decision, Grant)
        line.finish(decision, ran)
    line.submit(ticket(2))
    queued = line.submit(ticket(3))
    assert isinstance(queued, Queued)
    assert queued.wait == 9 * SECOND


def test_first_come_across_the_pools_of_a_replica_and_avoided_replicas_are_passed_over() -> None:
    line = Line(10)
    line.set_replica("r", B, 1, is_open=True)
    running = line.submit(ticket(0))
    tickets = [ticket(1, "b"), ticket(2, "a", avoid=("r",)), ticket(3, "a")]
    line.set_replica("other", A, 1, is_open=True)
    line.submit(ticket(9))
    for waiting in tickets:
        assert isinstance(line.submit(waiting), Queued)
    (grant,) = line.finish(running, SECOND)  # type: ignore[arg-type]
    assert grant.ticket is tickets[0]
    (grant,) = line.finish(grant, SECOND)
    assert grant.ticket is tickets[2]
    assert line.finish(grant, SECOND) == []


def test_leaving_the_line() -> None:
    line = Line(10)
    line.set_replica("r", A, 1, is_open=True)
    line.submit(running := ticket(0))
    line.submit(waiting := ticket(1))
    assert line.cancel(waiting)
    assert not line.cancel(waiting)
    assert not line.cancel(running)
    assert not line.cancel(ticket(5, "unknown"))
    assert line.place(ticket(5, "unknown")) is None


def test_a_retry_goes_to_the_front_even_of_a_full_line() -> None:
    line = Line(1)
    line.set_replica("r", A, 1, is_open=True)
    line.set_replica("s", A, 1, is_open=True)
    on_r, on_s = line.submit(ticket(0)), line.submit(ticket(1))
    line.submit(waits := ticket(2))
    failed = ticket(3, avoid=("r",))
    assert isinstance(line.submit(failed, again=True), Queued)
    place = line.place(failed)
    assert place is not None
    assert place.position == 1
    (grant,) = line.finish(on_r, -1)  # type: ignore[arg-type]
    assert grant.ticket is waits
    (grant,) = line.finish(on_s, -1)  # type: ignore[arg-type]
    assert grant.ticket is failed


def test_a_retry_takes_a_free_place_before_those_who_wait() -> None:
    line = Line(5)
    line.set_replica("r", A, 1, is_open=True)
    line.submit(ticket(0))
    line.submit(ticket(1, avoid=("s",)))
    line.set_replica("s", A, 1, is_open=True)
    assert granted(line.submit(ticket(2), again=True)) == "s"


def test_replicas_come_change_close_and_go() -> None:
    line = Line(10)
    line.set_replica("r", B, 1, is_open=True)
    running = line.submit(ticket(0))
    line.submit(first := ticket(1))
    line.submit(second := ticket(2))
    line.submit(ticket(3, "b"))
    assert line.set_replica("r", B, 1, is_open=False) == []
    assert line.finish(running, SECOND) == []  # type: ignore[arg-type]
    assert [g.ticket for g in line.set_replica("s", A, 2, is_open=True)] == [first, second]
    assert line.set_replica("r", A, 1, is_open=True) == []
    assert line.waiting() == {"a": 0, "b": 1}
    gone = line.submit(ticket(4))
    line.remove_replica("r")
    line.remove_replica("r")
    assert line.finish(gone, SECOND) == []  # type: ignore[arg-type]
    assert line.running() == {"s": 2}


def test_the_wait_is_unknown_while_every_replica_is_closed() -> None:
    line = Line(10)
    line.set_replica("r", A, 1, is_open=True)
    done = line.submit(ticket(0))
    line.finish(done, SECOND)  # type: ignore[arg-type]
    line.submit(ticket(1))
    line.submit(waits := ticket(2))
    line.set_replica("r", A, 1, is_open=False)
    place = line.place(waits)
    assert place is not None
    assert place.wait == -1


def check_counts(line: Line, running: list[Grant], waiting: list[Ticket]) -> None:
    counts, capacity = line.running(), {"r": 2, "s": 1}
    assert all(counts[name] <= capacity[name] for name in capacity)
    assert sum(counts.values()) == len(running)
    assert sum(line.waiting().values()) == len(waiting)
    for pool in "ab":
        places = [line.place(t) for t in waiting if t.pool == pool]
        assert sorted(p.position for p in places if p) == list(range(1, len(places) + 1))


@given(st.data())
def test_any_history_keeps_the_bounds_and_loses_nobody(data: st.DataObject) -> None:
    line = Line(4)
    line.set_replica("r", B, 2, is_open=True)
    line.set_replica("s", A, 1, is_open=True)
    running: list[Grant] = []
    waiting: list[Ticket] = []

    def take(grants: list[Grant]) -> None:
        for grant in grants:
            waiting.remove(grant.ticket)
            running.append(grant)

    for number in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["submit", "again", "finish", "cancel", "close", "open"])):
            case "submit" | "again" as how:
                new = ticket(number, data.draw(st.sampled_from("ab")))
                decision = line.submit(new, again=how == "again")
                if isinstance(decision, Grant):
                    running.append(decision)
                elif isinstance(decision, Queued):
                    waiting.append(new)
            case "finish" if running:
                take(line.finish(running.pop(data.draw(st.integers(0, len(running) - 1))), number))
            case "cancel" if waiting:
                assert line.cancel(waiting.pop())
            case "close":
                take(line.set_replica("r", B, 2, is_open=False))
            case "open":
                take(line.set_replica("r", B, 2, is_open=True))
        check_counts(line, running, waiting)
    take(line.set_replica("r", B, 2, is_open=True))
    while running:
        take(line.finish(running.pop(), 1))
    assert not waiting, "somebody waits for ever"


def test_a_replica_that_runs_nothing_is_forgotten_at_once_and_an_unknown_one_is_no_matter() -> None:
    line = Line(10)
    line.set_replica("r", A, 1, is_open=True)
    line.remove_replica("r")
    assert "r" not in line.running()
    line.remove_replica("r")
    assert isinstance(line.submit(ticket(1)), Refused)
    line.set_replica("r", A, 1, is_open=True)
    assert granted(line.submit(ticket(2))) == "r"
