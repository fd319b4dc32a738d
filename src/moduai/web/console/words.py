"""What the console says: names of codes, why something was not done, what was done, what to confirm."""

from __future__ import annotations

from collections.abc import Callable
from gettext import NullTranslations
from typing import NamedTuple

from moduai.gateway.errors import ApiError

Words = NullTranslations
Says = Callable[[Words], str]


class Problem(NamedTuple):
    """Why something was not done: in the reader's language, and in the words of the operation."""

    text: str
    detail: str


class Question(NamedTuple):
    """What a deed asks before it is done."""

    title: str
    text: str
    button: str


_PROBLEMS: dict[str, Says] = {
    "invalid_parameter": lambda t: t.gettext("Something in the form is missing or not valid."),
    "value_not_allowed": lambda t: t.gettext("Something in the form is not allowed here."),
    "permission_missing": lambda t: t.gettext("Your role may not do this."),
    "leave_missing": lambda t: t.gettext(
        "First take leave to look, with a reason that the person will read."
    ),
    "not_found": lambda t: t.gettext("It is not there, or no longer."),
    "conflict": lambda t: t.gettext("This does not fit what is there."),
    "already_done": lambda t: t.gettext("This was done before: the form was sent twice."),
    "engine_not_usable": lambda t: t.gettext("There is no engine that can be used at this address."),
    "database_unavailable": lambda t: t.gettext("The database does not answer. Please try again soon."),
    "keyring_lost": lambda t: t.gettext("A key that this needs is lost: see modu doctor."),
    "planner_busy": lambda t: t.gettext(
        "Others are running scenarios now. Please try again in a few seconds."
    ),
    "planner_too_much": lambda t: t.gettext("This is more than may be run here. Choose fewer days."),
    "not_ready": lambda t: t.gettext("The service is starting. Please try again in a moment."),
}


def problem(t: Words, error: ApiError) -> Problem:
    """Why something was not done."""
    text = _PROBLEMS[error.code](t) if error.code in _PROBLEMS else t.gettext("It was not done.")
    return Problem(text, error.message if error.message != text else "")


_DONE: dict[str, Says] = {
    "engine.add": lambda t: t.gettext("The engine was added."),
    "engine.drain": lambda t: t.gettext("The engine ends what it runs and gets nothing new."),
    "engine.resume": lambda t: t.gettext("The engine gets requests again."),
    "engine.remove": lambda t: t.gettext("The engine was removed. You can bring it back below."),
    "knowledge.add": lambda t: t.gettext(
        "It was added. Its documents are being read; look again in a while."
    ),
    "knowledge.update": lambda t: t.gettext("It is being read again; look again in a while."),
    "knowledge.remove": lambda t: t.gettext("The documents were removed: nothing of them is found any more."),
    "plan.propose": lambda t: t.gettext("It was proposed. Another officer decides."),
    "plan.accept": lambda t: t.gettext("It was accepted: from now on the plan has it."),
    "plan.reject": lambda t: t.gettext("It was rejected."),
    "person.change": lambda t: t.gettext("The person was changed."),
    "person.signout": lambda t: t.gettext("The person was signed out everywhere."),
    "person.delete": lambda t: t.gettext("The account was deleted and its key destroyed."),
    "org.create": lambda t: t.gettext("The organisation was added."),
    "invite.revoke": lambda t: t.gettext("The invitation was taken back."),
    "key.revoke": lambda t: t.gettext("The key is refused from now on."),
    "report.handle": lambda t: t.gettext("What became of the report was noted."),
    "look.take": lambda t: t.gettext("You have leave to look. The person can see your reason."),
    "look.end": lambda t: t.gettext("Your leave has ended."),
    "banner.set": lambda t: t.gettext("The banner is shown on every page."),
    "banner.clear": lambda t: t.gettext("The banner is no longer shown."),
    "service.stop": lambda t: t.gettext("It is stopped: new requests are refused."),
    "service.start": lambda t: t.gettext("Requests are taken again."),
}


def done(t: Words, operation: str) -> str:
    """What was done; empty for an operation that says nothing."""
    says = _DONE.get(operation)
    return says(t) if says else ""


