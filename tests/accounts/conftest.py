"""Fixtures of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.databases import db, postgres, sqlite, url

__all__ = ["db", "keyring", "postgres", "sqlite", "subjects", "url"]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path)


@pytest.fixture
def subjects(tmp_path: Path, keyring: Keyring) -> Iterator[SubjectKeys]:
    opened = SubjectKeys.open(tmp_path, keyring)
    yield opened
    opened.close()
