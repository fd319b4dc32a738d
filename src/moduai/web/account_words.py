"""What pages of accounts say when something was done or was not. Plain text, for people."""

from __future__ import annotations

from collections.abc import Callable
from gettext import NullTranslations as Words

from moduai.accounts.organisations import DEFAULT
from moduai.accounts.sign_in import LEAST_PASSWORD, MOST_LOGIN
from moduai.web import words

_TROUBLES: dict[str, Callable[[Words], str]] = {
    "last_admin": lambda t: t.gettext("You are the last administrator: invite another one first."),
    "wrong": lambda t: t.gettext("The login name or the password is not right."),
    "too_often": lambda t: t.gettext("There were too many attempts. Please wait a little."),
    "provider_down": lambda t: t.gettext(
        "The sign-in service cannot be reached just now. Please try again in a few minutes."
    ),
    "provider_failed": lambda t: t.gettext(
        "The sign-in service gave an answer that we cannot accept. Please try again; if it happens again, "
        "tell whoever offers this service."
    ),
    "sign_in_stale": lambda t: t.gettext(
        "This sign-in took too long, or was begun in another window. Please begin again."
    ),
    "sign_in_denied": lambda t: t.gettext("The sign-in was not finished. Nothing was changed."),
    "no_account": lambda t: t.gettext(
        "There is no account for you here yet. You can make one with an invitation: ask whoever offers this "
        "service for one."
    ),
    "blocked": lambda t: t.gettext("This account was blocked. Ask whoever offers this service."),
    "no_invitation": lambda t: t.gettext(
        "This invitation was used, has expired or was taken back. Please ask for another."
    ),
    "bad_login": lambda t: (
        t.gettext("A login name has 2 to %(most)d letters, digits or -_.@+ and no spaces.")
        % {"most": MOST_LOGIN}
    ),
    "login_taken": lambda t: t.gettext("This login name cannot be used. Please choose another one."),
    "weak_password": lambda t: (
        t.gettext(
            "A password has at least %(least)d characters and is not easy to guess: a few words that only "
            "you would put together."
        )
        % {"least": LEAST_PASSWORD}
    ),
    "not_confirmed": lambda t: t.gettext("Nothing was deleted: the confirmation is missing."),
    "bad_name": lambda t: t.gettext("A name has at most 100 characters, without line breaks."),
    "bad_choice": lambda t: t.gettext("This cannot be chosen here."),
    "too_many_keys": lambda t: t.gettext("You have as many keys as one person may have. Revoke one first."),
    "key_lost": lambda t: t.gettext(
        "Something of yours cannot be read just now, because its key is missing. Whoever offers this service "
        "can put it back."
    ),
    "database_away": lambda t: t.gettext(
        "The service cannot read its records just now. Please try again soon."
    ),
}
_DONE: dict[str, Callable[[Words], str]] = {
    "welcome": lambda t: t.gettext("Welcome. Your account is ready."),
    "saved": lambda t: t.gettext("Saved."),
    "password": lambda t: t.gettext("Your password was changed. Everywhere else you were signed out."),
    "ended": lambda t: t.gettext("That browser was signed out."),
    "others_ended": lambda t: t.gettext("Everywhere else you were signed out."),
    "revoked": lambda t: t.gettext("The key is refused from now on."),
    "signed_out": lambda t: t.gettext("You are signed out."),
    "account": lambda t: t.gettext(
        "Your account was deleted, and the key to everything you wrote destroyed."
    ),
}


def trouble(t: Words, code: str, wait_s: float = 0.0) -> str:
    """What went wrong and what to do."""
    text = _TROUBLES[code](t) if code in _TROUBLES else words.error(t, code)
    if wait_s >= 1:
        text += " " + t.gettext("Please try again in %(time)s.") % {"time": words.seconds(t, wait_s)}
    return text


def done(t: Words, code: str) -> str:
    """What was done; empty for a code that is none of ours."""
    return _DONE[code](t) if code in _DONE else ""


def organisation(t: Words, name: str, title: str) -> str:
    """An organisation, for people: the one that everybody else belongs to is the service itself."""
    if name != DEFAULT:
        return name
    return t.gettext("Modu") if title == "Modu" else title


def role(t: Words, name: str) -> str:
    """A role, for people."""
    names = {
        "resident": t.gettext("resident"),
        "operator": t.gettext("operator"),
        "steward": t.gettext("steward"),
        "officer": t.gettext("AI officer"),
        "committee": t.gettext("committee member"),
        "admin": t.gettext("administrator"),
        "cli": t.gettext("an administrator at the machine itself"),
    }
    return names.get(name, name or t.gettext("somebody who is no longer here"))
