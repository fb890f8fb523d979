"""The written formula against numbers worked out apart from the code (30-digit decimals)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from coinswarm.errors import UserError
from coinswarm.quality.scores import WEIGHTS, Dimensions, Measures, dimensions_of, score

pytestmark = pytest.mark.unit

PERFECT = Dimensions(1.0, 1.0, 1.0, 1.0, 1.0)
MEASURES = Measures(
    rows=80,
    distinct_keys=76,
    warned=4,
    quarantined=20,
    expected=100,
    missing=10,
    delay=timedelta(minutes=1),
    allowed_delay=timedelta(minutes=30),
)


def test_weights_sum_to_one() -> None:
    assert sum(Decimal(str(weight)) for weight in WEIGHTS.values()) == 1


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        (PERFECT, "1.000000"),
        # 0.9^0.30 * 0.8^0.25
        (replace(PERFECT, completeness=0.9, validity=0.8), "0.916316"),
        # 0.25^(0.30/0.85) * 0.9^(0.25/0.85): the weight of what was not measured goes to the rest
        (replace(PERFECT, completeness=0.25, timeliness=None, validity=0.9), "0.594361"),
        # 0.5^0.15
        (replace(PERFECT, timeliness=0.5), "0.901250"),
        (replace(PERFECT, uniqueness=0.0), "0.000000"),
    ],
)
def test_score_with_known_dimensions_is_the_geometric_mean(dimensions: Dimensions, expected: str) -> None:
    assert score(dimensions) == Decimal(expected)


def test_score_without_completeness_is_capped_at_one_half() -> None:
    assert score(replace(PERFECT, completeness=None)) == Decimal("0.500000")


def test_score_without_completeness_is_not_raised_to_the_cap() -> None:
    # 0.1^(0.25/0.70)
    assert score(replace(PERFECT, completeness=None, validity=0.1)) == Decimal("0.439397")


def test_score_of_a_suspect_batch_is_zero() -> None:
    assert score(PERFECT, suspect=True) == 0


def test_score_of_nothing_measured_is_zero() -> None:
    assert score(Dimensions(None, None, None, None, None)) == 0


def test_dimensions_follow_from_counts() -> None:
    assert dimensions_of(MEASURES) == Dimensions(
        completeness=0.9, timeliness=1.0, validity=0.8, consistency=0.95, uniqueness=0.95
    )


def test_timeliness_of_a_late_batch_is_allowed_over_actual_delay() -> None:
    assert dimensions_of(replace(MEASURES, delay=timedelta(hours=2))).timeliness == 0.25


def test_dimensions_that_nobody_measured_are_unknown_not_one() -> None:
    found = dimensions_of(replace(MEASURES, rows=0, quarantined=0, expected=None, delay=None))
    assert found == Dimensions(None, None, None, None, None)


def test_completeness_of_nothing_expected_is_complete() -> None:
    assert dimensions_of(replace(MEASURES, expected=0, missing=0)).completeness == 1.0


def test_dimension_outside_of_zero_to_one_is_refused() -> None:
    with pytest.raises(UserError, match="validity"):
        Dimensions(1.0, 1.0, 1.2, 1.0, 1.0)


def test_stored_dimensions_are_exact_decimals() -> None:
    stored = replace(PERFECT, completeness=1 / 3, timeliness=None).stored()
    assert stored["completeness"] == Decimal("0.333333")
    assert stored["timeliness"] is None
