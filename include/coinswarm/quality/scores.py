"""The quality score of a batch: a weighted geometric mean of measured dimensions (ISO/IEC 25012), versioned.

    Q = prod(d ** w) ** (1 / sum(w))    over the dimensions d that could be measured

so that one dimension at zero makes the score zero. If completeness cannot be measured, nobody can verify that the batch
is all there, and the score is at most 0.5. A refused batch scores 0. No dimension is ever assumed to be 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal

from coinswarm.errors import UserError

# Raise it with any change to a dimension, a weight or the cap.
SCORE_VERSION = 1
WEIGHTS = {"completeness": 0.30, "timeliness": 0.15, "validity": 0.25, "consistency": 0.20, "uniqueness": 0.10}
UNVERIFIABLE_CAP = 0.5
_DIGITS = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Each in [0, 1], None if it could not be measured.

    `completeness`: expected slots that came; `timeliness`: allowed delay over actual delay; `validity`: rows that were
    not quarantined; `consistency`: published rows without a warning; `uniqueness`: distinct keys per row.
    """

    completeness: float | None
    timeliness: float | None
    validity: float | None
    consistency: float | None
    uniqueness: float | None

    def __post_init__(self) -> None:
        for dimension in fields(self):
            value = getattr(self, dimension.name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"{dimension.name} is a share in [0, 1], not {value}")

    def stored(self) -> dict[str, Decimal | None]:
        """The dimensions as exact decimals of six places."""
        return {
            dimension.name: None if (value := getattr(self, dimension.name)) is None else _rounded(value)
            for dimension in fields(self)
        }


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts of one gate run. `expected` is None if no calendar says how many rows there should be.

    `rows` and `warned` are about the rows that stayed, `quarantined` about those of all stages; `delay` is how long
    after its window the batch was read, None if it was not scheduled.
    """

    rows: int
    distinct_keys: int
    warned: int
    quarantined: int
    expected: int | None
    missing: int
    delay: timedelta | None
    allowed_delay: timedelta


def dimensions_of(measures: Measures) -> Dimensions:
    """The dimensions that follow from the counts; without any row only completeness and validity have a meaning."""
    rows, handled = measures.rows, measures.rows + measures.quarantined
    completeness = None
    if measures.expected is not None:
        completeness = 1 - measures.missing / measures.expected if measures.expected else 1.0
    timeliness = None
    if measures.delay is not None:
        late = measures.delay > measures.allowed_delay
        timeliness = measures.allowed_delay / measures.delay if late else 1.0
    return Dimensions(
        completeness=completeness,
        timeliness=timeliness,
        validity=rows / handled if handled else None,
        consistency=1 - measures.warned / rows if rows else None,
        uniqueness=measures.distinct_keys / rows if rows else None,
    )


def score(dimensions: Dimensions, *, suspect: bool = False) -> Decimal:
    """The score in [0, 1], six decimal places; 0 for a suspect batch or one of which nothing could be measured."""
    known = [(value, WEIGHTS[d.name]) for d in fields(dimensions) if (value := getattr(dimensions, d.name)) is not None]
    if suspect or not known or any(value == 0 for value, _ in known):
        return _rounded(0)
    total = sum(weight for _, weight in known)
    result = math.exp(sum(weight * math.log(value) for value, weight in known) / total)
    if dimensions.completeness is None:
        result = min(result, UNVERIFIABLE_CAP)
    return _rounded(result)


def _rounded(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(_DIGITS)
