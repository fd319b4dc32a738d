"""Attacks on the fair queue, in the twin: what ordinary people notice is the time to their first token.

The bound is that of the bars, 99 of 100 light requests get their first token within a second; or, where it
is longer, the time in which the pool does the costliest request of every attacker: as much may be before
whoever comes (the delay bound of start-time fair queueing).
"""

import pytest
from msgspec.structs import replace

from moduai.planner import Engine, Record, Request, Twin, traffic
from moduai.planner.clock import SECOND
from moduai.planner.measure import quantile, work
from moduai.planner.replica import BLOCK, LLAMA_8B_H100
from moduai.planner.traffic import CHAT, POOL, Sizes
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import ClassRule, Limits, Policy
from moduai.scheduling.ticket import ONE

STEP = LLAMA_8B_H100
WIDE = Limits(100_000, 100_000, 100_000)
PRICE = 34_000
SECONDS = 30.0
SQUATTING = Sizes(100, 2500, 0.1, 200, 3000)
"""Short prompts, and answers of thousands of tokens."""
LIGHT = 300
RATE = 1 / 40
"""Requests a second of each light person: a quarter of what the pool can do."""


def policy(*classes: ClassRule, window: int = 0) -> Policy:
    rules = {rule.name: rule for rule in (ClassRule("resident", limits=WIDE), *classes)}
    return Policy(
        "test", rules, "resident", limits=WIDE, prices={POOL: PRICE}, locality_window=window * PRICE // 1000
    )


def attacked(
    attack: list[Request], rules: Policy | None = None, *, step=STEP, seconds: float = SECONDS
) -> Twin:
    """Light people from the third second on, when the attack is under way."""
    here = Twin(FairQueue(rules or policy()), {"h100": Engine(step)})
    light = traffic.later(traffic.light(1, seconds - 3, count=LIGHT, rate=RATE), 3)
    here.play(traffic.merged(light, attack))
    here.run(seconds)
    return here


def light(here: Twin) -> list[Record]:
    """Requests of the light people that are judged: from when the first answers of the attack have ended, for
    until then no place is free, and as long as they could still be served.
    """
    since, until = 8 * SECOND, here.clock.now - 2 * SECOND
    return [
        record
        for record in here.records
        if record.request.path[2].startswith("light") and since < record.ticket.arrived < until
    ]


def p99(here: Twin) -> float:
    now = here.clock.now
    return quantile(
        [(r.first if r.first >= 0 else now - r.ticket.arrived) / SECOND for r in light(here)], 0.99
    )


def turn(work: int, count: int = 8) -> float:
    """Seconds in which the pool does so much work for each of ``count`` people, at least one."""
    return max(1.0, count * work * PRICE / 1e9)


def heavy(
    rate: float, sizes: Sizes, *, service_class="resident", organisation="none", count=8
) -> list[Request]:
    place = (service_class, organisation, "attacker")
    return traffic.people(2, SECONDS, count=count, rate=rate / count, sizes=sizes, place=place)


def test_alone_light_people_hardly_wait():
    assert p99(attacked([])) < 0.15


def test_many_requests_of_a_few():
    assert p99(attacked(heavy(120.0, CHAT))) <= 1


def test_one_huge_request_then_leave_and_return():
    """Whoever comes back after a large request, again and again, has not shaken off its cost: it gets no more
    than people who stay.
    """
    staying = heavy(80.0, CHAT, count=7)
    leaving = [
        Request(int(at * SECOND), ("resident", "none", "leaver"), 4_000, 1_300, patience=2 * SECOND)
        for at in [number / 4 for number in range(int(4 * SECONDS))]
    ]
    here = attacked(traffic.merged(staying, leaving))
    assert p99(here) <= 1
    had = work(here)
    others = [had["resident", "none", f"attacker-{number}"] for number in range(7)]
    assert had["resident", "none", "leaver"] <= max(others) + 2 * 6_600


