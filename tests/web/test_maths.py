from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.web.markdown import render
from moduai.web.maths import DEEPEST, LONGEST, TAGS, mathml

PIECES = st.sampled_from(
    [
        *r"x 2 + ^ _ { } & \\ \frac \sqrt \left( \right) < > \sum 한 \mathbf \not ' \tag{1}".split(),
        *r"\begin{matrix} \end{matrix} \begin{align*} \end{align*} \color{red} \text{&lt;i&gt;}".split(),
        *r"\text{<b>} \href{javascript:x} \style{a:b} \class{c}{d}".split(),
    ]
)


def test_formulas_are_drawn_and_carry_their_tex() -> None:
    html = render(r"Since \(x^2\) and $\frac{1}{2}$:" + "\n\n$$\n\\sum_{i=1}^n i\n$$")
    assert html.count("<math ") == 3
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert '<div class="scroll maths" tabindex="0"><math display="block"' in html
    assert "<munderover><mo>∑</mo>" in html
    assert r'alttext="\frac{1}{2}"' in html


@pytest.mark.parametrize("name", ["aligned", "align*", "split", "gathered", "cases", "pmatrix"])
def test_formulas_of_several_lines(name: str) -> None:
    html = mathml(rf"\begin{{{name}}}a&=b\\c&=d\end{{{name}}}", display=True)
    assert html
    assert html.count("<mtr>") == 2


@pytest.mark.parametrize(
    "text", ["It costs $5 and $10.", "$5-$10", "$100에서 $200까지", "가격은 $5, 값은 2조$다"]
)
def test_money_is_no_formula(text: str) -> None:
    assert render(text) == f"<p>{text}</p>\n"


@pytest.mark.parametrize(
    "tex", [r"\foo{x}", "x^", r"\frac{", "{" * 500, "x" * (LONGEST + 1), r"\begin{foo}a&b\end{foo}"]
)
def test_what_is_not_understood_stays_tex(tex: str) -> None:
    assert mathml(tex, display=False) is None
    assert render(f"\\({tex}\\)") in {
        f'<p><code class="tex">\\({tex.replace("&", "&amp;")}\\)</code></p>\n',
        f"<p>({tex})</p>\n",  # too long to be looked for
    }


def test_an_open_formula_ends_with_its_block() -> None:
    assert "<p>after</p>" in render("$$\nx\n\nafter")


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_nothing_but_the_allow_list_comes_out(tex: str) -> None:
    html = mathml(tex, display=True) or ""
    assert set(re.findall(r"<([a-zA-Z0-9]+)", html)) <= TAGS
    outside = re.sub(r'alttext="[^"]*"', "", html)
    assert not re.search(r"<[^>]*\s(href|style|class|mathcolor|on\w+)=", outside)
    assert "javascript" not in outside


def test_depth_and_length_are_bounded() -> None:
    assert mathml("{" * (DEEPEST + 1) + "x" + "}" * (DEEPEST + 1), display=True) is None
    began = time.process_time()
    mathml("x" * LONGEST, display=True)
    assert time.process_time() - began < 1
