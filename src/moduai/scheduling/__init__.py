"""Who runs next, and where: pure policy.

Words: a *ticket* is one request that asks for a place, a *pool* is the model it asks for, a
*replica* is an engine that serves the pool, a *grant* is the permission to run. Rule: no I/O, no
asyncio and no clock here; time is an argument in integer nanoseconds, so the same code serves the
live gateway and a simulation, and decides the same in both.
"""

from moduai.scheduling.queue import FairQueue
from moduai.scheduling.share import BusyClock
from moduai.scheduling.ticket import Grant, Ticket
from moduai.scheduling.types import Decision, Queued, Refused, ReplicaSpec, Share, Telemetry, Used

__all__ = [
    "BusyClock",
    "Decision",
    "FairQueue",
    "Grant",
    "Queued",
    "Refused",
    "ReplicaSpec",
    "Share",
    "Telemetry",
    "Ticket",
    "Used",
]
