"""What a look at a stream tells a reader, worked out by hand."""

from __future__ import annotations

import pytest

from coinswarm.ticks.positions import Cause, Loss, StreamState, before, order, reckon, state_of

pytestmark = pytest.mark.unit

# Ten entries were added, 1-0 … 10-0; the first four are gone.
SIX = StreamState(added=10, length=6, first="5-0", last="10-0")
WHOLE = StreamState(added=10, length=10, first="1-0", last="10-0")
NONE_LEFT = StreamState(added=10, length=0, last="10-0")
TRIMMED, FORGOTTEN = Cause.TRIMMED, Cause.FORGOTTEN


@pytest.mark.parametrize(
    ("state", "position", "count", "read", "whole", "loss", "count_then"),
    [
        pytest.param(SIX, "6-0", 6, 4, True, None, 10, id="all that followed was read"),
        pytest.param(SIX, "4-0", 4, 6, True, None, 10, id="trimmed up to the position"),
        pytest.param(SIX, "2-0", 2, 6, True, Loss(TRIMMED, 2), 10, id="two in between are gone"),
        pytest.param(SIX, "2-0", 2, 3, False, Loss(TRIMMED, 2), 7, id="the same, not read to the end"),
        pytest.param(SIX, "6-0", 6, 2, False, None, 8, id="not read to the end"),
        pytest.param(NONE_LEFT, "10-0", 10, 0, True, None, 10, id="all were read before they went"),
        pytest.param(NONE_LEFT, "7-0", 7, 0, True, Loss(TRIMMED, 3), 10, id="the last three went unread"),
        # With ACKED, what others hold stays, and what lies behind it goes.
        pytest.param(StreamState(10, 6, "1-0", "10-0"), "1-0", 1, 5, True, Loss(TRIMMED, 4), 10, id="holes inside"),
        pytest.param(WHOLE, "3-0", None, 7, True, None, 10, id="nothing was ever trimmed"),
        pytest.param(SIX, "5-0", None, 5, True, None, 10, id="the position itself is still there"),
        pytest.param(SIX, "3-0", None, 6, True, Loss(TRIMMED), 10, id="perhaps 4-0 was there"),
        pytest.param(SIX, "3-0", None, 5, False, Loss(TRIMMED), None, id="perhaps, and not read to the end"),
        pytest.param(NONE_LEFT, "9-0", None, 0, True, Loss(TRIMMED), 10, id="something came after it and went"),
        pytest.param(NONE_LEFT, "10-0", None, 0, True, None, 10, id="nothing came after it"),
        pytest.param(WHOLE, "11-0", 11, 0, True, Loss(FORGOTTEN), 10, id="Redis knows less than we"),
        pytest.param(StreamState(), "7-0", 7, 0, True, Loss(FORGOTTEN), 0, id="Redis knows nothing"),
        pytest.param(StreamState(1, 1, "12-0", "12-0"), "10-0", 10, 1, True, Loss(FORGOTTEN), 1, id="it began anew"),
        pytest.param(StreamState(), "0-0", 0, 0, True, None, 0, id="nothing was written yet"),
    ],
)
def test_reckon_when_a_stream_is_as_it_is_then_says_what_is_missing(
    state: StreamState,
    position: str,
    count: int | None,
    read: int,
    whole: bool,
    loss: Loss | None,
    count_then: int | None,
) -> None:
    assert reckon(state, position, count, read, whole=whole) == (loss, count_then)


def test_state_when_redis_describes_a_stream_then_is_read() -> None:
    info = ["length", 1, "entries-added", 7, "last-generated-id", "9-1", "first-entry", ["9-0", ["a", "b"]]]
    assert state_of(info) == StreamState(7, 1, "9-0", "9-1")
    empty = ["length", 0, "entries-added", 7, "last-generated-id", "9-1", "first-entry", None]
    assert state_of(empty) == StreamState(7, 0, "0-0", "9-1")
    assert state_of(empty).removed == 7


def test_ids_when_compared_then_are_numbers_not_text() -> None:
    assert order("9-10") > order("9-9")
    assert order("10-0") > order("9-99")
    assert order(before(10)) < order("10-0")
    assert order(before(10)) > order("9-99")
    assert before(0) == "0-0"
