"""What replies about the lease mean."""

from __future__ import annotations

import pytest

from coinswarm.ticks.lease import Lease, grant, read_cursor

pytestmark = pytest.mark.unit

LEASE = Lease("okx", "host:1:abc", 10)


def test_lease_is_held_only_by_owner_and_token() -> None:
    assert LEASE.holds([b"OK", [b"host:1:abc", b"3"], None], 3)
    assert not LEASE.holds([b"OK", [b"host:1:abc", b"4"], None], 3)
    assert not LEASE.holds([b"OK", [b"other", b"3"], None], 3)
    assert not LEASE.holds([b"OK", [None, None], None], 3)


def test_wish_is_who_wants_to_take_over() -> None:
    assert LEASE.wish([b"OK", [], b"other"]) == "other"
    assert LEASE.wish([b"OK", [], None]) == ""


def test_grant_tells_the_holder_or_the_cursor() -> None:
    held = grant([0, b"other", 1500])
    assert (held.token, held.holder, held.milliseconds) == (0, "other", 1500)
    ours = grant([1, 7, [b"flush", b"6:41", b"at", b"1700000000000", b"token", b"7", b"okx BTC-USDT", b"99",
                         b"released", b"1", b"minutes", b"{}"]])  # fmt: skip
    assert ours.token == 7
    assert ours.cursor.ids == {"okx BTC-USDT": "99"}
    assert (ours.cursor.flush, ours.cursor.token, ours.cursor.at_ms) == ("6:41", 6, 1_700_000_000_000)
    assert ours.cursor.released
    assert ours.cursor.known


def test_cursor_of_a_shard_that_nobody_wrote_is_unknown() -> None:
    cursor = read_cursor([b"token", b"1"])
    assert (cursor.known, cursor.token, cursor.ids) == (False, 0, {})
    assert read_cursor([b"flush", b"rubbish"]).token == 0
