"""How the service is shared right now: classes and organisations, what they are due and what they have."""

from __future__ import annotations

from moduai.accounts.organisations import names
from moduai.gateway.shares import Shares, look, named, organisations
from moduai.web.api.now import lane_of
from moduai.web.api.operation import Call, Nothing, Operation


async def shares(call: Call, _: Nothing) -> Shares:
    """Figures of the worker that answers, from its memory. Organisations of fewer than ``least_people`` who
    run or wait now, and guests' networks, are a number. While the database is away they have no names.
    """
    services = call.services
    found = look(lane_of(call), services.policy(), services.started)
    if not (wanted := organisations(found)):
        return found
    try:
        async with call.read() as connection:
            return named(found, await names(connection, wanted))
    except services.database.errors:
        return found  # `degraded` of /api/now names it


OPERATIONS = (
    Operation(
        "shares", "GET", "/api/shares", "console", "How the service is shared right now.",
        Nothing, Shares, shares, "shares",
    ),
)  # fmt: skip
