"""Fixtures of tests of the command line."""

from tests.databases import postgres  # noqa: F401
