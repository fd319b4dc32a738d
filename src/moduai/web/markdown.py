"""Markdown of answers to HTML that is safe to show, whole or while it grows.

Words: a *block* is one top-level piece of Markdown (a paragraph, a list, a table, a piece of code); a
block is *finished* once the next one has begun. Rule: what a model writes is never trusted. Raw HTML is
text, images become links, formulas MathML, and everything passes an allow-list (fails closed: what is
not listed goes).

Blocks are independent of each other (link reference definitions are off), so a growing answer can be
shown block by block and equals the rendering of the whole text when it is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from moduai.web import formulas, maths
from moduai.web.emphasis import emphasis

LARGEST_BLOCK = 50_000
"""Characters; a larger block is shown as plain text."""
LARGEST_CODE = 20_000
"""Characters; longer code is shown without colours."""

_ABSOLUTE = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z0-9+#.-]{1,20}")
_TAGS = {
    *maths.TAGS,
    *("p", "br", "hr", "div", "span", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li"),
    *("a", "em", "strong", "s", "del", "code", "pre"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),  # the library's own default lets title and lang through
    "a": {"href"},
    "ol": {"start"},
    "pre": {"data-language"},
    "div": {"tabindex"},
    **{tag: set(names) for tag, names in maths.ATTRIBUTES.items()},
}


@dataclass(frozen=True, slots=True)
class Block:
    """One block as HTML. An unfinished one is replaced by later ones of the same index."""

    index: int
    html: str
    finished: bool


class Stream:
    """Renders a growing text. Give it pieces with ``feed``, take what has changed with ``blocks``.

    ``copy``: what the button beside code says; empty: no button. ``sources``: links to our own stored
    documents are links; only for what the desk wrote, or a model could make up what looks like a citation.
    """

    def __init__(self, copy: str = "", *, sources: bool = False) -> None:
        self._copy, self._sources = copy, sources
        self._rest = ""
        self._index = 0
        self._sent = ""

    def feed(self, piece: str) -> None:
        """Add text as it comes; pieces may end anywhere."""
        self._rest += _clean_text(piece)

    def blocks(self, *, end: bool = False) -> list[Block]:
        """Blocks finished since the last call, then the growing one if it looks different now.

        Only whole lines can finish a block: half a line may still become anything.
        """
        done: list[str] = []
        lines = self._rest if end else self._rest[: self._rest.rfind("\n") + 1]
        parts = list(split(lines))
        finished = parts if end else parts[:-1]
        for part in finished:
            done.append(render_block(part, self._copy, sources=self._sources))
            self._rest = self._rest[len(part) :]
        changed = [Block(self._index + n, html, finished=True) for n, html in enumerate(done)]
        self._index += len(done)
        growing = "" if end else render(self._rest, self._copy, sources=self._sources)
        if done:
            self._sent = ""
        if growing and growing != self._sent:
            changed.append(Block(self._index, growing, finished=False))
            self._sent = growing
        return changed


def render(text: str, copy: str = "", *, sources: bool = False) -> str:
    """The whole text as safe HTML; ``copy`` and ``sources`` as for Stream."""
    return "".join(render_block(part, copy, sources=sources) for part in split(_clean_text(text)))


def split(text: str) -> Iterator[str]:
    """The source of each block. Blank lines belong to the block before; joined they are the text."""
    lines = _lines(text)
    starts = [t.map[0] for t in _splitter().parse(text) if t.level == 0 and t.nesting >= 0 and t.map]
    if not starts:
        return
    for begin, end in zip([0, *starts[1:]], [*starts[1:], len(lines)], strict=True):
        yield "".join(lines[begin:end])


def render_block(source: str, copy: str = "", *, sources: bool = False) -> str:
    """One block's source as safe HTML."""
    if len(source) > LARGEST_BLOCK:
        return f"<p>{escape(source, quote=False)}</p>\n"
    return _with_buttons(_cleaner(sources=sources).clean(_renderer().render(source)), copy)


def _with_buttons(html: str, copy: str) -> str:
    """Code with a button to copy it. Text that came in is escaped: ``<pre`` can only be our own tag."""
    if not copy or "<pre" not in html:
        return html
    button = f'<button type="button" class="js" data-do="code">{escape(copy)}</button>'
    return html.replace("<pre", f'<div class="code">{button}<pre').replace("</pre>", "</pre></div>")


def _lines(text: str) -> list[str]:
    """Lines as Markdown counts them: only a line feed ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [text.rsplit("\n", 1)[-1]]


def _clean_text(text: str) -> str:
    """Line feeds only, and no NUL: half a CR LF then cannot matter."""
    return text.replace("\r", "").replace("\0", "\ufffd")


@cache
def _splitter() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["reference", "inline"])
    formulas.block(md)
    return md


@cache
def _renderer() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "highlight": _code})
    md.enable(["table", "strikethrough"]).disable("reference")
    formulas.block(md)
    formulas.inline(md)
    md.inline.ruler.before("emphasis", "emphasis_cjk", emphasis)
    md.core.ruler.push("page", _for_page)
    md.add_render_rule("code_block", lambda _, tokens, index, *__: _code(tokens[index].content))
    md.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    md.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return md


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Of addresses without a scheme only those of our stored documents. Fails closed."""
    relative = tag == "a" and name == "href" and not _ABSOLUTE.match(value)
    return None if relative and not value.startswith("/source/") else value


@cache
def _cleaner(*, sources: bool = False) -> nh3.Cleaner:
    # imported here and below because it costs memory: only once a page answers
    from pygments.token import STANDARD_TYPES  # type: ignore[import-untyped]  # noqa: PLC0415

    return nh3.Cleaner(
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes={
            "span": {name for name in STANDARD_TYPES.values() if name},
            "div": {"scroll", "maths"},
            "code": {"tex"},
            "td": {"right", "center"},
            "th": {"right", "center"},
        },
        set_tag_attribute_values={"a": {"target": "_blank"}, "pre": {"tabindex": "0"}},
        url_schemes={"http", "https", "mailto"},
        url_relative="pass_through" if sources else "deny",
        attribute_filter=_attribute if sources else None,
        link_rel="noopener noreferrer nofollow",
    )


def _for_page(state: StateCore) -> None:
    """Fit tokens to the page: headings below its own, images as links, alignment as classes."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        elif token.type in {"td_open", "th_open"}:
            align = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if align in {"right", "center"}:
                token.attrs["class"] = align
        elif token.children:
            token.children = [new for child in token.children for new in _linked(child)]


def _linked(token: Token) -> list[Token]:
    """An image would be fetched from elsewhere, and tell there who reads: show a link instead."""
    if token.type != "image":
        return [token]
    text = Token("text", "", 0, content=token.content or str(token.attrs.get("src", "")))
    opening = Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
    return [opening, text, Token("link_close", "a", -1)]


def _code(code: str, language: str = "", _attributes: str = "") -> str:
    label = f' data-language="{escape(language)}"' if _LANGUAGE.fullmatch(language) else ""
    return f"<pre{label}><code>{_coloured(code, language)}</code></pre>"


def _coloured(code: str, language: str) -> str:
    if not language or len(code) > LARGEST_CODE:
        return escape(code, quote=False)
    from pygments import highlight  # type: ignore[import-untyped]  # noqa: PLC0415
    from pygments.formatters.html import HtmlFormatter  # type: ignore[import-untyped]  # noqa: PLC0415
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]  # noqa: PLC0415
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code, quote=False)
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))
