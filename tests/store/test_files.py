"""How a file gets its name where there are no links, as on FAT, and where there are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from moduai.store.files import place
from moduai.store.keyring import Keyring


@pytest.fixture(params=[None, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP])
def refusal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Why there are no links; None where there are."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param:
        monkeypatch.setattr(os, "link", refuse)
    number: int | None = request.param
    return number


def test_a_draft_gets_its_name_and_never_replaces(tmp_path: Path, refusal: int | None) -> None:
    draft, file = tmp_path / "draft", tmp_path / "file"
    draft.write_text("new")
    draft.chmod(0o600)
    place(draft, file)
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    draft.unlink(missing_ok=True)  # it may be the same file by now
    draft.write_text("newer")
    with pytest.raises(FileExistsError):
        place(draft, file)
    assert file.read_text() == "new"


def test_what_cannot_be_moved_leaves_no_empty_file(tmp_path: Path, refusal: int | None) -> None:
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "gone", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_is_made_without_links(tmp_path: Path, refusal: int | None) -> None:
    made = Keyring.open(tmp_path)
    assert Keyring.open(tmp_path).secret("a") == made.secret("a")
    assert [file.name for file in (tmp_path / "keyring").iterdir()] == ["master.key"]
