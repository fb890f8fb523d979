"""FRED: economic series of the St. Louis Fed. As CSV without a key, as JSON with every vintage with one.

Observations come late and are revised, so a request reaches `LOOKBACK` behind its window: the raw store keeps what is
new or changed. Without a key there are no vintages: `published_at` is null, and `available_at` is the observation's
date plus the series' usual delay (`SERIES`). With a key, `published_at` is the vintage (`realtime_start`, a date of US
Central time), and the value counts as available when that date is over there.

FRED cuts a vintage to the real-time period that was asked for. A row that carries the period's first day although its
observation is older is such a cut one: its true vintage is unknown, and `published_at` is null.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.parsers import expat

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.names import safe_name
from coinswarm.registry import Instrument
from coinswarm.sources.reading import MAX_BODY_BYTES, MAX_ROWS, decimal, each, iso_time, read_json, rows_of, violation
from coinswarm.sources.spec import ApiKey, Cadence, Feed, Request, SourceSpec
from coinswarm.timeframes import Window

CSV_HOST = "fred.stlouisfed.org"
API_HOST = "api.stlouisfed.org"
CSV_URL = f"https://{CSV_HOST}/graph/fredgraph.csv"
API_URL = f"https://{API_HOST}/fred/series/observations"
LOOKBACK = timedelta(days=400)
# The API answers for at most 2,000 vintages: with the look-back these are less than 1,100.
LONGEST_WINDOW = timedelta(days=1000)
# A vintage date has ended at 06:00 UTC of the next day everywhere in US Central time.
VINTAGE_OVER = timedelta(hours=30)
MAX_SERIES_PER_FILE = 100
_DATE_HEADERS = ("observation_date", "DATE", "Date", "date")


@dataclass(frozen=True, slots=True)
class Series:
    """A series that is collected; `delay` is how long after its date an observation is usually out."""

    title: str
    delay: timedelta


SERIES: dict[str, Series] = {
    "DGS10": Series("10-year Treasury yield, percent, daily", timedelta(days=4)),
    "DGS2": Series("2-year Treasury yield, percent, daily", timedelta(days=4)),
    "DFF": Series("Federal funds rate, percent, daily", timedelta(days=5)),
    "DTWEXBGS": Series("Broad dollar index, January 2006 = 100, daily (not DXY)", timedelta(days=11)),
    "CPIAUCSL": Series("Consumer prices, 1982-84 = 100, monthly", timedelta(days=50)),
    "UNRATE": Series("Unemployment, percent, monthly", timedelta(days=42)),
    "M2SL": Series("M2 money stock, billions of dollars, monthly", timedelta(days=62)),
    "SP500": Series("S&P 500, daily close", timedelta(days=2)),
    "VIXCLS": Series("CBOE volatility index, daily close", timedelta(days=2)),
}
_LONGEST_DELAY = timedelta(days=62)


def observation_requests(_: Instrument | None, window: Window) -> Iterator[Request]:
    """One keyless request per series and at most `LONGEST_WINDOW`; `with_key` turns it into the API's."""
    for part in window.slices(LONGEST_WINDOW):
        first, last = _reach(part.start, part.end)
        for series_id in SERIES:
            yield Request(
                source="fred",
                dataset="series_observations",
                endpoint=CSV_URL,
                params={"id": series_id, "cosd": first.isoformat(), "coed": last.isoformat()},
                venue_symbol=series_id,
                start=part.start,
                end=part.end,
            )


def with_key(request: Request) -> Request:
    """The same question to the API that needs a key, which answers with vintages."""
    if request.endpoint != CSV_URL or request.start is None or request.end is None:
        return request
    first, last = (moment.isoformat() for moment in _reach(request.start, request.end))
    params: dict[str, str | int] = {
        "series_id": str(request.params["id"]),
        "file_type": "json",
        "observation_start": first,
        "observation_end": last,
        "realtime_start": first,
        "realtime_end": last,
        "sort_order": "asc",
        "limit": 100_000,
    }
    return replace(request, endpoint=API_URL, params=params)


