"""Formulas in Markdown: where they stand, as rules of the parser. What they mean is read by ``maths``."""

from __future__ import annotations

from html import escape

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from moduai.web import maths
from moduai.web.emphasis import CJK

PAIRS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
"""What a formula opens and closes with, the longer first."""
_INTERRUPTS = ["paragraph", "reference", "blockquote", "list"]


def block(md: MarkdownIt) -> None:
    """Let the parser see formulas on lines of their own."""
    md.block.ruler.before("fence", "formula", _block, {"alt": _INTERRUPTS})
    md.add_render_rule("formula_block", lambda _, tokens, index, *__: _shown(tokens[index]))


def inline(md: MarkdownIt) -> None:
    """Let the parser see formulas in lines."""
    md.inline.ruler.before("escape", "formula", _inline)
    md.add_render_rule("formula_inline", lambda _, tokens, index, *__: _shown(tokens[index]))


def _block(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    r"""A formula on lines of its own, between ``$$`` or ``\[`` and ``\]``.

    Whether one begins is seen on the line itself, and a blank line ends it in any case: so a growing text
    is cut into the same blocks as the whole one.
    """
    if state.is_code_block(line):
        return False
    first = _line(state, line)
    opening = first[:2]
    closing = PAIRS.get(opening, "")
    if len(opening) < 2 or not closing or opening == "\\(":
        return False
    whole = _closed_at(first[2:], closing)
    if whole is False:
        return False
    if silent:
        return True
    lines, at, closed = [first[2:]], line + 1, whole is True
    while not closed and at < end and not state.isEmpty(at) and state.sCount[at] >= state.blkIndent:
        text = _line(state, at)
        lines.append(text)
        at += 1
        closed = text.rstrip().endswith(closing)
    token = state.push("formula_block", "", 0)
    token.content, token.markup, token.map = "\n".join(lines), opening, [line, at]
    if closed:
        token.content = token.content.rstrip().removesuffix(closing)
    token.meta["closed"] = closed
    state.line = at
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _closed_at(rest: str, closing: str) -> bool | None:
    """True: the formula ends with the line. None: it goes on below. False: it ends in mid-line."""
    found = rest.find(closing)
    if found < 0:
        return None
    return found > 0 and not rest[found + len(closing) :].strip()


def _inline(state: StateInline, silent: bool) -> bool:
    r"""A formula in a line: ``\(x\)``, ``\[x\]``, ``$$x$$``, or ``$x$`` where that cannot be money."""
    start = state.pos
    if state.src[start] not in "$\\":
        return False
    opening = next((o for o in PAIRS if state.src.startswith(o, start)), "")
    if not opening:
        return False
    closing, inside = PAIRS[opening], start + len(opening)
    limit = min(state.posMax, inside + maths.LONGEST + len(closing))
    until = state.src.find(closing, inside, limit)
    while until > 0 and state.src[until - 1] == "\\" and closing[0] == "$":
        until = state.src.find(closing, until + 1, limit)
    content = state.src[inside:until]
    if (
        until < 0
        or not content.strip()
        or (opening == "$" and not _no_money(content, state.src[until + 1 :][:1]))
    ):
        return False
    if not silent:
        token = state.push("formula_inline", "", 0)
        token.content, token.markup = content, opening
    state.pos = until + len(closing)
    return True


def _no_money(content: str, after: str) -> bool:
    """Whether what stands between two dollar signs is meant as a formula."""
    if content[0].isspace() or content[-1].isspace() or after.isdigit():
        return False
    return "\\" in content or not CJK.search(content)


def _shown(token: Token) -> str:
    display, inner = token.markup in {"$$", "\\["}, None
    if token.meta.get("closed", True):
        inner = maths.mathml(token.content, display=display)
    if inner is None:
        closing = PAIRS[token.markup] if token.meta.get("closed", True) else ""
        inner = f'<code class="tex">{escape(token.markup + token.content + closing, quote=False)}</code>'
    if token.type == "formula_inline":
        return inner
    return f'<div class="scroll maths" tabindex="0">{inner}</div>\n'
