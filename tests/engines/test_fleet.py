"""The fleet: records in, replicas out, and one listener that hears of every change."""

from __future__ import annotations

import msgspec

from moduai.engines.fleet import Fleet, Replica
from moduai.engines.record import Capability, Engine, Model
from moduai.settings import Upstream


def engine(name: str, *models: str, state: str = "active", key: str = "", **can: bool) -> Engine:
    return Engine(
        id=name,
        name=name,
        url=f"http://{name}:1",
        key=key,
        state=state,  # type: ignore[arg-type]
        models=tuple(Model(name=m, upstream_name=m, capability=Capability(**can)) for m in models),  # type: ignore[arg-type]
    )


def fleet_of(*engines: Engine) -> tuple[Fleet, list[tuple[str, bool | None]]]:
    heard: list[tuple[str, bool | None]] = []

    def listen(name: str, replica: Replica | None) -> None:
        heard.append((name, replica and replica.is_open))

    fleet = Fleet(Upstream())
    fleet.listener = listen
    fleet.apply(engines)
    return fleet, heard


async def test_changes_are_told_and_the_same_again_is_not() -> None:
    fleet, heard = fleet_of(engine("a", "m"), engine("b", "m", state="draining"))
    assert heard == [("a", True), ("b", False)]
    fleet.apply([engine("a", "m"), engine("b", "m", state="draining")])
    assert len(heard) == 2
    fleet.apply([engine("b", "m", state="removed")])
    assert heard[2:] == [("a", None), ("b", None)] or heard[2:] == [("b", None), ("a", None)]
    assert fleet.models() == {}
    assert fleet.route("m", "chat") is None


async def test_a_new_address_or_key_means_new_connections_and_other_changes_do_not() -> None:
    fleet, _ = fleet_of(engine("a", "m"))
    first = fleet.replicas["a"]
    fleet.apply([engine("a", "m", "n")])
    assert fleet.replicas["a"].pool is first.pool
    assert fleet.replicas["a"].breaker is first.breaker
    fleet.apply([engine("a", "m", "n", key="new")])
    assert fleet.replicas["a"].pool is not first.pool
    assert b"Bearer new" in fleet.replicas["a"].heads["/v1/chat/completions"]


async def test_failures_close_a_replica_and_a_success_opens_it() -> None:
    fleet, heard = fleet_of(engine("a", "m"))
    for now in range(3):
        fleet.report("a", ok=False, now=now)
    assert heard[-1] == ("a", False)
    fleet.report("a", ok=True, now=10)
    assert heard[-1] == ("a", True)
    fleet.report("unknown", ok=True, now=10)


async def test_one_model_on_two_engines_is_one_model() -> None:
    small = engine("a", "m", tools=True)
    large = msgspec.structs.replace(
        engine("b", "m"),
        models=(Model(name="m", upstream_name="m", capability=Capability(context=9, embeddings=True)),),
    )
    fleet, _ = fleet_of(small, large)
    merged = fleet.models()["m"]
    assert (merged.context, merged.tools, merged.embeddings, merged.vision) == (9, True, True, False)
    route = fleet.route("m", "embeddings")
    assert route is not None
    assert (route.able, route.lacking, route.context) == (True, ("a",), 9)
    assert fleet.route("m", "embeddings") is route
    none = fleet.route("m", "responses")
    assert none is not None
    assert not none.able
