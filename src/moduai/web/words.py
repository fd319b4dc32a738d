"""What the page says about an answer while it waits, when it is done and when it failed.

Each function takes the words of a language and gives one plain text, for people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from gettext import NullTranslations as Words

from moduai.gateway.errors import CATALOGUE
from moduai.gateway.local import Done, Place

STOPS = ("service_stopped", "model_stopped")


def seconds(t: Words, value: float) -> str:
    """A span of time as people say it: whole seconds, from 90 s on minutes, then hours, then days."""
    if value < 90:
        whole = max(1, round(value))
        return t.ngettext("%(count)d second", "%(count)d seconds", whole) % {"count": whole}
    if value >= 36 * 3600:
        days = round(value / 86_400)
        return t.ngettext("%(count)d day", "%(count)d days", days) % {"count": days}
    if value >= 90 * 60:
        hours = round(value / 3600)
        return t.ngettext("%(count)d hour", "%(count)d hours", hours) % {"count": hours}
    minutes = round(value / 60)
    return t.ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}


def between(t: Words, low_s: float, high_s: float) -> str:
    """A range of time; empty where both ends are the same to people."""
    minutes = high_s >= 90
    unit = 60 if minutes else 1
    low, high = int(low_s / unit), math.ceil(high_s / unit)
    if high - low < 2:
        return ""
    if minutes and low:
        text = t.gettext("%(low)d to %(high)d minutes")
    elif minutes:
        text = t.gettext("up to %(high)d minutes")
    elif low:
        text = t.gettext("%(low)d to %(high)d seconds")
    else:
        text = t.gettext("up to %(high)d seconds")
    return text % ({"low": low, "high": high} if low else {"high": high})


def place(t: Words, at: Place) -> str:
    """The place in line; without an estimate where there is nothing yet to judge by."""
    if at.wait_s is None:
        return t.gettext("You are number %(position)d in line.") % {"position": at.position}
    told = {"position": at.position, "time": seconds(t, at.wait_s)}
    span = between(t, at.low_s, at.high_s) if at.low_s is not None and at.high_s is not None else ""
    if not span:
        return t.gettext("You are number %(position)d in line. About %(time)s to go.") % told
    text = t.gettext("You are number %(position)d in line. About %(time)s to go (%(span)s).")
    return text % {**told, "span": span}


def offer(t: Words, model: str) -> str:
    """The button that asks a lighter model instead."""
    return t.gettext("Ask %(model)s instead") % {"model": model}


def origin(t: Words, model: str, maker: str) -> str:
    """Which model answers, and who made it."""
    if not maker:
        return model
    return t.gettext("%(model)s by %(maker)s") % {"model": model, "maker": maker}


def figures(t: Words, tokens: int, spent_s: float) -> str:
    """The size of an answer and the time it took."""
    count = t.ngettext("%(count)d token", "%(count)d tokens", tokens) % {"count": tokens}
    return f"{count} · {seconds(t, spent_s)}"


def remarks(t: Words, done: Done, asked: str, *, left_out: bool) -> list[str]:
    """What else a reader should know of this answer. ``asked``: the model that was asked."""
    found = []
    if done.model != asked:
        found.append(t.gettext("A lighter model answered, because very many people are asking right now."))
    if done.finish_reason == "length" and done.step == "shortened":
        found.append(t.gettext("The answer was cut short, because very many people are asking right now."))
    elif done.finish_reason == "length":
        found.append(t.gettext("The answer was cut off because it reached its longest length."))
    if done.finish_reason == "content_filter":
        found.append(t.gettext("The answer was stopped by the engine's content filter."))
    if left_out:
        found.append(t.gettext("The oldest turns were too long to be read again for this answer."))
    return found


def recorded(t: Words, outcome: str, notes: Sequence[str]) -> list[str]:
    """What a reader should know of an answer that was kept; notes are those of ``history.record``."""
    found = []
    if outcome == "cancelled":
        found.append(t.gettext("Stopped. What was written stays."))
    elif outcome != "ok":
        found.append(t.gettext("The AI engine stopped in the middle of its work."))
    if "cut" in notes:
        found.append(t.gettext("It was too long to be kept whole."))
    if "media" in notes:
        found.append(t.gettext("Images and files are not kept."))
    return found


_ERRORS: dict[str, Callable[[Words], str]] = {
    "no_engine": lambda t: t.gettext(
        "No AI engine is running yet. Please come back a little later. (For operators: modu engine add)"
    ),
    "line_full": lambda t: t.gettext("Very many people are asking right now, and the line is full."),
    "organisation_line_full": lambda t: t.gettext(
        "Very many people of your organisation or network are asking right now, and their line is full."
    ),
    "person_line_full": lambda t: t.gettext(
        "You have many questions in line already. Please wait until one of them is answered."
    ),
    "quota_exceeded": lambda t: t.gettext(
        "What you, your organisation or your key may use in this time is used up."
    ),
    "quota_unknown": lambda t: t.gettext("It is not clear yet how much you may still use."),
    "overloaded": lambda t: t.gettext("Very many people are asking right now, and the wait is too long."),
    "wait_too_long": lambda t: t.gettext("The wait became too long, so your place in line was given up."),
    "draining": lambda t: t.gettext("The service is restarting. Please ask again in a moment."),
    "engine_unavailable": lambda t: t.gettext("The AI engine is away for a moment. Please ask again soon."),
    "engine_failed": lambda t: t.gettext("The AI engine stopped in the middle of its work."),
    "context_length_exceeded": lambda t: t.gettext(
        "This is too long for the AI to read. Please shorten your question or begin a new conversation."
    ),
    "model_not_found": lambda t: t.gettext("This model is no longer here. Please choose another one."),
    "guests_off": lambda t: t.gettext("On this service only people with an account can ask."),
    "empty": lambda t: t.gettext("Please write a question first."),
    "question_too_long": lambda t: t.gettext("The question is too long. Please shorten it."),
    "page_too_old": lambda t: t.gettext(
        "This page was open for too long, or your browser keeps no cookies. Please load it again."
    ),
    "form_too_large": lambda t: t.gettext("This conversation has become too long. Please begin a new one."),
    "conversation_gone": lambda t: t.gettext(
        "This conversation is gone: perhaps it was deleted in another window. Please begin a new one."
    ),
    "records_away": lambda t: t.gettext(
        "The service cannot read its records just now. Please try again soon."
    ),
    "nothing_to_report": lambda t: t.gettext("This answer is no longer here."),
    "name_not_taken": lambda t: t.gettext("This name cannot be taken: at most 100 letters, on one line."),
    "not_reported": lambda t: t.gettext("The report could not be taken now. Please send it again later."),
    "service_stopped": lambda t: t.gettext("The people who run this service have stopped it for now."),
    "model_stopped": lambda t: t.gettext(
        "The people who run this service have stopped this model for now. Please choose another one."
    ),
    "search_unavailable": lambda t: t.gettext(
        "The public documents cannot be searched now. Please ask again soon, or ask without them."
    ),
    "failed": lambda t: t.gettext("Something went wrong on our side. It is not your fault."),
}
"""The gateway's codes that are for people, and the page's own."""


def error(t: Words, code: str, retry_after_s: int | None = None, message: str = "") -> str:
    """What went wrong and what to do, in words; codes that are not for people get the general text.

    ``message`` is the gateway's: where staff stopped something, it ends with their words.
    """
    text = _ERRORS[known(code)](t)
    if code in STOPS:
        return f"{text} {message.removeprefix(CATALOGUE[code].message).strip()}".strip()
    if retry_after_s:
        text += " " + t.gettext("Please try again in %(time)s.") % {"time": seconds(t, retry_after_s)}
    return text


def known(code: str) -> str:
    """The code as people are told of it: the gateway's finer ones fall together."""
    if code in _ERRORS:
        return code
    return "engine_failed" if code.startswith("engine_") else "failed"
