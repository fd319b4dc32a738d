"""Structured logs on standard error, the same from every process: one line an event.

Words: an *event* is a short fixed sentence, its *fields* are the data, given by ``extra``::

    log = logging.getLogger(__name__)
    log.warning("engine failed", extra={"engine": engine.id, "failures": 3})

Rule: never a prompt, an answer, a key or a cookie. What looks like a key or a bearer token is blotted out
all the same before a line is written (fails closed: a line that cannot be formatted is not written).
"""

from __future__ import annotations

import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from moduai.settings import Log

_SECRET = re.compile(
    r"\b(modu-|sk-|hf_)[A-Za-z0-9_-]{12,}|((?i:bearer|basic)\s+)[^\s\"']{8,}|(://[^/@:\s]*:)[^/@\s]+@"
)
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""What could make one event look like two: paths and engines' words are others' text."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def configure(settings: Log, process: str) -> None:
    """Send this process's events to standard error in the chosen form. ``process`` is its name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if settings.format == "json" else TextLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up when something is wrong
    logging.getLogger("moduai").setLevel(settings.level.upper())
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)


def redact(text: str) -> str:
    """Text without what looks like a key, a bearer token or a password in an address."""
    return _SECRET.sub(
        lambda found: (found[1] or found[2] or found[3]) + ("***@" if found[3] else "***"), text
    )


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the event was given by ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonLines(logging.Formatter):
    """One JSON object a line: at (RFC 3339, UTC), level, process, event, its fields, and error if any."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "event": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return redact(msgspec.json.encode(line, enc_hook=str).decode())


class TextLines(logging.Formatter):
    """One line for people: time, level, process, event, fields; a traceback follows on lines of its own."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        told = "".join(f" {name}={value}" for name, value in fields(record).items())
        event = _BREAKS.sub(" ", f"{record.getMessage()}{told}")
        line = f"{at} {record.levelname.lower():<7} {self.process}: {event}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)
