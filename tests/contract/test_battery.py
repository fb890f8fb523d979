"""Every source against the same rules: what a fixture means, and that a damaged one is refused. See README.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.fixtures import (
    FIXTURES,
    JSON_FIXTURES,
    Fixture,
    at,
    columns_of,
    decoded,
    described,
    encoded,
    leaves,
    nodes,
    row_lists,
    with_value,
    without,
)

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record, Rejected, check
from coinswarm.errors import ContractViolation
from coinswarm.names import safe_name
from coinswarm.sources import SOURCES, reading
from coinswarm.sources.parsing import natural_key
from coinswarm.sources.spec import Request

pytestmark = pytest.mark.contract

every_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=str)
every_json_fixture = pytest.mark.parametrize("fixture", JSON_FIXTURES, ids=str)
windowed_fixture = pytest.mark.parametrize("fixture", [f for f in FIXTURES if f.has_window], ids=str)
# A level more is another book, not a contradiction.
keyed_fixture = pytest.mark.parametrize("fixture", [f for f in JSON_FIXTURES if f.dataset != "order_books"], ids=str)
LEAVES_PER_FIXTURE = 60
HOSTILE_NAMES = ("../../etc/passwd", "'; DROP TABLE raw.ohlcv; --", "A" * 10_000, "BTC\x00USDT", "s3://other/key", "")


def test_fixtures_when_listed_then_every_dataset_of_every_source_has_one() -> None:
    have = {(fixture.source, fixture.dataset) for fixture in FIXTURES}
    wanted = {
        (spec.slug, dataset)
        for spec in SOURCES.values()
        for dataset in [*(feed.dataset for feed in spec.feeds), *spec.parsers]
    }
    assert not wanted - have, f"write a fixture for {sorted(wanted - have)}"


# ---- what a good body means


@every_fixture
def test_parse_when_body_is_good_then_counts_and_values_are_those_stated(fixture: Fixture) -> None:
    outcomes = fixture.parse()
    records = [o for o in outcomes if isinstance(o, Record)]
    rejected = [o for o in outcomes if isinstance(o, Rejected)]
    assert (len(records), len(rejected)) == (fixture.meta["records"], fixture.meta["rejected"]), rejected
    for name, record in (("first", records[0]), ("last", records[-1])) if records else ():
        stated = fixture.meta.get(name, {})
        assert {key: described(record).get(key) for key in stated} == stated


@every_fixture
def test_parse_when_body_is_good_then_keys_are_unique_clocks_utc_and_numbers_exact(fixture: Fixture) -> None:
    dataset = dataset_named(fixture.dataset)
    records = fixture.records()
    assert len({natural_key(dataset, record) for record in records}) == len(records)
    for record in records:
        check(dataset, record, fixture.request.received_at)
        for value in (record.event_at, record.published_at, record.available_at):
            assert value is None or value.utcoffset() == timedelta(0)
        for name, value in record.values.items():
            assert not _holds_float(value), f"{name} is a float"
            if isinstance(value, Decimal):
                assert str(Decimal(f"{value:f}")) == f"{value:f}" or value == Decimal(f"{value:f}")


def _holds_float(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(_holds_float(part) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


@every_fixture
def test_parse_when_replayed_from_landed_bytes_then_records_are_the_same(fixture: Fixture) -> None:
    request = Request.from_json(fixture.request.to_json())
    assert request == fixture.request
    assert fixture.parse() == fixture.parse()


@windowed_fixture
def test_parse_when_window_is_outside_then_nothing_final_leaks_into_it(fixture: Fixture) -> None:
    end = fixture.request.end
    assert not [r for r in fixture.records() if r.final and end and r.event_at > end]


@every_json_fixture
def test_parse_when_objects_have_unknown_fields_then_nothing_changes(fixture: Fixture) -> None:
    value = decoded(fixture)
    for path in row_lists(value):
        for row in at(value, path):
            if isinstance(row, dict):
                row["field_of_next_year"] = {"a": [1, "x", None]}
    assert fixture.parse(_exact(value, fixture)) == fixture.parse()


@every_json_fixture
def test_parse_when_rows_are_in_the_other_order_then_records_are_the_same(fixture: Fixture) -> None:
    value = decoded(fixture)
    for path in row_lists(value):
        at(value, path).reverse()
    assert _as_set(fixture.records(_exact(value, fixture))) == _as_set(fixture.records())


def _exact(value: Any, fixture: Fixture) -> bytes:
    """JSON of a changed body; a body whose fractions do not survive Python's float is not usable for this."""
    if fixture.parse(encoded(decoded(fixture))) != fixture.parse():
        pytest.skip("the body has numbers that a float changes")
    return encoded(value)


