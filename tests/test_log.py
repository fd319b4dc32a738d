from __future__ import annotations

import json
import logging

import pytest

from moduai import log
from moduai.settings import Log


@pytest.fixture
def _restored():
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("moduai").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_restored")
def test_json_is_one_object_a_line_with_the_fields(capsys):
    log.configure(Log(format="json"), "worker")
    logging.getLogger("moduai.x").warning("engine failed", extra={"engine": "eng_1", "failures": 3})
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "engine failed"
    assert (line["process"], line["level"], line["engine"], line["failures"]) == (
        "worker",
        "warning",
        "eng_1",
        3,
    )
    assert line["at"].endswith("Z")


@pytest.mark.usefixtures("_restored")
def test_the_level_is_kept_and_text_shows_a_traceback(capsys):
    log.configure(Log(level="error"), "worker")
    logging.getLogger("moduai.x").warning("not shown")
    try:
        raise OSError("disk full")
    except OSError:
        logging.getLogger("moduai.x").exception("segment not written")
    err = capsys.readouterr().err
    assert "not shown" not in err
    assert "worker: segment not written" in err
    assert "OSError: disk full" in err


@pytest.mark.usefixtures("_restored")
def test_libraries_speak_up_only_when_something_is_wrong(capsys):
    log.configure(Log(level="debug"), "worker")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble")
    logging.getLogger("moduai.x").debug("ours")
    err = capsys.readouterr().err
    assert "chatter" not in err
    assert "trouble" in err
    assert "ours" in err


@pytest.mark.parametrize(
    ("clear", "blotted"),
    [
        ("key modu-" + "a" * 43 + " refused", "key modu-*** refused"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer ***"),
        ('{"authorization":"bearer abcdefgh1234"}', '{"authorization":"bearer ***"}'),
        ("postgresql+asyncpg://modu:secret@db/modu", "postgresql+asyncpg://modu:***@db/modu"),
        ("modu-worker started", "modu-worker started"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(clear, blotted):
    assert log.redact(clear) == blotted


@pytest.mark.usefixtures("_restored")
def test_a_line_break_in_a_field_makes_no_second_event(capsys):
    log.configure(Log(), "worker")
    logging.getLogger("moduai.x").error(
        "a page failed", extra={"path": "/x\n12:00:00 info    worker: forged"}
    )
    assert len(capsys.readouterr().err.splitlines()) == 1
