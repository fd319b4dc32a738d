"""Roles of people and what each may do."""

from __future__ import annotations

RESIDENT = "resident"
ADMIN = "admin"
PERMISSIONS: dict[str, frozenset[str]] = {
    RESIDENT: frozenset(),
    "operator": frozenset({"console", "engines", "switch", "policy", "knowledge", "usage", "settings"}),
    "steward": frozenset({"console", "reports", "look", "knowledge", "usage"}),
    "officer": frozenset({"console", "usage", "audit", "plan"}),
    "committee": frozenset({"console", "usage", "audit", "plan"}),
    ADMIN: frozenset(
        {
            "console",
            "engines",
            "keys",
            "people",
            "reports",
            "look",
            "audit",
            "switch",
            "policy",
            "knowledge",
            "settings",
            "usage",
            "plan",
        }
    ),
}
"""Role to what it may do beyond asking."""
ROLES = tuple(PERMISSIONS)
STAFF = frozenset(role for role, allowed in PERMISSIONS.items() if "console" in allowed)


def may(role: str, permission: str) -> bool:
    """Whether a role has a permission. Fails closed: an unknown role or permission has and gives nothing."""
    return permission in PERMISSIONS.get(role, frozenset())
