"""A dispatcher and its gateways without a network: what is asked runs once, whoever dies."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

import msgspec
import pytest

from moduai.cells import wire
from moduai.cells.dispatcher import LOST_S, SETTLE_S, Dispatcher
from moduai.cells.remote import AWAY, RemoteLine
from moduai.scheduling import FairQueue, Grant, Queued, Refused, ReplicaSpec, Ticket, Used
from moduai.scheduling.journal import Journal, replay
from moduai.scheduling.policy import MOST_PRICE, Limits, Pressure
from moduai.scheduling.types import ASKED

from ..scheduling.world import SECOND, M, policy, rule

TICK = SECOND // 10


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


class Gateway:
    """A gateway: its line, what it was told, and the wire to its dispatcher."""

    def __init__(self, name: str, rules=policy()) -> None:  # noqa: B008
        self.name = name
        self.out: list[wire.Message] = []
        self.line = RemoteLine(rules, self._send)
        self.line.lane = self
        self.session = self.dispatcher = None
        self.running: dict[int, Grant] = {}
        self.turned_away: dict[int, Refused] = {}
        self.waits: dict[int, Queued] = {}
        self.begun: list[int] = []
        self.count = 0
        self.line.set_replica("r", ReplicaSpec(M, 1), is_open=True, now=0)

    # the line tells

    def start(self, grants: list[Grant]) -> None:
        for grant in grants:
            assert grant.ticket.id not in self.running
            self.running[grant.ticket.id] = grant
            self.begun.append(grant.ticket.id)

    def queued(self, ticket: Ticket, place: Queued) -> None:
        self.waits[ticket.id] = place

    def turned(self, ticket: Ticket, refused: Refused) -> None:
        self.turned_away[ticket.id] = refused

    def led(self, running: dict[str, int], away: Collection[str]) -> None:
        self.seen_running, self.seen_away = running, away

    # the wire

    def _send(self, message: wire.Message) -> None:
        if self.dispatcher is not None:
            self.out.append(message)

    def send(self, message: wire.Message) -> None:
        """The dispatcher says something."""
        self.inbox.append(message)

    def end(self) -> None:
        self.ended = True

    def connect(self, dispatcher: Dispatcher) -> None:
        self.inbox: list[wire.Message] = []
        self.out.clear()
        self.dispatcher = dispatcher
        self.session = dispatcher.enter(self.name, self)
        self.line.found()

    def cut(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.leave(self.session, self)
        self.dispatcher = None
        self.line.lost()

    def pass_on(self) -> None:
        """All that was said is heard."""
        while self.dispatcher is not None and (self.out or self.inbox):
            out, self.out = self.out, []
            for message in out:
                self.dispatcher.hear(self.session, message)
            inbox, self.inbox = self.inbox, []
            for message in inbox:
                self.line.hear(message)

    # requests

    def ask(self, who: str = "c/o/p", now: int = 0, **fields: object) -> Ticket:
        self.count += 1
        a, b, c = who.split("/")
        ticket = Ticket(self.count, "m", (a, b, c), "a", 100, 1, now, **fields)
        assert self.line.submit(ticket, now) is ASKED
        return ticket

    def finish(self, id_: int) -> None:
        self.line.finish(self.running.pop(id_), Used(100, 0, 1), 0, 5, 0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def dispatcher(clock: Clock, queue: FairQueue | None = None, slots: int = 1, **options) -> Dispatcher:
    queue = queue or FairQueue(policy())
    queue.set_replica("r", ReplicaSpec(M, slots, prefill_budget=1 << 30), is_open=True, now=clock.now)
    return Dispatcher(queue, lambda _engine, _ok: None, clock=clock, **options)


def settle(clock: Clock, found: Dispatcher, *gateways: Gateway) -> None:
    for gateway in gateways:
        gateway.pass_on()
    clock.now += int(SETTLE_S * SECOND)
    found.tick([("r", True)])
    for gateway in gateways:
        gateway.pass_on()


def test_a_ticket_is_granted_and_the_next_one_waits(clock: Clock) -> None:
    found, one, two = dispatcher(clock), Gateway("one"), Gateway("two")
    one.connect(found), two.connect(found)
    settle(clock, found, one, two)
    first = one.ask()
    one.pass_on()
    second = two.ask(who="d/o/p")
    two.pass_on()
    assert list(one.running) == [first.id]
    assert two.waits[second.id].position == 1
    assert two.line.place(second, 0) == two.waits[second.id]
    one.finish(first.id)
    one.pass_on(), two.pass_on()
    assert list(two.running) == [second.id]
    assert two.line.place(second, 0) is None


def test_a_gateway_knows_the_estimate_and_the_pace_of_what_runs(clock: Clock) -> None:
    """What its client leaves is charged by them: without an estimate that would be the prompt alone."""
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    id_ = one.ask().id
    one.pass_on()
    grant = one.session.runs[id_]
    assert one.running[id_].ticket.out == grant.ticket.out == 1
    assert one.line.pace(one.running[id_]) == found.line.pace(grant)
    assert min(found.line.pace(grant)) > 0
    old = msgspec.msgpack.decode(msgspec.msgpack.encode((10, 7, "r", 0)), type=wire.Granted)
    assert (old.out, old.first, old.step) == (0, 0, 0)  # of a dispatcher that was not replaced yet


def test_what_it_says_of_engines_and_figures(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    one.ask()
    one.pass_on()
    for _ in range(10):
        found.tick([("r", True), ("s", False)])
    one.pass_on()
    assert (one.seen_running, one.seen_away) == ({"r": 1, "s": 0}, ("s",))
    assert one.line.running() == {"r": 1, "s": 0}
    assert one.line.waiting() == {"m": 0}
    assert [share.running for share in one.line.shares() if share.path == ("c",)] == [1]
    assert "m" in one.line.figures()
    assert (one.line.there, one.line.unsure) == (True, False)
    found.degraded = True
    found.tick([]), found.tick([])
    one.pass_on()
    assert (one.line.there, one.line.unsure) == (True, True)


def test_what_it_says_can_be_sent_however_much_was_served(clock: Clock) -> None:
    """A class that idles falls behind for as long as the others are served: for ever."""
    queue = FairQueue(policy(prices={"m": MOST_PRICE}))
    found, one = dispatcher(clock, queue), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    idle, *busy = (one.ask(who) for who in ("c/o/p", "d/o/p", "d/o/p", "d/o/p"))
    one.pass_on()
    one.finish(idle.id)
    one.pass_on()
    for ticket in busy:
        one.line.finish(one.running.pop(ticket.id), Used(1 << 16, 0, 1), 0, 5, 0)
        one.pass_on()
    shares = found.line.shares()
    assert max(abs(share.lag) for share in shares) == 1 << 62
    assert wire.Frames().feed(wire.frame([wire.Figures({}, shares, {}, {})]))


def test_a_full_line_refuses(clock: Clock) -> None:
    rules = policy(rule("c", limits=Limits(1, 9, 9)), rule("d"))
    found, one = dispatcher(clock, FairQueue(rules)), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    asked = [one.ask() for _ in range(3)]
    one.pass_on()
    assert one.turned_away[asked[2].id].reason == "person_line_full"


def test_a_client_that_leaves(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    runs, waits, last = one.ask(), one.ask("c/o/q"), one.ask("c/o/z")
    one.pass_on()
    assert one.line.cancel(waits, 0)
    assert not one.line.cancel(waits, 0)
    one.pass_on()
    one.finish(runs.id)
    one.pass_on()
    assert list(one.running) == [last.id]


def test_who_leaves_while_the_grant_is_on_its_way(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    ticket, after = one.ask(), one.ask("c/o/q")
    for message in one.out:
        found.hear(one.session, message)
    one.out = []
    one.line.cancel(ticket, 0)
    one.pass_on()
    assert list(one.running) == [after.id]


def test_nothing_runs_before_the_gateways_have_told_what_does(clock: Clock) -> None:
    one, two = Gateway("one"), Gateway("two")
    before = dispatcher(clock)
    one.connect(before), two.connect(before)
    settle(clock, before, one, two)
    runs, waits = one.ask(), two.ask("d/o/q")
    one.pass_on(), two.pass_on()
    one.line.progress(one.running[runs.id], 3, 0)
    after = dispatcher(clock, restored=1)
    one.cut(), two.cut()
    two.connect(after)
    two.pass_on()
    one.connect(after)
    settle(clock, after, one, two)
    assert list(two.running) == []
    assert after.sessions["one"].tokens == {runs.id: 3}
    one.finish(runs.id)
    one.pass_on(), two.pass_on()
    assert list(two.running) == [waits.id]


def test_who_waits_for_an_engine_that_is_away_waits_at_the_next_dispatcher_too(clock: Clock) -> None:
    queue = FairQueue(policy())
    found, one = dispatcher(clock, queue), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    runs, waits = one.ask(), one.ask()
    one.pass_on()
    queue.set_replica("r", ReplicaSpec(M, 1), is_open=False, now=0)
    one.finish(runs.id)
    one.pass_on()
    one.cut()
    following = FairQueue(policy())
    next_one = dispatcher(clock, following)
    following.set_replica("r", ReplicaSpec(M, 1), is_open=False, now=0)
    one.connect(next_one)
    settle(clock, next_one, one)
    assert one.turned_away == {}
    refused = one.ask().id
    one.pass_on()
    assert one.turned_away[refused].reason == "no_replica"
    next_one.start(following.set_replica("r", ReplicaSpec(M, 1), is_open=True, now=0))
    one.pass_on()
    assert list(one.running) == [waits.id]


def test_the_next_dispatcher_knows_what_was_charged(clock: Clock) -> None:
    """What an engine had of the prompt already, and what came of the answer above its estimate."""
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    first = one.ask(blocks=(1, 2, 3))
    one.pass_on()
    one.finish(first.id)
    long = one.ask(blocks=(1, 2, 3)).id
    one.ask()  # who waits makes it count
    one.pass_on()
    one.line.progress(one.running[long], 9000, 0)
    one.pass_on()
    charged = one.session.runs[long].ticket.charged
    one.cut()
    next_one = dispatcher(clock, restored=0)
    one.connect(next_one)
    one.pass_on()
    assert one.session.runs[long].ticket.charged == charged == 14 + 2 * 9000


def test_who_waits_is_not_refused_by_the_next_dispatcher(clock: Clock) -> None:
    """Though answers take longer by now, so that whoever comes new is."""
    rules = policy(pressure=Pressure(refuse_after_s=10))
    found, one = dispatcher(clock, FairQueue(rules)), Gateway("one", rules)
    one.connect(found)
    settle(clock, found, one)
    asked = [one.ask().id for _ in range(8)]
    one.pass_on()
    for id_ in asked[:3]:
        one.line.finish(one.running.pop(id_), Used(100, 0, 1), 0, 30 * SECOND, 0)
        one.pass_on()
    one.cut()
    following = FairQueue(rules)
    next_one = dispatcher(clock, following, restored=0)
    assert following.restore(found.line.dump(clock.now), clock.now)
    one.connect(next_one)
    settle(clock, next_one, one)
    assert one.turned_away == {}
    refused = one.ask().id
    one.pass_on()
    assert one.turned_away[refused].reason == "overloaded"
    for id_ in asked[3:]:
        assert list(one.running) == [id_], "in the order in which they came"
        one.finish(id_)
        one.pass_on()


def test_a_connection_that_broke_off(clock: Clock) -> None:
    found, one = dispatcher(clock, slots=2), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    runs, over = one.ask(), one.ask("c/o/q")
    one.pass_on()
    waits, left, new = one.ask("c/o/w"), one.ask("c/o/l"), None
    one.pass_on()
    one.cut()
    one.finish(over.id)
    one.line.cancel(left, 0)
    new = one.ask("c/o/n")
    one.connect(found)
    one.pass_on()
    assert sorted(one.running) == [runs.id, waits.id]
    one.finish(runs.id)
    one.pass_on()
    assert sorted(one.running) == [waits.id, new.id]


def test_a_grant_that_was_never_heard_is_said_again(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    settle(clock, found, one)
    ticket = one.ask()
    for message in one.out:
        found.hear(one.session, message)
    one.cut()
    one.connect(found)
    one.pass_on()
    assert one.begun == [ticket.id]


def test_a_gateway_that_does_not_come_back(clock: Clock) -> None:
    found, one, two = dispatcher(clock), Gateway("one"), Gateway("two")
    one.connect(found), two.connect(found)
    settle(clock, found, one, two)
    runs, _ = one.ask(), one.ask("c/o/q")
    one.pass_on()
    one.line.progress(one.running[runs.id], 1, 0)
    one.pass_on()
    waits = two.ask("d/o/q")
    two.pass_on()
    one.cut()
    found.tick([])
    two.pass_on()
    assert not two.running
    clock.now += int((LOST_S + 1) * SECOND)
    found.tick([])
    two.pass_on()
    assert list(two.running) == [waits.id]
    assert list(found.sessions) == ["two"]


def test_a_second_connection_of_one_gateway_takes_the_place_of_the_first(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.connect(found)
    session, first = one.session, one
    other = Gateway("one")
    other.connect(found)
    assert first.ended
    assert other.session is session
    found.leave(session, first)
    assert session.peer is other


def test_an_engine_that_the_gateway_does_not_know_yet(clock: Clock) -> None:
    found, one = dispatcher(clock), Gateway("one")
    one.line.remove_replica("r")
    one.connect(found)
    settle(clock, found, one)
    ticket = one.ask()
    one.pass_on()
    assert not one.running
    assert ticket.avoid == ("r",)
    assert one.turned_away[ticket.id].reason == "no_replica"


def test_without_a_dispatcher_new_requests_wait_a_moment_and_are_then_refused() -> None:
    one = Gateway("one")
    lost = one.line._lost
    assert one.line.submit(Ticket(1, "m", ("c", "o", "p"), "a", 1, 1, lost), lost + AWAY) is ASKED
    refused = one.line.submit(Ticket(2, "m", ("c", "o", "p"), "a", 1, 1, lost), lost + AWAY + 1)
    assert isinstance(refused, Refused)
    assert refused.reason == "line_away"
    assert not one.line.there


def test_what_gateways_saw_of_engines(clock: Clock) -> None:
    seen: list[tuple[str, bool]] = []
    queue = FairQueue(policy())
    found = Dispatcher(queue, lambda engine, ok: seen.append((engine, ok)), clock=clock)
    one = Gateway("one")
    one.connect(found)
    one.line.seen("r", False)
    one.pass_on()
    assert seen == [("r", False)]
    found.end()
    assert one.inbox == [wire.Bye()]


class Chaos:
    """Gateways that ask, end, leave and are cut off, and dispatchers that come one after the other."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self.random, self.clock = Random(seed), clock
        self.gateways = [Gateway(str(n)) for n in range(3)]
        self.log: list[bytes] = []
        self.found = dispatcher(clock, Journal(policy(), self.log.append), 3)
        self.first = self.found
        self.left: set[tuple[str, int]] = set()

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def step(self) -> None:
        self.clock.now += TICK
        for gateway in self.gateways:
            if gateway.dispatcher is None and self.chance(0.7):
                gateway.connect(self.found)
            self.people(gateway)
            if self.chance(0.9):
                gateway.pass_on()
            if self.chance(0.05):
                gateway.cut()
        if self.chance(0.02):
            self.replace()
        self.found.tick([("r", True)])

    def people(self, gateway: Gateway) -> None:
        if self.chance(0.5):
            gateway.ask(f"{self.random.choice('cd')}/o/{self.random.randrange(4)}", self.clock.now)
        if gateway.running and self.chance(0.7):
            gateway.finish(self.random.choice(list(gateway.running)))
        if gateway.line._asked and self.chance(0.1):
            ticket = self.random.choice(list(gateway.line._asked.values()))
            gateway.line.cancel(ticket, self.clock.now)
            self.left.add((gateway.name, ticket.id))

    def replace(self) -> None:
        """The dispatcher dies, and another one goes on."""
        state, old = self.found.line.dump(self.clock.now), self.found
        for gateway in self.gateways:
            gateway.cut()
        self.found = dispatcher(self.clock, slots=3, restored=TICK)
        assert self.found.line.restore(state, self.clock.now, TICK)
        old.end()

    def calm(self) -> None:
        """Nobody asks any more, and all that runs ends."""
        self.clock.now += TICK
        for gateway in self.gateways:
            if gateway.dispatcher is None:
                gateway.connect(self.found)
            for id_ in list(gateway.running):
                gateway.finish(id_)
            gateway.pass_on()
        self.found.tick([("r", True)])


@pytest.mark.parametrize("seed", range(12))
def test_whoever_dies_each_request_runs_once_and_ends(seed: int, clock: Clock) -> None:
    chaos = Chaos(seed, clock)
    for _ in range(400):
        chaos.step()
    for _ in range(2000):
        chaos.calm()
    for gateway in chaos.gateways:
        assert sorted(gateway.begun) == sorted(set(gateway.begun)), "one ran twice"
        went = {id_ for name, id_ in chaos.left if name == gateway.name}
        assert set(gateway.begun) | went == set(range(1, gateway.count + 1))
        assert not gateway.line._asked
        assert not gateway.line._under_way
    assert chaos.found.line.running() == {"r": 0}
    assert not chaos.found._whose
    chaos.first.line.close()
    assert replay(chaos.log).agrees
