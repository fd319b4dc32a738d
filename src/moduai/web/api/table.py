"""The table of all operations: the one source of addresses, permissions, documents and forms."""

from __future__ import annotations

from moduai.web.api import (
    engines,
    keys,
    knowledge,
    looks,
    now,
    oversight,
    people,
    plan,
    policy,
    quotas,
    reports,
    scenarios,
    shares,
    switches,
    usage,
)
from moduai.web.api.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *now.OPERATIONS,
    *shares.OPERATIONS,
    *usage.OPERATIONS,
    *engines.OPERATIONS,
    *switches.OPERATIONS,
    *policy.OPERATIONS,
    *quotas.OPERATIONS,
    *people.OPERATIONS,
    *looks.OPERATIONS,
    *keys.OPERATIONS,
    *reports.OPERATIONS,
    *knowledge.OPERATIONS,
    *plan.OPERATIONS,
    *scenarios.OPERATIONS,
    *oversight.OPERATIONS,
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
