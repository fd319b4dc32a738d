from __future__ import annotations

import re
import time

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.web import markdown
from moduai.web.markdown import Stream, render, split

PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            "\n\n\n",
            "    ",
            "\t",
            " ",
            "a",
            "글",
            "**",
            "*",
            "_",
            "`",
            "```",
            "```py\n",
            "~~~",
            "> ",
        ),
        *(
            "- ",
            "1. ",
            "2) ",
            "# ",
            "#",
            "---",
            "===",
            "\n-",
            "|",
            "a|b\n",
            "--|--\n",
            "|-|\n",
            "[a](b)",
            "[a]: b\n",
        ),
        *(
            "<b>",
            "<!--",
            "<div>\n",
            "&amp;",
            "\\",
            "![x](y)",
            "~~",
            "\r\n",
            "\r",
            "\0",
            "+ x\n",
            "\u2028",
            "\x0b",
        ),
        *(
            "http://x.kr",
            "Setext\n",
            "$$",
            "$",
            "$$\n",
            "$x$",
            "\\(",
            "\\)",
            "\\[",
            "\\]\n",
            "x^",
            "(",
            ")",
            "!",
            "**모두(Modu)**는",
            "\x0c",
            "\x85",
            "  \n",
            "- \n",
            "* * *\n",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200)


def grown(text: str, sizes: list[int]) -> str:
    """The text fed in pieces, with a look after each; checks what a page relies on."""
    stream, shown, finished, at = Stream(), {}, set(), 0
    for size in [*sizes, len(text) + 1]:
        stream.feed(text[at : at + size])
        at += size
        for block in stream.blocks(end=at > len(text)):
            assert block.index not in finished, "a finished block was sent again"
            assert block.index <= len(shown), "a block was left out"
            shown[block.index] = block.html
            if block.finished:
                finished.add(block.index)
    assert finished == set(shown)
    return "".join(shown[index] for index in sorted(shown))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(1, 9), max_size=60))
def test_a_grown_answer_equals_the_whole(text: str, sizes: list[int]) -> None:
    assert grown(text, sizes) == render(text)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_blocks_apart_equal_markdown_as_a_whole(text: str) -> None:
    text = markdown._clean_text(text)
    whole = markdown._cleaner().clean(markdown._renderer().render(text))
    assert re.sub(r"\n+", "\n", render(text)) == re.sub(r"\n+", "\n", whole)
    assert "".join(split(text)) in {text, ""}


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_nothing_but_the_allow_list_comes_out(text: str) -> None:
    html = render(text)
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= markdown._TAGS
    assert not re.search(r"<[^>]*\s(on\w+|style|id|src)=", html)
    assert nh3.clean(html, tags=set()) is not None


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt&colon;alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "![x](javascript:alert(1))",
        "<a href='javascript:alert(1)'>x</a>",
        "```html\n<script>alert(1)</script>\n```",
        '```"onmouseover=alert(1)\nx\n```',
        "[x](https://a.kr \"t' onclick='alert(1)\")",
        "<svg/onload=alert(1)>",
        "\x00<script\x00>alert(1)</script>",
        "| <script> |\n|---|\n| <iframe src=x> |",
    ],
)
def test_attacks_stay_text(attack: str) -> None:
    html = render(attack)
    tags = re.findall(r"<[^>]+>", html)
    assert not [
        t for t in tags if re.search(r"script|iframe|svg|img|\son\w+\s*=|javascript:|data:", t, re.IGNORECASE)
    ], html


def test_korean_emphasis_beside_punctuation() -> None:
    assert "<strong>모두(Modu)</strong>는" in render("**모두(Modu)**는 있다")
    assert "<strong>“인용”</strong>이다" in render("이것은**“인용”**이다")
    assert render("2 * 3 * 4") == "<p>2 * 3 * 4</p>\n"


def test_images_become_links_and_links_open_apart() -> None:
    html = render("![그림](https://a.kr/b.png) [글](https://a.kr)")
    assert "<img" not in html
    assert html.count('target="_blank" rel="noopener noreferrer nofollow"') == 2


def test_code_has_colours_and_its_language() -> None:
    html = render("```python\nreturn 1\n```")
    assert '<pre data-language="python" tabindex="0">' in html
    assert '<span class="k">return</span>' in html
    assert "<span" not in render("```nosuchlanguage\nreturn 1\n```")


def test_tables_scroll_and_align_without_inline_style() -> None:
    html = render("|a|b|\n|--|--:|\n|1|2|")
    assert html.startswith('<div class="scroll" tabindex="0"><table>')
    assert '<td class="right">2</td>' in html
    assert "style" not in html


def test_headings_stand_below_those_of_the_page() -> None:
    assert render("# a\n\n###### b") == "<h3>a</h3>\n<h6>b</h6>\n"


@pytest.mark.parametrize("unit", ["[", "**a", "`", "> ", "![", "- ", "<", "|a", "\\", "_a*"])
def test_large_and_strange_input_takes_bounded_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    began = time.process_time()
    render(text)
    assert time.process_time() - began < 8
