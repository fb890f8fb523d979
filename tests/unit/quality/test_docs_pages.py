"""Rewriting of Great Expectations' pages: what may stay, and what cannot come in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.quality.docs_pages import rewritten, severity_mark

pytestmark = pytest.mark.unit


def test_rewritten_when_a_row_has_an_icon_and_a_severity_then_shows_words() -> None:
    row = f'<tr><td><i class="fas fa-times text-danger"></i></td><td>{severity_mark("It holds.", "warn")}</td></tr>'
    assert rewritten(row) == (
        '<tr><td><span class="badge failed">failed</span></td>'
        '<td>It holds. <span class="badge warn">warn</span></td></tr>'
    )


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ('<a href="../index.html" onclick="x()">Home</a>', '<a href="../index.html">Home</a>'),
        ('<a href="https://example.org/">news</a>', "<a>news</a>"),
        ('<a data-toggle="collapse" href="#more">Show more info...</a>rest', "rest"),
        ("<p>a<script>if (1 < 2) x()</script>b<style>p {}</style><img src=//x.test/y>c</p>", "<p>abc</p>"),
        ("<thead hidden><tr><th>no</th></tr></thead><td style='x' id=k>&lt;b&gt; &amp;</td>", None),
        ("<footer>subscribe</footer><svg onload=x()>t</svg>", "t"),
        ("<input hidden><p>after</p>", "<p>after</p>"),
    ],
)
def test_rewritten_when_a_page_wants_more_than_text_then_keeps_the_text(html: str, kept: str | None) -> None:
    assert rewritten(html) == (kept if kept is not None else '<td id="k">&lt;b&gt; &amp;</td>')


@given(
    st.lists(
        st.sampled_from(
            [
                "<",
                ">",
                "/",
                "script",
                "img",
                " src=",
                "'",
                '"',
                "http://x",
                "a",
                " href=",
                "=",
                " onx=",
                "&lt;",
                "<!--",
                "-->",
                "\n",
            ]
        ),
        max_size=30,
    )
)
def test_rewritten_when_given_anything_then_brings_in_no_other_tag_or_attribute(parts: list[str]) -> None:
    tags = re.findall(r"<[^>]*>", rewritten("".join(parts)))
    assert all(re.fullmatch(r'</?a>|<a href="(#|\.\./)[^"<>]*">', tag) for tag in tags), tags
