"""Every decoder under frames that were spoilt on purpose: it refuses them by name, or what it says can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.ticks.decoders import GOOD, check, judge, venues

from coinswarm.ticks.model import Ack, BookUpdate, Goodbye, Heartbeat, Reply, Sequence, Trade, Unknown
from coinswarm.ticks.replay import VENUES
from coinswarm.ticks.shards import SHARDS, connections_of

pytestmark = pytest.mark.unit

NAMES = sorted(VENUES)
CONNECTIONS = {name: venues(name) for name in NAMES}
# In place of any part of a message, as it would stand in the frame.
HOSTILE = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1",
    "-0",
    "0",
    "0.0",
    "1e-400",
    "1E+30",
    "00012",
    "0x10",
    "1_000",
    "9" * 400,
    "0." + "0" * 38 + "1",
    str(2**63),
    str(2**64),
    "18446744073709551615",
    "1.5",
    "true",
    "null",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '{"a":1}',
    '""',
    '" "',
    '"NaN"',
    '"inf"',
    '"-inf"',
    '"1e400"',
    '"1e5"',
    '"1e-9"',
    '"-1"',
    '"-0"',
    '"+1"',
    '"0"',
    '"0.000"',
    '".00"',
    '"."',
    '"1."',
    '".5"',
    '"1.2.3"',
    '"1,5"',
    '" 1"',
    '"1\\n"',
    '"1_0"',
    '"0x1f"',
    '"\\u0661\\u0662"',
    '"\\u00b2"',
    '"\\u0000"',
    '"\\ud800"',
    '"' + "1" * 41 + '"',
    '"' + "1" * 5000 + '"',
    '"BTCUSDT"',
    '"0001-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59.999999999Z"',
    '"2026-02-30T00:00:00Z"',
    '"2026-03-01T12:00:00"',
    "[" * 10_000 + "]" * 10_000,
    '{"a":' * 10_000 + "1" + "}" * 10_000,
    "[" * 100_000,
)
_MARK = "\u0001here\u0001"
_ENCODED_MARK = json.dumps(_MARK)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _paths(inner, (*path, at))


def _spoil(message: Any, path: tuple[Any, ...], how: str, hostile: str) -> bytes:
    """The message with one part replaced, dropped, doubled, or with a part that nobody knows."""
    if not path:
        return hostile.encode()
    parent = message
    for step in path[:-1]:
        parent = parent[step]
    last = path[-1]
    if how == "drop":
        del parent[last]
    elif how == "again" and isinstance(parent, list):
        parent.extend([parent[last]] * 50)
    elif how == "strange" and isinstance(parent, dict):
        parent["a key that nobody knows"] = {"deep": [1, None, "x"]}
    else:
        parent[last] = _MARK
    text = json.dumps(message, separators=(",", ":"))
    if how == "twice" and isinstance(last, str) and isinstance(parent, dict):
        # A key that comes a second time.
        text = text.replace(_ENCODED_MARK, f"{hostile},{json.dumps(last)}:{hostile}")
    return text.replace(_ENCODED_MARK, hostile).encode()


@st.composite
def _spoilt(draw: st.DrawFn, name: str) -> bytes:
    frame = draw(st.sampled_from(GOOD[name]))
    if draw(st.booleans()):
        message = json.loads(frame)
        path = draw(st.sampled_from(list(_paths(message))))
        how = draw(st.sampled_from(("replace", "replace", "replace", "twice", "drop", "again", "strange")))
        return _spoil(message, path, how, draw(st.sampled_from(HOSTILE)))
    at = draw(st.integers(0, len(frame)))
    end = draw(st.integers(at, min(len(frame), at + 40)))
    return frame[:at] + draw(st.one_of(st.just(b""), st.binary(max_size=12), st.just(frame[at:end] * 3))) + frame[end:]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_decoder_of_spoilt_frames_refuses_them_or_says_what_can_be(name: str, data: st.DataObject) -> None:
    frame = data.draw(_spoilt(name))
    for venue in CONNECTIONS[name]:
        assert judge(venue, frame) == judge(venue, frame), "the same frame gives the same events"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(frame=st.binary(max_size=200))
@example(frame=b"")
@example(frame=b'{"a":' * 100_000)
def test_decoder_of_any_bytes_says_nothing_about_a_market(name: str, frame: bytes) -> None:
    for venue in CONNECTIONS[name]:
        events = judge(venue, frame)
        assert all(isinstance(event, Unknown | Ack | Heartbeat) for event in events)


@pytest.mark.parametrize("name", NAMES)
def test_decoder_of_each_hostile_part_in_each_place_refuses_it_or_says_what_can_be(name: str) -> None:
    short = [hostile for hostile in HOSTILE if len(hostile) < 1000]
    for frame in GOOD[name]:
        for path in _paths(json.loads(frame)):
            for hostile in short:
                spoilt = _spoil(json.loads(frame), path, "replace", hostile)
                for venue in CONNECTIONS[name]:
                    judge(venue, spoilt)


@pytest.mark.parametrize("name", NAMES)
def test_decoder_of_a_frame_that_was_cut_refuses_it(name: str) -> None:
    for frame in GOOD[name]:
        for end in range(len(frame)):
            for venue in CONNECTIONS[name]:
                assert judge(venue, frame[:end]) == ()


@pytest.mark.parametrize("name", NAMES)
def test_decoder_of_what_nobody_knows_tolerates_it(name: str) -> None:
    for frame in GOOD[name]:
        message = json.loads(frame)
        if not isinstance(message, dict):
            continue
        for venue in CONNECTIONS[name]:
            usual = [event for event in judge(venue, frame) if not isinstance(event, Ack)]
            for path in _paths(message):
                if path and isinstance(path[-1], str):
                    events = judge(venue, _spoil(json.loads(frame), path, "strange", ""))
                    # What was accepted may be named by its keys.
                    assert [event for event in events if not isinstance(event, Ack)] == usual


@pytest.mark.parametrize("name", NAMES)
def test_good_frames_of_each_protocol_are_read_and_the_judge_agrees(name: str) -> None:
    kinds = set()
    for frame in GOOD[name]:
        for venue in CONNECTIONS[name]:
            events = tuple(venue.decode(frame))
            assert events or b"status" in frame
            kinds |= {type(event) for event in events}
            assert judge(venue, frame) == events
    assert {Trade, BookUpdate} < kinds
    assert kinds & {Ack, Heartbeat, Reply, Goodbye, Sequence}


def test_judge_knows_what_cannot_be() -> None:
    good = {"symbol": "BTC-USD", "price": "1", "size": "1", "side": "buy", "ts": 1, "id": "1"}
    check(Trade(**good))
    for wrong in (
        {"price": "0.00"},
        {"price": "NaN"},
        {"price": "1e5"},
        {"size": "-1"},
        {"side": "BUY"},
        {"ts": -1},
        {"ts": 10**16},
        {"id": ""},
        {"first": 2, "last": 1},
    ):
        with pytest.raises(AssertionError):
            check(Trade(**(good | wrong)))
    with pytest.raises(AssertionError):
        check(BookUpdate("BTC-USD", True, [("0", "1")], [], 1))


def test_all_protocols_are_under_fire() -> None:
    assert set(GOOD) == set(VENUES)
    replayed = {venue.name for name in NAMES for venue in CONNECTIONS[name]}
    assert {venue.name for shard in SHARDS for venue in connections_of(shard)} <= replayed