def test_long_answers_in_a_class_with_a_cap():
    """Half of the places are never theirs, so squatting on the others leaves room for everyone."""
    batch = ClassRule("batch", weight=ONE // 10, cap=500, limits=WIDE)
    squatters = heavy(40.0, SQUATTING, service_class="batch")
    assert p99(attacked(squatters, policy(batch))) <= 1


def test_long_answers_where_each_person_has_a_cap():
    """Eight people at a tenth of the places each leave a fifth to all others of their class, whose places
    nothing else bounds; without it others wait until the answers end.
    """
    squatters = heavy(40.0, SQUATTING)
    resident = ClassRule("resident", limits=WIDE)
    capped = replace(resident, person_cap=100)
    assert p99(attacked(squatters, policy(capped))) <= 1
    assert p99(attacked(squatters, policy(resident))) > 5


@pytest.mark.parametrize("lie", [1 << 20, 0], ids=["huge", "none"])
def test_lies_in_max_tokens(lie):
    """Whoever says nothing, or a million, is charged what it is likely to take and then what it took."""
    asked = heavy(60.0, CHAT)
    liars = [Request(r.at, r.path, r.tokens_in, r.tokens_out, max_out=lie, app="lie") for r in asked]
    here = attacked(liars)
    assert p99(here) <= 1
    # Before anybody had to wait nothing was charged.
    settled = [record for record in here.records if record.ended >= 0 and record.granted > 3 * SECOND]
    charged = sum(record.ticket.charged for record in settled)
    worked = sum(here.work(record) for record in settled)
    assert charged == pytest.approx(worked * PRICE / 1000, rel=0.01)


def test_prompts_built_to_steal_the_cache():
    """With the locality window open, attackers whose prompts all begin alike are served sooner, but by no
    more than the window, which is at most their costliest request.
    """
    stolen = tuple(range(12))
    thieves = [
        Request(r.at, r.path, 12 * BLOCK + 100, r.tokens_out, blocks=stolen, app="thief")
        for r in heavy(80.0, CHAT)
    ]
    here = attacked(thieves, policy(window=8_000))
    costliest = max(here.work(record) for record in here.records)
    assert p99(here) <= turn(2 * costliest)


def test_prompts_built_to_flush_the_cache():
    """Each as large as can be and none like another: light people lose their hits, not their place."""
    flood = [
        Request(r.at, r.path, 8_000, 5, blocks=tuple(range(100 * n, 100 * n + 31)), app="flush")
        for n, r in enumerate(heavy(15.0, CHAT))
    ]
    assert p99(attacked(flood)) <= turn(8_010)


def test_an_engine_slower_than_it_claims():
    """At half its speed the same people wait no longer than twice the time that they need there alone."""
    slow = STEP.slower(500)
    alone = p99(attacked([], step=slow))
    assert p99(attacked(heavy(80.0, CHAT), step=slow)) <= max(1, 2 * alone)


def test_many_keys_of_one_person_and_many_persons_of_one_organisation():
    """A hundred people of one office together get what another office's one person gets."""
    office = heavy(60.0, CHAT, organisation="crowd", count=100)
    single = heavy(60.0, CHAT, organisation="single", count=1)
    here = attacked(traffic.merged(office, single))
    had = work(here)
    assert had["resident", "crowd"] == pytest.approx(had["resident", "single"], rel=0.1)
    assert p99(here) <= 1


def test_guests_by_the_thousand_from_one_network():
    """A network's guests share what one network is due; residents and other networks do not notice."""
    guest = ClassRule("guest", limits=WIDE)
    crowd = heavy(80.0, CHAT, service_class="guest", organisation="net_a", count=1000)
    others = [
        Request(r.at, ("guest", f"net_{number}", "light-guest"), r.tokens_in, r.tokens_out, app="page")
        for number, r in enumerate(traffic.light(5, SECONDS - 3, count=20, rate=0.05))
    ]
    assert p99(attacked(traffic.merged(crowd, others), policy(guest))) <= 1