AFTER = {
    "engine.remove": "/console/engines?removed=1",
    "knowledge.remove": "/console/knowledge",
    "person.delete": "/console/people",
}
"""Where a deed leads to whose own page is no more."""
_QUESTIONS: dict[str, tuple[Says, Says, Says]] = {
    "engine.remove": (
        lambda t: t.gettext("Remove this engine?"),
        lambda t: t.gettext(
            "It gets no more requests; answers that are being written go on to their end. What it served "
            "stays in the ledger. You can bring it back later."
        ),
        lambda t: t.gettext("Remove the engine"),
    ),
    "knowledge.remove": (
        lambda t: t.gettext("Remove these documents?"),
        lambda t: t.gettext(
            "Nothing of them is found or shown from then on, in any version: citations of earlier answers "
            "lead nowhere. They can be added again from where they came."
        ),
        lambda t: t.gettext("Remove the documents"),
    ),
    "key.revoke": (
        lambda t: t.gettext("Revoke this key?"),
        lambda t: t.gettext("Programmes that use it are refused at once. This cannot be undone."),
        lambda t: t.gettext("Revoke the key"),
    ),
    "service.stop": (
        lambda t: t.gettext("Stop it now?"),
        lambda t: t.gettext(
            "New requests are refused, and so is everyone who waits in line. Answers that are being written "
            "go on to their end. You can start it again at any time."
        ),
        lambda t: t.gettext("Stop it"),
    ),
    "person.delete": (
        lambda t: t.gettext("Delete this account?"),
        lambda t: t.gettext(
            "The key of everything that was kept for this person is destroyed: nobody can read it any more, "
            "in backups too. This cannot be undone."
        ),
        lambda t: t.gettext("Delete the account"),
    ),
    "person.block": (
        lambda t: t.gettext("Block this person?"),
        lambda t: t.gettext(
            "The person is signed out everywhere and all keys of theirs are refused, until you unblock them."
        ),
        lambda t: t.gettext("Block the person"),
    ),
}


def question(t: Words, deed: str) -> Question | None:
    """What to ask before a deed; None where it can be undone easily."""
    says = _QUESTIONS.get(deed)
    return Question(says[0](t), says[1](t), says[2](t)) if says else None


_ROLES: dict[str, Says] = {
    "resident": lambda t: t.gettext("Resident"),
    "operator": lambda t: t.gettext("Operator"),
    "steward": lambda t: t.gettext("Data steward"),
    "officer": lambda t: t.gettext("AI officer"),
    "committee": lambda t: t.gettext("Committee member"),
    "admin": lambda t: t.gettext("Administrator"),
    "cli": lambda t: t.gettext("On the machine"),
}
_STATES: dict[str, Says] = {
    "active": lambda t: t.gettext("active"),
    "draining": lambda t: t.gettext("draining"),
    "removed": lambda t: t.gettext("removed"),
    "blocked": lambda t: t.gettext("blocked"),
    "waiting": lambda t: t.gettext("waits to be read"),
    "reading": lambda t: t.gettext("is being read"),
    "ready": lambda t: t.gettext("ready"),
    "failed": lambda t: t.gettext("cannot be read"),
    "well": lambda t: t.gettext("well"),
    "shaky": lambda t: t.gettext("failed just now"),
    "away": lambda t: t.gettext("away"),
    "open": lambda t: t.gettext("open"),
    "used": lambda t: t.gettext("used"),
    "expired": lambda t: t.gettext("expired"),
    "revoked": lambda t: t.gettext("revoked"),
    "accepted": lambda t: t.gettext("accepted"),
    "rejected": lambda t: t.gettext("rejected"),
    "handled": lambda t: t.gettext("handled"),
    "dismissed": lambda t: t.gettext("dismissed"),
    "info": lambda t: t.gettext("information"),
    "warning": lambda t: t.gettext("warning"),
}
_REASONS: dict[str, Says] = {
    "wrong": lambda t: t.gettext("It is wrong or made up"),
    "harmful": lambda t: t.gettext("It is harmful or hateful"),
    "private": lambda t: t.gettext("It shows private facts about someone"),
    "rights": lambda t: t.gettext("It uses someone’s work without right"),
    "other": lambda t: t.gettext("Something else"),
}


