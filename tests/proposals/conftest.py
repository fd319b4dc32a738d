"""Databases of both kinds."""

from __future__ import annotations

from tests.databases import db, postgres, sqlite, url

__all__ = ["db", "postgres", "sqlite", "url"]
