"""The menu of the console: each page that has a place in it, and the permission it takes."""

from __future__ import annotations

from typing import NamedTuple

from moduai.web.console.words import Says


class Item(NamedTuple):
    """One entry."""

    path: str
    permission: str
    title: Says


MENU = (
    Item("/console", "console", lambda t: t.gettext("Now")),
    Item("/console/shares", "console", lambda t: t.gettext("Fair shares")),
    Item("/console/usage", "usage", lambda t: t.gettext("Usage")),
    Item("/console/engines", "engines", lambda t: t.gettext("Engines")),
    Item("/console/knowledge", "knowledge", lambda t: t.gettext("Public documents")),
    Item("/console/plan", "plan", lambda t: t.gettext("The plan")),
    Item("/console/scenarios", "usage", lambda t: t.gettext("What if")),
    Item("/console/switches", "switch", lambda t: t.gettext("Banner and stop")),
    Item("/console/reports", "reports", lambda t: t.gettext("Reports")),
    Item("/console/look", "look", lambda t: t.gettext("Look at text")),
    Item("/console/people", "people", lambda t: t.gettext("People")),
    Item("/console/invitations", "people", lambda t: t.gettext("Invitations")),
    Item("/console/organisations", "people", lambda t: t.gettext("Organisations")),
    Item("/console/keys", "keys", lambda t: t.gettext("Keys")),
    Item("/console/settings", "settings", lambda t: t.gettext("Settings")),
    Item("/console/audit", "audit", lambda t: t.gettext("Audit log")),
    Item("/console/looks", "audit", lambda t: t.gettext("Leave taken")),
)