def parse_observations(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Observations from CSV, JSON or XML, those in the request's reach only; a missing value is null.

    Raises:
        ContractViolation: none of the three, or JSON or XML of a series that the request does not name.
    """
    if len(body) > MAX_BODY_BYTES:
        raise violation(request, f"body of {len(body)} bytes is larger than {MAX_BODY_BYTES}")
    start = body.lstrip()[:1]
    if start == b"{":
        answer = read_json(body, request)
        return _observations(answer, rows_of(answer.get("observations"), request, "observations"), request)
    if start == b"<":
        head, rows = _read_xml(body, request)
        return _observations(head, rows, request)
    return _csv_observations(body, request)


def _observations(head: Mapping[str, Any], rows: Iterable[Any], request: Request) -> Iterator[Record | Rejected]:
    series_id = _series_of(request)
    try:
        period_start = _date(head, "realtime_start")
    except FieldError as error:
        raise violation(request, str(error)) from None

    def build(row: Any) -> Record | None:
        event_at = _date(row, "date")
        vintage = _date(row, "realtime_start")
        cut = vintage == period_start and event_at < vintage
        return _record(series_id, event_at, _value(row, "value"), None if cut else vintage, request)

    return each(rows, build)


def _csv_observations(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    rows = _read_csv(body, request)
    header = rows[0]
    # Half a number is a number too.
    cut = None if body.endswith(b"\n") else rows[-1]

    def build(cell: tuple[int, list[str]]) -> Record | None:
        column, row = cell
        if row is cut:
            raise FieldError("row", "the last line has no end: the body was cut")
        if len(row) != len(header):
            raise FieldError("row", f"{len(row)} fields, not {len(header)}")
        series_id = header[column]
        value = _value({series_id: row[column]}, series_id)
        return _record(series_id, _csv_date(row[0]), value, None, request)

    return each(((column, row) for row in rows[1:] for column in range(1, len(header))), build)


def _record(
    series_id: str, event_at: datetime, value: Decimal | None, vintage: datetime | None, request: Request
) -> Record | None:
    if request.start is not None and event_at < request.start - LOOKBACK:
        return None
    if request.end is not None and event_at >= request.end:
        return None
    known = SERIES.get(series_id)
    delay = known.delay if known else _LONGEST_DELAY
    return Record(
        symbol="global",
        event_at=event_at,
        published_at=vintage,
        available_at=vintage + VINTAGE_OVER if vintage else event_at + delay,
        available_basis="documented" if vintage else "assumed",
        values={"series_id": series_id, "value": value},
    )


def _series_of(request: Request) -> str:
    series_id = str(request.params.get("series_id") or request.params.get("id") or request.venue_symbol)
    if not series_id and request.symbol != "global":
        series_id = request.symbol
    if not series_id:
        raise violation(request, "the body does not say its series: give it as the symbol, such as DGS10")
    return series_id


def _reach(start: datetime, end: datetime) -> tuple[date, date]:
    return (start - LOOKBACK).date(), (end - timedelta(microseconds=1)).date()


def _value(row: Any, name: str) -> Decimal | None:
    value = row.get(name)
    return None if value in (".", "") else decimal(row, name)


def _date(row: Any, name: str) -> datetime:
    moment = iso_time(row, name)
    if len(row[name]) != len("2026-11-23"):
        raise FieldError(name, f"{row[name][:40]!r} is not a date")
    return moment


def _csv_date(value: str) -> datetime:
    for form in ("%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise FieldError("date", f"{value[:40]!r} is neither YYYY-MM-DD nor M/D/YYYY")


def _read_csv(body: bytes, request: Request) -> list[list[str]]:
    try:
        lines = body.decode("utf-8-sig").splitlines()
        rows = [row for row in csv.reader(lines[: MAX_ROWS + 2], strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise violation(request, f"not CSV ({error}), starts with {body[:60]!r}") from None
    if len(lines) > MAX_ROWS + 1:
        raise violation(request, f"more than {MAX_ROWS} rows")
    if not rows or rows[0][0] not in _DATE_HEADERS or not 2 <= len(rows[0]) <= MAX_SERIES_PER_FILE:
        raise violation(request, f"no header with a date and series, starts with {body[:60]!r}")
    for series_id in rows[0][1:]:
        try:
            safe_name(series_id, what="series")
        except UserError as error:
            raise violation(request, str(error)) from None
    return rows


def _read_xml(body: bytes, request: Request) -> tuple[dict[str, str], list[dict[str, str]]]:
    head: dict[str, str] = {}
    rows: list[dict[str, str]] = []

    def refuse(*_: Any) -> None:
        raise violation(request, "a document type is not allowed")

    def element(name: str, attributes: dict[str, str]) -> None:
        if name == "observation":
            rows.append(attributes)
        elif name == "observations" and not head:
            head.update(attributes)
        else:
            raise violation(request, f"unknown element {name[:40]!r}, starts with {body[:60]!r}")
        if len(rows) > MAX_ROWS:
            raise violation(request, f"more than {MAX_ROWS} rows")

    parser = expat.ParserCreate()
    # Entities are how a small document becomes a huge one; FRED's have none.
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = element
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise violation(request, f"not XML ({error}), starts with {body[:60]!r}") from None
    return head, rows


SPEC = SourceSpec(
    slug="fred",
    title="FRED, Federal Reserve Bank of St. Louis",
    domain=Domain.MACRO,
    docs_url="https://fred.stlouisfed.org/docs/api/fred/series_observations.html",
    licence="Free with citation of FRED; series of third parties (SP500, VIXCLS) are for own use only.",
    feeds=(
        Feed(
            dataset="series_observations",
            cadence=Cadence.DAILY,
            requests=observation_requests,
            parse=parse_observations,
            freshness=timedelta(days=6),
        ),
    ),
    requests_per_second=1.5,
    hosts=(CSV_HOST, API_HOST),
    api_key=ApiKey(hosts=(API_HOST,), param="api_key"),
    with_key=with_key,
    tier=2,
)
