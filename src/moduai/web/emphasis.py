"""Emphasis as scripts without spaces around punctuation need it, as a rule of the Markdown parser."""

from __future__ import annotations

import re

from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

CJK = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]")
"""One letter of Korean, Chinese or Japanese."""


def emphasis(state: StateInline, silent: bool) -> bool:
    """``*`` beside Korean, Chinese or Japanese.

    CommonMark opens and closes emphasis by spaces around punctuation, which these scripts do not
    write: ``**모두(Modu)**는`` would stay as typed. A letter of theirs counts as a space here.
    """
    if silent or state.src[state.pos] != "*":
        return False
    start = state.pos
    run = state.scanDelims(start, True)
    before, after = state.src[start - 1 : start], state.src[start + run.length : start + run.length + 1]
    can_open = run.can_open or bool(CJK.match(before) and after and not after.isspace())
    can_close = run.can_close or bool(CJK.match(after) and before and not before.isspace())
    for _ in range(run.length):
        token = state.push("text", "", 0)
        token.content = "*"
        state.delimiters.append(
            Delimiter(ord("*"), run.length, len(state.tokens) - 1, -1, open=can_open, close=can_close)
        )
    state.pos += run.length
    return True