def role(t: Words, code: str) -> str:
    """A role by its name."""
    return _say(_ROLES, t, code)


def state(t: Words, code: str) -> str:
    """A state of anything, in words."""
    return _say(_STATES, t, code)


def reason(t: Words, code: str) -> str:
    """A reason of a report, in words."""
    return _say(_REASONS, t, code)


_PLACES: dict[str, Says] = {
    "box": lambda t: t.gettext("came with Modu"),
    "pack": lambda t: t.gettext("came with the country pack"),
    "folder": lambda t: t.gettext("folder"),
    "file": lambda t: t.gettext("file"),
    "web": lambda t: t.gettext("web page"),
    "git": lambda t: t.gettext("repository"),
    "api": lambda t: t.gettext("open API"),
}


def place(t: Words, code: str) -> str:
    """Where documents were added from, in words."""
    return _say(_PLACES, t, code)


_DEGRADED: dict[str, Says] = {
    "database": lambda t: t.gettext("The database does not answer, or answers late."),
    "ledger": lambda t: t.gettext("Usage cannot be written to the disk; it is kept in memory."),
    "metering": lambda t: t.gettext("Usage waits in its files: it has not reached the database for a while."),
    "disk": lambda t: t.gettext("The disk of the home folder is nearly full."),
    "history": lambda t: t.gettext("Conversations cannot be written to the disk."),
    "policy": lambda t: t.gettext(
        "The policy file cannot be used: the policy that was in force still counts."
    ),
    "engines": lambda t: t.gettext("No engine takes requests, or an engine’s record cannot be read."),
    "engine": lambda t: t.gettext("An engine failed and gets nothing; the others answer."),
    "line": lambda t: t.gettext(
        "There is no dispatcher: who waits goes on waiting, and who comes is soon refused."
    ),
    "lease": lambda t: t.gettext(
        "The store of the dispatcher’s lease does not answer: no other one could take over."
    ),
    "cells": lambda t: t.gettext(
        "Another cell says nothing: each shares by itself, and who asks in both may get more than is due."
    ),
    "search": lambda t: t.gettext("Search of public documents does not answer, or is still being built."),
    "audit": lambda t: t.gettext("The audit log is recorded, but its past days cannot be sealed."),
    "clock": lambda t: t.gettext(
        "The clock was moved, or nothing ran here for long: what is old is deleted later."
    ),
}
_SOURCES: dict[str, Says] = {
    "shipped": lambda t: t.gettext("It came with Modu."),
    "pack": lambda t: t.gettext("It came with the country pack."),
    "file": lambda t: t.gettext("The policy file."),
    "last good": lambda t: t.gettext("The last good one, for the policy file has problems."),
}
_KINDS: dict[str, Says] = {
    "light": lambda t: t.gettext("with few questions in line"),
    "heavy": lambda t: t.gettext("with many questions in line"),
}
_STEPS: dict[str, Says] = {
    "queued": lambda t: t.gettext("Waited in line"),
    "shortened": lambda t: t.gettext("Were given a shorter answer"),
    "lighter": lambda t: t.gettext("Were answered by a lighter model"),
}


def span(t: Words, seconds: int) -> str:
    """A span of whole hours or days."""
    if seconds % 86_400:
        hours = seconds // 3600
        return t.ngettext("%(num)d hour", "%(num)d hours", hours) % {"num": hours}
    days = seconds // 86_400
    return t.ngettext("%(num)d day", "%(num)d days", days) % {"num": days}


def degraded(t: Words, name: str) -> str:
    """What does not work now, in words."""
    return _say(_DEGRADED, t, name)


def source(t: Words, code: str) -> str:
    """Where the policy in force is from."""
    return _say(_SOURCES, t, code)


def kind(t: Words, code: str) -> str:
    """Whose waits were foretold."""
    return _say(_KINDS, t, code)


def step(t: Words, code: str) -> str:
    """How far the pressure went with a request."""
    return _say(_STEPS, t, code)


def _say(known: dict[str, Says], t: Words, code: str) -> str:
    says = known.get(code)
    return says(t) if says else code
