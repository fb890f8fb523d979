"""What PostgreSQL cannot hold is refused as a field, before it can break a batch."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import FieldError, Record, check

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "half \ud800"),
        ("title", "nul \x00"),
        ("assets", ["half \udfff"]),
        ("assets", ["nul \x00"]),
        ("assets", [float("nan")]),
        ("assets", [{1, 2}]),
        ("assets", ["x" * 200_000]),
    ],
)
def test_check_when_a_value_cannot_be_stored_then_names_the_field(field, value):
    values = {"article_id": "1", "url": "https://example.org", "assets": ["BTC"], field: value}
    with pytest.raises(FieldError, match=field):
        check(dataset_named("articles"), Record("global", datetime(2026, 1, 1, tzinfo=UTC), values), None)


def test_check_when_text_has_every_plane_then_accepts():
    values = {
        "article_id": "1",
        "url": "https://example.org",
        "assets": ["\U0001f600", "\\u0000x"[1:]],
        "title": "日本 😀",
    }
    check(dataset_named("articles"), Record("global", datetime(2026, 1, 1, tzinfo=UTC), values), None)
