"""FRED: the two ways to ask, vintages, and missing values."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources.macro import fred
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

START = datetime(2026, 11, 22, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=1))
LOOSE = Request("fred", "series_observations", "", venue_symbol="UNRATE")


def _parse(body: bytes | str, request: Request = LOOSE) -> list[Record | Rejected]:
    body = body if isinstance(body, bytes) else body.encode()
    return list(parse_payload(fred.parse_observations, body, request))


def _vintages(*rows: tuple[str, str, str], start: str = "2025-10-18") -> str:
    observations = [
        {"realtime_start": since, "realtime_end": "9999-12-31", "date": day, "value": value}
        for since, day, value in rows
    ]
    return json.dumps({"realtime_start": start, "realtime_end": "2026-11-22", "observations": observations})


def test_requests_when_keyless_then_one_csv_per_series_reaching_back() -> None:
    requests = list(fred.observation_requests(None, WINDOW))
    assert [request.venue_symbol for request in requests] == list(fred.SERIES)
    assert requests[0].endpoint == "https://fred.stlouisfed.org/graph/fredgraph.csv"
    assert requests[0].params == {"id": "DGS10", "cosd": "2025-10-18", "coed": "2026-11-22"}


def test_with_key_when_asked_then_the_api_with_vintages_and_no_secret() -> None:
    (request, *_) = fred.observation_requests(None, WINDOW)
    keyed = fred.with_key(request)
    assert keyed.endpoint == "https://api.stlouisfed.org/fred/series/observations"
    assert keyed.params["series_id"] == "DGS10"
    assert keyed.params["realtime_start"] == keyed.params["observation_start"] == "2025-10-18"
    assert keyed.params["realtime_end"] == keyed.params["observation_end"] == "2026-11-22"
    assert "api_key" not in keyed.to_json()
    assert (keyed.start, keyed.end, keyed.venue_symbol) == (request.start, request.end, request.venue_symbol)
    assert fred.with_key(keyed) == keyed


def test_requests_when_window_is_long_then_never_more_vintages_than_the_api_allows() -> None:
    long = Window(datetime(2010, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    keyed = [fred.with_key(request) for request in fred.observation_requests(None, long)]
    for request in keyed:
        first = date.fromisoformat(str(request.params["realtime_start"]))
        last = date.fromisoformat(str(request.params["realtime_end"]))
        assert (last - first).days < 2000
    assert {request.start for request in keyed if request.venue_symbol == "DFF"} >= {long.start}
    assert max(request.end for request in keyed if request.end) == long.end


def test_csv_when_value_is_a_dot_or_empty_then_null() -> None:
    records = _parse("observation_date,DGS10\n2026-11-10,4.10\n2026-11-11,.\n2026-11-12,\n")
    assert [str(r.values["value"]) for r in records if isinstance(r, Record)] == ["4.10", "None", "None"]


def test_csv_when_months_come_first_then_read_as_us_dates() -> None:
    (record,) = _parse("Date,CPILFESL\n11/1/2018,259.481\n")
    assert isinstance(record, Record)
    assert record.event_at == datetime(2018, 11, 1, tzinfo=UTC)


def test_csv_when_several_series_then_one_record_per_cell() -> None:
    records = _parse("DATE,DGS10,DGS2\n2026-11-10,4.1,3.6\n")
    assert [r.values["series_id"] for r in records if isinstance(r, Record)] == ["DGS10", "DGS2"]


def test_csv_when_rows_are_outside_of_reach_then_left_out() -> None:
    (request, *_) = fred.observation_requests(None, WINDOW)
    records = _parse("observation_date,DGS10\n2025-10-17,1\n2025-10-18,2\n2026-11-22,3\n2026-11-23,4\n", request)
    assert [str(r.values["value"]) for r in records if isinstance(r, Record)] == ["2", "3"]


@pytest.mark.parametrize(
    "row", ["2026-13-01,1", "soon,1", "2026-11-10", "2026-11-10,1,2", "2026-11-10,NaN", "2026-11-10,x"]
)
def test_csv_when_one_row_is_bad_then_the_others_stay(row: str) -> None:
    outcomes = _parse(f"observation_date,DGS10\n2026-11-09,4.1\n{row}\n2026-11-12,4.2\n")
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected, Record]


def test_vintages_when_value_was_revised_then_two_rows_with_their_dates() -> None:
    first, revised = _parse(_vintages(("2026-10-02", "2026-09-01", "4.4"), ("2026-11-06", "2026-09-01", "4.3")))
    assert isinstance(first, Record)
    assert isinstance(revised, Record)
    assert first.event_at == revised.event_at == datetime(2026, 9, 1, tzinfo=UTC)
    assert (first.published_at, revised.published_at) == (
        datetime(2026, 10, 2, tzinfo=UTC),
        datetime(2026, 11, 6, tzinfo=UTC),
    )
    # The vintage is a date of US Central time: available for sure when that day is over.
    assert revised.available_at == datetime(2026, 11, 7, 6, tzinfo=UTC)
    assert revised.available_basis == "documented"


def test_vintages_when_cut_to_the_period_then_publication_is_unknown() -> None:
    cut, whole = _parse(_vintages(("2025-10-18", "2025-09-01", "4.3"), ("2025-10-18", "2025-10-18", "4.2")))
    assert isinstance(cut, Record)
    assert isinstance(whole, Record)
    assert (cut.published_at, cut.available_basis) == (None, "assumed")
    assert whole.published_at == datetime(2025, 10, 18, tzinfo=UTC)


def test_vintages_when_missing_then_null() -> None:
    (record,) = _parse(_vintages(("2026-11-06", "2026-10-01", ".")))
    assert isinstance(record, Record)
    assert record.values == {"series_id": "UNRATE", "value": None}


def test_body_when_series_is_unnamed_then_says_how_to_name_it() -> None:
    with pytest.raises(ContractViolation, match="give it as the symbol"):
        _parse(_vintages(("2026-11-06", "2026-10-01", "1")), Request("fred", "series_observations", ""))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html><body>Access Denied</body></html>",
        '<?xml version="1.0"?><!DOCTYPE o [<!ENTITY a "aaaa">]><observations>&a;</observations>',
        "<observations><observation",
        '{"error_code": 400, "error_message": "Bad Request."}',
        "[1, 2]",
        "hello",
        "observation_date\n2026-01-01\n",
        'observation_date,"../../etc"\n2026-01-01,1\n',
    ],
)
def test_body_when_it_is_no_series_then_contract_violation(body: str) -> None:
    with pytest.raises(ContractViolation, match="fred/series_observations"):
        _parse(body)


_cells = st.text(max_size=12)


@given(st.lists(st.tuples(_cells, _cells), max_size=5))
def test_csv_when_cells_are_arbitrary_then_rows_rejections_or_a_violation(rows: list[tuple[str, str]]) -> None:
    body = "observation_date,DGS10\n" + "\n".join(",".join(row) for row in rows)
    _survives(body.encode("utf-8", errors="surrogatepass"))


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={k: st.none() | st.integers() | _cells for k in ("date", "realtime_start", "value")}
        ),
        max_size=4,
    )
)
def test_json_when_rows_are_arbitrary_then_rows_rejections_or_a_violation(rows: list[dict[str, Any]]) -> None:
    _survives(json.dumps({"realtime_start": "2025-10-18", "observations": rows}).encode())


@given(st.binary(max_size=200))
def test_body_when_bytes_are_arbitrary_then_rows_rejections_or_a_violation(body: bytes) -> None:
    _survives(body)
    _survives(b"<observations>" + body)


def _survives(body: bytes) -> None:
    try:
        outcomes = _parse(body)
    except ContractViolation:
        return
    assert all(isinstance(outcome, Record | Rejected) for outcome in outcomes)
