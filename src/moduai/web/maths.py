"""Formulas in TeX to MathML, which browsers draw and screen readers read.

The library that reads TeX writes markup unescaped, so its text is never used: its tree is walked, and
only the elements and attributes named here are written, escaped (fails closed). What it cannot read, or
reads in part, is shown as the TeX that the model wrote.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from html import escape, unescape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

LONGEST = 1_000
"""Characters of one formula; a longer one is shown as TeX."""
DEEPEST = 40
"""Elements inside each other."""
TAGS = frozenset(
    {
        *("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mstyle", "mphantom", "menclose"),
        *("mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover"),
        *("mtable", "mtr", "mtd", "mmultiscripts", "mprescripts", "none"),
    }
)
ATTRIBUTES: dict[str, frozenset[str]] = {
    "math": frozenset({"display", "alttext"}),
    "mo": frozenset({"stretchy", "fence", "form", "accent", "minsize", "maxsize"}),
    "mi": frozenset({"mathvariant"}),
    "mspace": frozenset({"width"}),
    "mstyle": frozenset({"displaystyle", "scriptlevel"}),
    "mfrac": frozenset({"linethickness"}),
    "mover": frozenset({"accent"}),
    "mtd": frozenset({"columnalign"}),
    "mtable": frozenset({"displaystyle"}),
}
_VALUE = re.compile(r"[A-Za-z0-9.+-]{1,24}")
_ALIASES = (
    (re.compile(r"\\(begin|end)\{(?:aligned|align|split|eqnarray)\*?\}"), r"\\\1{align*}"),
    (re.compile(r"\\(begin|end)\{gather(?:ed)?\*?\}"), r"\\\1{matrix}"),
    (re.compile(r"\\(?:begin|end)\{equation\*?\}|\\(?:nonumber|notag)\b|\\label\{[^{}]*\}"), ""),
)
_LIMITS = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
_WITH_LIMITS = frozenset({"∑", "∏", "∐", "⋃", "⋂", "lim", "max", "min", "sup", "inf", "argmax", "argmin"})


class _Reader(NamedTuple):
    """The library, loaded with the first formula: 10 MB that most workers never need."""

    read: Callable[..., Element]
    errors: tuple[type[Exception], ...]


class _NotReadError(ValueError):
    """The tree holds something that is not understood."""


def mathml(source: str, *, display: bool) -> str | None:
    """The formula as MathML, or None where it is better shown as TeX."""
    source = source.strip()
    if not source or len(source) > LONGEST:
        return None
    reader, tex = _reader(), source
    for pattern, replacement in _ALIASES:
        tex = pattern.sub(replacement, tex)
    try:
        tree = reader.read(tex, display="block" if display else "inline")
        inner = "".join(_written(child, 1, display=display) for child in tree)
    except reader.errors:
        return None
    kind = "block" if display else "inline"
    return f'<math display="{kind}" alttext="{escape(source)}">{inner}</math>'


@cache
def _reader() -> _Reader:
    from latex2mathml import converter, exceptions  # noqa: PLC0415 (memory, see above)

    own = (e for e in vars(exceptions).values() if isinstance(e, type) and issubclass(e, Exception))
    bad_input = (LookupError, ValueError, TypeError, AttributeError, RecursionError)
    return _Reader(converter.convert_to_element, (*own, *bad_input, _NotReadError))


def _written(element: Element, depth: int, *, display: bool) -> str:
    """One element and all below it. Raises _NotReadError for what is not on the list."""
    tag, text = element.tag, unescape(element.text or "").strip("\n")
    if tag == "mpadded":
        tag = "mrow"
    if tag not in TAGS or tag == "math" or text.startswith("\\") or (tag == "mi" and text == "&"):
        raise _NotReadError(tag)
    if element.get("linebreak") or depth > DEEPEST:
        raise _NotReadError(tag)
    if tag == "mi" and len(text) == 1 and unicodedata.category(text) == "Sm":
        tag = "mo"
    if display and tag in _LIMITS and unescape(element[0].text or "") in _WITH_LIMITS:
        tag = _LIMITS[tag]
    allowed = ATTRIBUTES.get(tag, frozenset())
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in allowed and _VALUE.fullmatch(value)
    )
    inner = escape(text, quote=False) + "".join(
        _written(child, depth + 1, display=display) for child in element
    )
    return f"<{tag}{attributes}>{inner}</{tag}>"
