"""Pages of HTML: the main part's headings, paragraphs, lists and tables as text.

The parser's time grows with the depth of what is open, so a file that nests or leaves open too much is refused
before it is parsed, by counting. Scripts, styles, forms, navigation and what is hidden are not text. The main
part is ``main`` or the only ``article``; else the body without its head, foot and sides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline, row
from moduai.knowledge.readers.text import address, decoded, language, without
from moduai.knowledge.types import Facts, Parsed, ReadError

OPEN = 5
"""How many times ``Limits.depth`` tags may be open at once: careless pages leave some open."""

_TAGS = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_NEVER_OPEN = frozenset(
    "area base br col embed hr img input link meta param source track wbr p li dd dt tr td th option".split()
)
_PASSED = frozenset(
    "script style noscript template svg math iframe object canvas audio video form button select textarea nav aside "
    "head footer dialog menu".split()
)
_ROLES = frozenset("navigation banner contentinfo search complementary menu".split())
_BLOCKS = frozenset(
    "address article blockquote body caption dd details div dl dt fieldset figcaption figure header hr li main ol p pre "
    "section summary table tbody thead tfoot tr ul".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


def looks_like_it(text: str) -> bool:
    """Whether the text begins as a page does."""
    return bool(
        re.match(
            r"\s*(?:<\?xml[^<>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*){0,5}<(?:!doctype\s+html|html|head|body)\b",
            text,
            re.IGNORECASE | re.DOTALL,
        )
    )


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """A page from the bytes of its file."""
    source = decoded(data, limits)
    for opening, closing in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
        source = without(source, opening, closing)
    _check(source, limits)
    tree = LexborHTMLParser(source)
    page = _Page(limits)
    for node, entered in _walk(_main(tree), limits):
        page.enter(node) if entered else page.leave(node)
    page.flush()
    return page.outline.parsed(_facts(tree, page.title, source))


def _check(source: str, limits: Limits) -> None:
    """Refuses what would keep the parser busy. Fails closed."""
    still: Counter[str] = Counter()
    running = count = 0
    for tag in _TAGS.finditer(source):
        count += 1
        name = tag[2].lower()
        if not tag[1] and name not in _NEVER_OPEN:
            still[name] += 1
            running += 1
        elif tag[1] and still[name]:
            still[name] -= 1
            running -= 1
        if running > limits.depth * OPEN:
            raise ReadError("too_deep", f"The page leaves more than {limits.depth * OPEN} elements open.")
    if count > limits.elements:
        raise ReadError("too_large", f"The page has more than {limits.elements:,} tags.")


def _main(tree: LexborHTMLParser) -> LexborNode | None:
    for selector in ("main", "[role=main]", "article"):
        found = tree.css(selector)
        if len(found) == 1 and found[0].text(strip=True):
            return found[0]
    return tree.body


def _walk(top: LexborNode | None, limits: Limits) -> Iterator[tuple[LexborNode, bool]]:
    """Each element and text below ``top``: entered, and left; what is no text for people is passed over."""
    node, depth = (top.child if top else None), 1
    while node is not None:
        passed = _passed(node)
        if not passed:
            yield node, True
        below = None if passed else node.child
        if below is not None:
            node, depth = below, depth + 1
            if depth > limits.depth * OPEN:
                raise ReadError("too_deep", f"The page nests more than {limits.depth * OPEN} elements.")
            continue
        if not passed:
            yield node, False
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
            if node is None or depth == 0:
                return
            yield node, False
        node = node.next if node else None


def _passed(node: LexborNode) -> bool:
    if node.is_text_node:
        return False
    tag = node.tag or ""
    if tag in _PASSED or not tag[:1].isalpha():
        return True
    attributes = node.attributes
    if tag == "header" and node.parent is not None and node.parent.tag == "body":
        return True
    hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    unseen = re.search(
        r"display:none|visibility:hidden", "".join((attributes.get("style") or "").lower().split())
    )
    return bool(hidden or unseen or attributes.get("role") in _ROLES)


class _Page:
    """Elements in, blocks out."""

    def __init__(self, limits: Limits) -> None:
        self.outline = Outline(limits)
        self.title = ""
        self._limits = limits
        self._words: list[str] = []
        self._lines: list[str] = []
        self._cells: list[str] = []
        self._count = 0
        self._cell: LexborNode | None = None
        self._pre = 0

    def enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if node.is_text_node:
            words = node.text_content or ""
            self._words.append(words if self._pre else re.sub(r"\s+", " ", words))
        elif self._cell is not None:
            self._words.append(" ")
        elif tag in {"td", "th"}:
            self._take()
            self._cell = node
        elif tag == "br":
            self._take()
        elif tag in _HEADINGS or tag in _BLOCKS:
            self._take()
            if tag not in {"li", "tr", "dt", "dd"}:
                self.flush()
            self._words.extend(["- "] * (tag == "li"))
            self._pre += tag == "pre"

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if self._cell is not None:
            if node == self._cell:
                self._cell = None
                self._cells.append("".join(self._words))
                self._words.clear()
                self._count += 1
                if self._count > self._limits.cells:
                    raise ReadError("too_large", f"The tables have more than {self._limits.cells:,} cells.")
        elif tag == "tr" and self._cells:
            self._lines.append(row(self._cells))
            self._cells.clear()
        elif tag in _HEADINGS:
            self._heading(_HEADINGS[tag])
        elif tag in _BLOCKS:
            self._take()
            self._pre -= tag == "pre"
            if tag not in {"li", "tr", "dt", "dd", "thead", "tbody", "tfoot"}:
                self.flush()

    def flush(self) -> None:
        """What was gathered is a block."""
        self._take()
        self.outline.add("\n".join(self._lines))
        self._lines.clear()

    def _take(self) -> None:
        words = "".join(self._words)
        self._words.clear()
        if words.strip(" \n\t-") or (words.strip() and not words.startswith("- ")):
            self._lines.append(words.rstrip() if self._pre else words.strip())

    def _heading(self, level: int) -> None:
        words = " ".join("".join(self._words).split())
        self._words.clear()
        if level == 1 and words and not self.title:
            self.title = words
            self.outline.title(words)
        else:
            self.outline.heading(level, words)


def _facts(tree: LexborHTMLParser, heading: str, source: str) -> Facts:
    def attribute(selector: str, name: str) -> str:
        found = tree.css_first(selector)
        return (found.attributes.get(name) or "").strip() if found is not None else ""

    head = tree.css_first("head > title")
    named = " ".join(head.text().split()) if head is not None else ""
    return Facts(
        title=heading or named,
        language=attribute("html", "lang")[:2].lower() or language(tree.body.text() if tree.body else source),
        address=address(attribute("link[rel=canonical]", "href")),
        licence=attribute("link[rel=license], a[rel=license]", "href"),
    )
