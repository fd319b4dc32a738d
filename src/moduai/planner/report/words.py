"""The report's own words, in English and Korean (``words.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources


@cache
def korean() -> Mapping[str, str]:
    """English to Korean; a test holds every text of the report against it."""
    file = resources.files("moduai.planner.report") / "words.toml"
    return tomllib.loads(file.read_text("utf-8"))


class Words:
    """Texts in one language; English is the text itself."""

    def __init__(self, language: str) -> None:
        self.language = "ko" if language.startswith("ko") else "en"

    def __call__(self, text: str, **values: object) -> str:
        """Raises KeyError for a text that has no translation."""
        said = korean()[text] if self.language == "ko" else text
        return said.format(**values) if values else said
