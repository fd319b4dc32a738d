"""What holds of every document that is read, and of every refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moduai.knowledge.types import Parsed, ReadError


def held(parsed: Parsed) -> Parsed:
    """Passages stand in order within the text, each with words of its own."""
    at = 0
    for passage in parsed.passages:
        assert at <= passage.start < passage.end <= len(parsed.text)
        words = parsed.text[passage.start : passage.end]
        assert words == words.strip()
        at = passage.end
    return parsed


def refused(code: str, read: Callable[[], Parsed]) -> str:
    """The reason."""
    with pytest.raises(ReadError) as refusal:
        read()
    assert refusal.value.code == code
    reason = str(refusal.value)
    assert reason[:1].isupper()
    assert reason.endswith(".")
    return reason