def _as_set(records: list[Record]) -> list[str]:
    return sorted(repr(sorted(described(record).items(), key=str)) for record in records)


# ---- damaged bodies


@every_fixture
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.98])
def test_parse_when_body_is_cut_then_it_is_refused_or_a_part_of_the_truth(fixture: Fixture, keep: float) -> None:
    body = fixture.body.rstrip()
    cut = body[: int(len(body) * keep)]
    try:
        records = fixture.records(cut)
    except ContractViolation:
        return
    assert not fixture.is_json or not records, "half a JSON body is no body"
    whole = _as_set(fixture.records())
    assert all(record in whole for record in _as_set(records))


@every_fixture
@pytest.mark.parametrize(
    "body",
    [b"<html><body>502 Bad Gateway</body></html>", b"null", b'"text"', b"17", b"{}", b"\xff\xfe\x00", b"[" * 9999],
)
def test_parse_when_body_is_something_else_then_there_is_no_record(fixture: Fixture, body: bytes) -> None:
    try:
        records = fixture.records(body)
    except ContractViolation as error:
        named = (error.source, error.dataset)
    else:
        assert records == []
        return
    assert named == (fixture.source, fixture.dataset)


@every_json_fixture
def test_parse_when_body_is_oversized_then_it_is_refused(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BODY_BYTES", len(fixture.body) - 1)
    with pytest.raises(ContractViolation, match="larger"):
        fixture.parse()


@every_json_fixture
@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e9999999"])
def test_parse_when_a_number_is_not_finite_then_it_does_not_become_a_value(fixture: Fixture, literal: bytes) -> None:
    value = decoded(fixture)
    for path in _some_leaves(value):
        _assert_no_new_numbers(fixture, encoded(with_value(value, path, "@@")).replace(b'"@@"', literal), path)


@every_json_fixture
@pytest.mark.parametrize(
    "wrong", ["abc", "NaN", "Infinity", "1e9999999", "", " ", True, None, [], {}, [1], {"a": 1}, "1_000", "٣"], ids=repr
)
def test_parse_when_a_field_has_the_wrong_type_then_it_does_not_become_a_value(fixture: Fixture, wrong: Any) -> None:
    value = decoded(fixture)
    for path in _some_leaves(value):
        absent = wrong is None or wrong == ""
        _assert_no_new_numbers(fixture, encoded(with_value(value, path, wrong)), path, absent=absent)


@every_json_fixture
def test_parse_when_a_field_is_missing_then_it_does_not_become_a_value(fixture: Fixture) -> None:
    value = decoded(fixture)
    for path in _some_leaves(value):
        if isinstance(path[-1], str):
            _assert_no_new_numbers(fixture, encoded(without(value, path)), path, absent=True)


def _some_leaves(value: Any) -> list[tuple[str | int, ...]]:
    paths = list(leaves(value))
    step = max(1, len(paths) // LEAVES_PER_FIXTURE)
    return paths[::step]


def _assert_no_new_numbers(fixture: Fixture, body: bytes, path: tuple[str | int, ...], *, absent: bool = False) -> None:
    # Where a field is absent the source may have a documented second choice, which the fixture names.
    second_choice = set(fixture.meta.get("second_choice", ())) if absent else set()
    names = columns_of(fixture, "NUMERIC", "INTEGER", "TIMESTAMP")
    names = tuple(name for name in names if name not in second_choice)
    good = {name: {record.values.get(name) for record in fixture.records()} | {None} for name in names}
    times = {record.event_at for record in fixture.records()} | {fixture.request.received_at}
    try:
        records = fixture.records(body)
    except ContractViolation:
        return
    for record in records:
        assert "event_at" in second_choice or record.event_at in times, f"{path}: {record.event_at}"
        for name in names:
            assert record.values.get(name) in good[name], f"{path}: {name} became {record.values.get(name)}"


@every_json_fixture
@pytest.mark.parametrize("sign", ["-1", -1, "-0.000001"], ids=repr)
def test_parse_when_numbers_are_negative_then_limits_hold(fixture: Fixture, sign: str | int) -> None:
    dataset = dataset_named(fixture.dataset)
    value = decoded(fixture)
    for path in _some_leaves(value):
        try:
            records = fixture.records(encoded(with_value(value, path, sign)))
        except ContractViolation:
            continue
        for record in records:
            for column in dataset.columns:
                given_value = record.values.get(column.name)
                if given_value is not None and column.above is not None:
                    assert given_value > column.above
                if given_value is not None and column.minimum is not None:
                    assert given_value >= column.minimum


@every_json_fixture
def test_parse_when_rows_are_repeated_then_nothing_new_is_said(fixture: Fixture) -> None:
    value = decoded(fixture)
    for path in row_lists(value):
        rows = at(value, path)
        changed = with_value(value, path, [*rows, *rows]) if path else [*rows, *rows]
        try:
            records = fixture.records(_exact(changed, fixture))
        except ContractViolation:
            continue
        dataset = dataset_named(fixture.dataset)
        distinct = set(_as_set(records))
        assert len({natural_key(dataset, record) for record in records}) == len(distinct)
        assert distinct <= set(_as_set(fixture.records()))


@keyed_fixture
def test_parse_when_a_row_contradicts_an_earlier_one_then_the_first_word_counts(fixture: Fixture) -> None:
    dataset = dataset_named(fixture.dataset)
    value = decoded(fixture)
    good = {natural_key(dataset, record): described(record) for record in fixture.records(encoded(value))}
    for path in row_lists(value):
        rows = at(value, path)
        for leaf in list(leaves(rows[0]))[:8]:
            twin = with_value(rows[0], leaf, "7" if isinstance(at(rows[0], leaf), str) else 7)
            changed = with_value(value, path, [*rows, twin]) if path else [*rows, twin]
            try:
                records = fixture.records(encoded(changed))
            except ContractViolation:
                continue
            kept = {natural_key(dataset, record): described(record) for record in records}
            assert len(kept) == len(set(_as_set(records))), f"{leaf}: one key says two things"
            for key in good.keys() & kept.keys():
                assert kept[key] == good[key], f"{leaf}: {key}"


@every_fixture
def test_parse_when_received_before_the_events_then_they_are_refused(fixture: Fixture) -> None:
    early = datetime(2001, 1, 1, tzinfo=UTC)
    for outcome in fixture.parse(received_at=early):
        if isinstance(outcome, Record) and outcome.values.get("kind") != "predicted":
            assert outcome.event_at <= early + timedelta(minutes=5)


@every_json_fixture
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: name[:12])
def test_parse_when_names_are_hostile_then_they_never_become_a_symbol(fixture: Fixture, name: str) -> None:
    value = decoded(fixture)
    symbols = {record.symbol for record in fixture.records()}
    for path in _some_leaves(value):
        if not isinstance(at(value, path), str):
            continue
        try:
            records = fixture.records(encoded(with_value(value, path, name)))
        except ContractViolation as error:
            message = str(error)
            records = []
        else:
            message = ""
        assert len(message) < 2_000, "an error must not carry the body"
        for record in records:
            assert safe_name(record.symbol) == record.symbol
            assert record.symbol in symbols or name != record.symbol


# ---- fuzz

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=30),
    st.sampled_from(["0", "-0", "1e400", "-1", "9" * 90, "NaN", "sNaN", "Infinity", "0001-01-01T00:00:00Z", "../x"]),
    st.integers(0, 4_102_444_800_000).map(str),
)
_values = st.recursive(
    _scalars,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4),
    max_leaves=8,
)
_quick = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@every_json_fixture
@_quick
@given(data=st.data())
def test_parse_when_json_is_mutated_then_every_outcome_is_lawful(fixture: Fixture, data: st.DataObject) -> None:
    value = decoded(fixture)
    for _ in range(data.draw(st.integers(1, 3))):
        paths = list(nodes(value))
        if not paths:
            break
        path = data.draw(st.sampled_from(paths))
        action = data.draw(st.sampled_from(["replace", "replace", "remove", "empty"]))
        if action == "remove":
            value = without(value, path)
        else:
            value = with_value(value, path, [] if action == "empty" else data.draw(_values))
    _assert_lawful(fixture, encoded(value))


@every_fixture
@_quick
@given(noise=st.binary(max_size=200), position=st.floats(0, 1))
def test_parse_when_bytes_are_overwritten_then_every_outcome_is_lawful(
    fixture: Fixture, noise: bytes, position: float
) -> None:
    body = fixture.body
    start = int(len(body) * position)
    _assert_lawful(fixture, body[:start] + noise + body[start + len(noise) :])


def _assert_lawful(fixture: Fixture, body: bytes) -> None:
    dataset = dataset_named(fixture.dataset)
    try:
        outcomes = fixture.parse(body)
    except ContractViolation:
        return
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    for record in records:
        check(dataset, record, fixture.request.received_at)
    assert len({natural_key(dataset, record) for record in records}) == len(set(_as_set(records)))
    for outcome in outcomes:
        if isinstance(outcome, Rejected):
            assert outcome.reason
            assert len(outcome.reason) < 1_000
