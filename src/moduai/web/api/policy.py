"""How the service is shared: the policy in force, what another one would change, and putting it in force."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from moduai.gateway import policy_change, policy_file
from moduai.gateway.errors import ApiError
from moduai.gateway.policy_change import ClassShown, Effect
from moduai.gateway.policy_file import InForce
from moduai.gateway.policy_text import MOST_BYTES, PolicyError, parse, told
from moduai.scheduling.policy import Problem
from moduai.web.api.operation import Call, Nothing, Operation, Request, refused


class PolicyShown(Struct, frozen=True, kw_only=True):
    """The policy in force."""

    digest: str
    """Names the text."""
    source: str
    """shipped, pack, file or last good."""
    problems: list[str]
    """Why the file is not what counts."""
    classes: list[ClassShown]
    text: str
    """All of it, as the file has it (TOML)."""


class PolicyGiven(Request, frozen=True):
    """Another policy."""

    text: Annotated[str, Meta(max_length=MOST_BYTES, description="As the file has it (TOML).")]


class PolicyChecked(Struct, frozen=True, kw_only=True):
    """What is wrong with a policy, or what it would change."""

    digest: str
    problems: list[Problem]
    remarks: list[str]
    """What is valid and yet may not be meant."""
    effects: list[Effect]


class PolicyPut(Struct, frozen=True, kw_only=True):
    """A policy that is in force now, and what that changed."""

    digest: str
    before: str
    effects: list[Effect]


async def show(call: Call, _: Nothing) -> PolicyShown:
    """Its classes with whom they have, and its text."""
    found = policy_file.read(call.services.loaded)
    async with call.read() as connection:
        known = await policy_change.known(connection)
    return PolicyShown(
        digest=found.digest,
        source=found.source,
        problems=[told(problem) for problem in found.problems],
        classes=policy_change.shown(found.policy, known.crowds),
        text=found.text,
    )


async def check(call: Call, wanted: PolicyGiven) -> PolicyChecked:
    """All problems with their lines, or the effects on classes, people, keys and organisations. Nothing is
    changed.
    """
    try:
        new = await _parsed(wanted.text)
    except PolicyError as error:
        digest = policy_file.digest(wanted.text)
        return PolicyChecked(digest=digest, problems=error.problems, remarks=[], effects=[])
    loaded = call.services.loaded
    async with call.read() as connection:
        known = await policy_change.known(connection)
    before = policy_file.read(loaded)
    return PolicyChecked(
        digest=new.digest,
        problems=[],
        remarks=policy_change.remarks(new.policy, loaded, known.names),
        effects=policy_change.effects(before.policy, new.policy, loaded, known),
    )


async def apply(call: Call, wanted: PolicyGiven) -> PolicyPut:
    """Every worker takes it within a second; what waits is shared by it from then on. The one before is kept.
    A policy with a problem is refused. Undo: policy.undo.
    """
    with refused("value_not_allowed", PolicyError):
        new = await _parsed(wanted.text)
    return await _put(call, new)


async def undo(call: Call, _: Nothing) -> PolicyPut:
    """Put the policy before this one in force again; a second undo takes the first one back."""
    with refused("value_not_allowed", PolicyError):
        new = policy_file.previous(call.services.loaded)
    return await _put(call, new)


async def _parsed(text: str) -> InForce:
    """Off the loop: a large text takes a while. Raises PolicyError."""
    text = text.replace("\r\n", "\n")
    policy = await asyncio.to_thread(parse, text)
    return InForce(policy=policy, text=text, source="file")


async def _put(call: Call, new: InForce) -> PolicyPut:
    loaded, more = call.services.loaded, {"key": call.caller.key} if call.caller.key else {}
    before = policy_file.read(loaded)
    try:
        with policy_file.replaced(loaded, new.text):
            async with call.write() as connection:
                known = await policy_change.known(connection)
                await policy_change.record(
                    connection, call.caller.person, call.operation.name, before, new, **more
                )
    except OSError as error:
        raise ApiError("not_ready", f"The policy cannot be put in force: {error}.") from None
    effects = policy_change.effects(before.policy, new.policy, loaded, known)
    return PolicyPut(digest=new.digest, before=before.digest, effects=effects)


OPERATIONS = (
    Operation(
        "policy.show", "GET", "/api/policy", "usage", "Show how the service is shared.",
        Nothing, PolicyShown, show, "policy show",
    ),
    Operation(
        "policy.check", "POST", "/api/policy/check", "policy", "Look what another policy would change.",
        PolicyGiven, PolicyChecked, check, "policy diff",
    ),
    Operation(
        "policy.apply", "PUT", "/api/policy", "policy", "Put another policy in force.",
        PolicyGiven, PolicyPut, apply, "policy apply",
    ),
    Operation(
        "policy.undo", "POST", "/api/policy/undo", "policy", "Put the policy before this one in force.",
        Nothing, PolicyPut, undo, "policy undo",
    ),
)  # fmt: skip
