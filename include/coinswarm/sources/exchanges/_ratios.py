"""The averaging period of long/short ratios, which rows do not carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from coinswarm.datasets.records import FieldError
from coinswarm.errors import UserError
from coinswarm.sources.spec import Request

PERIODS = {
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}
_SPELLED = {"5min": "5m", "15min": "15m", "30min": "30m", "1H": "1h", "4H": "4h", "1D": "1d"}


def period_of(rows: Iterable[Any], request: Request, moment: Callable[[Any], datetime]) -> str:
    """Period by the request's parameters, its timeframe, or the distance of the rows.

    Raises:
        UserError: none of them tells.
    """
    asked = str(request.params.get("period") or request.timeframe)
    if asked:
        return _SPELLED.get(asked, asked)
    moments = set()
    for row in rows:
        try:
            moments.add(moment(row))
        except FieldError:
            continue  # rejected with its reason when the row is built
    closest = min((after - before for before, after in pairwise(sorted(moments))), default=None)
    for name, length in PERIODS.items():
        if length == closest:
            return name
    if not moments:
        return ""
    raise UserError(f"{request.source}/{request.dataset}: say which period the ratios are (--timeframe)")
