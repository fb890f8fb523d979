"""Data Docs that need nothing from outside: Great Expectations' pages rewritten, and an index of our own.

Its pages load scripts, styles, fonts and a logo from seven hosts, and its index is a table that a script fills: on a
machine without internet they are blank, and on one with internet they tell those hosts who looks at our data.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

STYLES = "static/data_docs.css"
TITLE = "Coinswarm data quality"

# What a page may consist of. The rest keeps its text; whatever is in DROPPED goes with all that it contains.
KEPT = frozenset(("a", "br", "div", "h4", "h5", "h6", "li", "nav", "ol", "p", "span")).union(
    ("strong", "table", "tbody", "td", "th", "thead", "tr", "ul")
)
DROPPED = frozenset(("footer", "head", "label", "script", "style", "title"))
KEPT_ATTRIBUTES = frozenset(("class", "colspan", "id"))
BUTTONS = "card mb-3"
VOID = frozenset(("br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"))
# Great Expectations shows verdicts as letters of an icon font: words say the same without a font.
ICONS = {"text-success": ("passed", "passed"), "text-danger": ("failed", "failed"), "text-warning": ("error", "error")}
SEVERITIES = ("block", "warn")
# Words that it sets behind an icon.
REPEATED = frozenset(("Succeeded", "Failed"))


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the index: the latest verdict of a suite. `page` is relative to the site; no `score`: nothing to score.

    `rows` counts the batch's rows, those in quarantine included. `warnings` counts failed checks that do not block.
    """

    suite: str
    checked_at: datetime
    passed: bool
    score: Decimal | None
    rows: int
    quarantined: int
    warnings: int
    reasons: Sequence[str]
    page: str


def make_self_contained(site: Path, lines: Iterable[Line]) -> None:
    """Rewrite every page of a rendered site in place, replace its index and its static files.

    Afterwards a browser asks for nothing but the site's own files, and runs no script.

    Args:
        site: folder of a site that Great Expectations has rendered.
        lines: the index, in any order.
    """
    shutil.rmtree(site / "static", ignore_errors=True)
    for path in site.rglob("*.html"):
        up = "../" * len(path.relative_to(site).parent.parts)
        path.write_text(_page(rewritten(path.read_text(encoding="utf-8")), up), encoding="utf-8")
    (site / STYLES).parent.mkdir(parents=True)
    (site / STYLES).write_bytes(resources.files("coinswarm.quality").joinpath("data_docs.css").read_bytes())
    (site / "index.html").write_text(_page(index(lines), ""), encoding="utf-8")


def severity_mark(description: str, severity: str) -> str:
    """A check's description with its severity behind it, which `rewritten` turns into a badge."""
    return f"{description} [{severity}]"


def rewritten(html: str) -> str:
    """The body of a page, reduced to text, tables, lists and links inside of the site.

    Works by what is allowed, so that provider text in an example cannot bring in a tag either.
    """
    rewriter = _Rewriter()
    rewriter.feed(html)
    rewriter.close()
    return "".join(rewriter.out)


def index(lines: Iterable[Line]) -> str:
    """The index page's body: one table row per suite, by name."""
    lines = sorted(lines, key=lambda line: line.suite)
    refused = sum(not line.passed for line in lines)
    rows = (
        "\n".join(_row(line) for line in lines) or '<tr><td colspan="8">No batch went through the gate yet.</td></tr>'
    )
    return f"""<h4>{TITLE}</h4>
<p class="lead">The latest batch of each feed at the quality gate: {len(lines)} suites, {refused} refused.</p>
<table class="index">
<thead><tr><th>Suite</th><th>Checked (UTC)</th><th>Verdict</th><th class="number">Score</th>\
<th class="number">Rows</th><th class="number">Quarantined</th><th class="number">Warnings</th><th>Reasons</th>\
</tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _row(line: Line) -> str:
    verdict = _badge("passed", "passed") if line.passed else _badge("failed", "refused")
    return (
        f'<tr><td><a href="{escape(line.page)}">{escape(line.suite)}</a></td>'
        f"<td>{line.checked_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}</td>"
        f"<td>{verdict}</td>"
        f'<td class="number">{"" if line.score is None else line.score}</td>'
        f'<td class="number">{line.rows:,}</td><td class="number">{line.quarantined:,}</td>'
        f'<td class="number">{line.warnings:,}</td><td>{escape("; ".join(line.reasons))}</td></tr>'
    )


def _badge(style: str, word: str) -> str:
    return f'<span class="badge {style}">{word}</span>'


def _page(body: str, up: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<link rel="stylesheet" href="{up}{STYLES}">
</head>
<body>
{body}
</body>
</html>
"""


BADGES = frozenset(_badge(style, word) for style, word in ICONS.values())


class _Rewriter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if self._dropping:
            if tag == self._dropping[-1]:
                self._dropping.append(tag)
            return
        # A hidden header has no text; a link that unfolds, and buttons, need a script: all is shown at once.
        if (
            tag in DROPPED
            or "hidden" in given
            or given.get("data-toggle") == "collapse"
            or given.get("class") == BUTTONS
        ):
            if tag not in VOID:
                self._dropping.append(tag)
            return
        if tag == "i":
            self._icon(given.get("class") or "")
        if tag in KEPT:
            kept = "".join(f' {k}="{escape(v or "")}"' for k, v in attrs if self._is_kept(tag, k, v or ""))
            self.out.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if self._dropping:
            if tag == self._dropping[-1]:
                self._dropping.pop()
        elif tag in KEPT and tag not in VOID:
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        if data.strip() in REPEATED and self.out and self.out[-1] in BADGES:
            return
        text = escape(data)
        for severity in SEVERITIES:
            text = text.replace(f" [{severity}]", f" {_badge(severity, severity)}")
        self.out.append(text if text.strip() else "\n" if "\n" in text else text)

    def _icon(self, classes: str) -> None:
        for name, (style, word) in ICONS.items():
            if name in classes.split():
                self.out.append(_badge(style, word))

    @staticmethod
    def _is_kept(tag: str, name: str, value: str) -> bool:
        if tag == "a" and name == "href":
            return value.startswith(("#", "../"))
        return name in KEPT_ATTRIBUTES
