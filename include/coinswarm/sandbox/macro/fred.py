"""FRED: the keyless CSV of a series, and the API with vintages behind a key.

Each observation has a first release and, for monthly series, one revision a month later. Values and release moments
depend on the seed alone; what is shown depends on the clock, as a value appears with its release.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from coinswarm.sandbox.protocol import Call, NotRecorded, Refusal, Reply, Route, World, json_reply, text_reply
from coinswarm.sandbox.randomness import key, wave

CSV_HOST = "fred.stlouisfed.org"
API_HOST = "api.stlouisfed.org"
_DAY = timedelta(days=1)
_MAX_VINTAGES = 2000
_EPOCH = date(1970, 1, 1)
_FIRST = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class _Series:
    """`release`: days from the observation (monthly: from the month's end) to its release, at `at` UTC."""

    level: float
    swing: float
    digits: int
    monthly: bool
    release: int
    at: time
    revision: float = 0.0
    growth: float = 0.0
    weekends: bool = False


_SERIES = {
    "DGS10": _Series(4.15, 0.35, 2, False, 1, time(20, 16)),
    "DGS2": _Series(3.75, 0.4, 2, False, 1, time(20, 16)),
    "DFF": _Series(3.9, 0.05, 2, False, 1, time(14, 0), weekends=True),
    "DTWEXBGS": _Series(121.0, 2.5, 4, False, 4, time(20, 16)),
    "CPIAUCSL": _Series(322.0, 0.6, 3, True, 12, time(13, 31), revision=0.15, growth=0.026),
    "UNRATE": _Series(4.3, 0.25, 1, True, 5, time(13, 31), revision=0.1),
    "M2SL": _Series(22_200.0, 120.0, 1, True, 24, time(17, 1), revision=15.0, growth=0.045),
    "SP500": _Series(6_600.0, 320.0, 2, False, 0, time(22, 0), growth=0.09),
    "VIXCLS": _Series(18.0, 4.0, 2, False, 1, time(13, 37)),
}


@dataclass(frozen=True, slots=True)
class _Vintage:
    """A value from its release on, until the next vintage of the same observation. None: a holiday."""

    observed: date
    released: datetime
    value: float | None


def graph(call: Call, world: World) -> Reply:
    """`/graph/fredgraph.csv?id=&cosd=&coed=`: newest values, `.` where there is none."""
    name = call.query.get("id", "")
    series = _known(name, world)
    now = _now(world)
    newest = {
        v.observed: v for v in _vintages(name, series, world, *_span(call, "cosd", "coed", now)) if v.released <= now
    }
    lines = [f"observation_date,{name}", *(f"{day},{_shown(series, v.value)}" for day, v in sorted(newest.items()))]
    return text_reply("\n".join(lines) + "\n", content_type="application/csv")


def observations(call: Call, world: World) -> Reply:
    """`/fred/series/observations`: every vintage in the real-time period, cut to it."""
    if not call.query.get("api_key"):
        raise _bad_request("The value for variable api_key is not registered.")
    name = call.query.get("series_id", "")
    series = _known(name, world)
    now = _now(world)
    first, last = _span(call, "observation_start", "observation_end", now)
    since, until = _span(call, "realtime_start", "realtime_end", now, default=now.date())
    if until > now.date():
        raise _bad_request("realtime_end can not be after today's date.")
    all_vintages = [v for v in _vintages(name, series, world, first, last) if v.released <= now]
    if len({v.released.date() for v in all_vintages if since <= v.released.date() <= until}) > _MAX_VINTAGES:
        raise _bad_request(
            f"This exceeds the maximum number of vintage dates allowed for this file type ({_MAX_VINTAGES})."
        )
    rows = []
    for vintage, following in _with_next(all_vintages):
        ends = following.released.date() - _DAY if following else date.max
        begins = vintage.released.date()
        if begins <= until and ends >= since:
            rows.append(
                {
                    "realtime_start": max(begins, since).isoformat(),
                    "realtime_end": min(ends, until).isoformat(),
                    "date": vintage.observed.isoformat(),
                    "value": _shown(series, vintage.value),
                }
            )
    return json_reply(
        {
            "realtime_start": since.isoformat(),
            "realtime_end": until.isoformat(),
            "observation_start": first.isoformat(),
            "observation_end": last.isoformat(),
            "units": "lin",
            "output_type": 1,
            "file_type": "json",
            "order_by": "observation_date",
            "sort_order": "asc",
            "count": len(rows),
            "offset": 0,
            "limit": 100_000,
            "observations": rows,
        }
    )


def _known(name: str, world: World) -> _Series:
    if world.mode != "simulate":
        raise NotRecorded("the history has no economic series")
    try:
        return _SERIES[name]
    except KeyError:
        raise _bad_request("The series does not exist.") from None


def _bad_request(message: str) -> Refusal:
    return Refusal(json_reply({"error_code": 400, "error_message": f"Bad Request.  {message}"}, status=400))


def _now(world: World) -> datetime:
    return datetime.fromtimestamp(world.now() / 1000, UTC)


def _span(call: Call, start: str, end: str, now: datetime, default: date = _FIRST) -> tuple[date, date]:
    try:
        first = date.fromisoformat(call.query.get(start, default.isoformat()))
        last = date.fromisoformat(call.query.get(end, now.date().isoformat()))
    except ValueError:
        raise _bad_request(f"Value of {start} or {end} is not a YYYY-MM-DD formatted date string.") from None
    return first, last


def _vintages(name: str, series: _Series, world: World, first: date, last: date) -> Iterator[_Vintage]:
    day = max(first, _FIRST)
    while day <= min(last, _now(world).date()):
        if series.monthly:
            if day.day == 1:
                yield from _monthly(name, series, world, day)
        elif series.weekends or day.weekday() < 5:
            value = None if _is_holiday(day) and not series.weekends else _value(name, series, world, day)
            yield _Vintage(day, _release(series, day), value)
        day += _DAY


def _monthly(name: str, series: _Series, world: World, month: date) -> Iterator[_Vintage]:
    following = (month + timedelta(days=32)).replace(day=1)
    final = _value(name, series, world, month)
    index = np.array([(month - _EPOCH).days], dtype=np.int64)
    change = round(
        series.revision * float(wave(key(world.seed, "fred", name, "revision"), index, 30)[0]), series.digits
    )
    yield _Vintage(month, _release(series, following), round(final - change, series.digits))
    if change:
        later = (following + timedelta(days=32)).replace(day=1)
        yield _Vintage(month, _release(series, later), final)


def _release(series: _Series, day: date) -> datetime:
    released = day + timedelta(days=series.release)
    while released.weekday() >= 5:
        released += _DAY
    return datetime.combine(released, series.at, UTC)


def _value(name: str, series: _Series, world: World, day: date) -> float:
    index = np.array([(day - _EPOCH).days], dtype=np.int64)
    slow = float(wave(key(world.seed, "fred", name), index, 90)[0])
    fast = float(wave(key(world.seed, "fred", name, "day"), index, 3)[0])
    years = (day - date(2026, 1, 1)).days / 365.25
    level = series.level * float((1 + series.growth) ** years)
    return round(max(level + series.swing * (slow + 0.12 * fast), 0.05), series.digits)


def _is_holiday(day: date) -> bool:
    return (day.month, day.day) in {(1, 1), (7, 4), (12, 25)}


def _shown(series: _Series, value: float | None) -> str:
    return "." if value is None else f"{value:.{series.digits}f}"


def _with_next(vintages: list[_Vintage]) -> Iterator[tuple[_Vintage, _Vintage | None]]:
    for position, vintage in enumerate(vintages):
        following = vintages[position + 1] if position + 1 < len(vintages) else None
        yield vintage, following if following and following.observed == vintage.observed else None


ROUTES = (
    Route(CSV_HOST, "/graph/fredgraph.csv", graph),
    Route(API_HOST, "/fred/series/observations", observations),
)
