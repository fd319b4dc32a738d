"""Keeping the catalogues: which texts code and templates hold. Used by tests and by translators.

``python -m moduai.web.catalogue`` brings every ``messages.po`` up to date with the texts there are.
"""

from __future__ import annotations

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from moduai.web.language import LOCALES

_METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2.ext:babel_extract")]
_OPTIONS = {"**/templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true"}}


def texts() -> Catalog:
    """Every text of the package as a catalogue without translations."""
    catalog = Catalog(project="moduai", charset="utf-8", fuzzy=False)
    for file, line, message, comments, context in extract_from_dir(
        LOCALES.parent, method_map=_METHODS, options_map=_OPTIONS
    ):
        catalog.add(message, None, [(file, line)], auto_comments=comments, context=context)
    return catalog


def files() -> list[Path]:
    """The catalogues there are."""
    return sorted(LOCALES.glob("*/LC_MESSAGES/messages.po"))


def read(file: Path) -> Catalog:
    """One catalogue."""
    with file.open("rb") as source:
        return read_po(source, locale=file.parts[-3])


def update() -> None:
    """Add new texts (empty) and drop the ones that are gone."""
    template = texts()
    for file in files():
        catalog = read(file)
        catalog.update(template, no_fuzzy_matching=True)
        catalog.obsolete.clear()
        with file.open("wb") as target:
            write_po(target, catalog, width=110, sort_output=True, no_location=True)


if __name__ == "__main__":
    update()
