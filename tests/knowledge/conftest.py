"""Fixtures of this folder."""

from tests.databases import db, postgres, sqlite, url

__all__ = ["db", "postgres", "sqlite", "url"]
