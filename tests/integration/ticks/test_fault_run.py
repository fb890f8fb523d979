"""The whole chain under faults and deaths: every trade is in raw once, or in an open gap, and repair closes those."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Store
from tests.integration.ticks.chain import Chain, chain, now_ms
from tests.integration.ticks.reckoning import HEAD, Reckoning, range_of, reckon, still_open
from tests.integration.ticks.trade_streams import TradeStream, trade_streams

from coinswarm.ingest.archive import archive
from coinswarm.ingest.repair import ARCHIVED_WITHIN, ATTEMPTS, repair
from coinswarm.sandbox.streams.faults import KINDS
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[Any, ...]]]
SECONDS = float(os.environ.get("COINSWARM_FAULT_RUN_SECONDS", "60"))
SEED = 20_261_126
FAULT_EVERY, DEATH_EVERY = 0.4, 15.0
# What a fault of each kind is like: (field, least, most), drawn anew each time.
SHAPES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "drop": (("count", 1, 5),),
    "duplicate": (("count", 1, 5),),
    "reorder": (("count", 1, 3),),
    "freeze": (("seconds", 1, 5),),
    "bad_checksum": (("count", 1, 1),),
    "cut": (("count", 1, 1),),
    "drip": (("count", 1, 1), ("bytes_per_second", 500, 5000)),
    "flood": (("count", 1, 1), ("hold", 1, 3), ("factor", 1, 20)),
    "disconnect": (("count", 1, 1),),
    "wrong_path": (("count", 1, 1),),
}
# Without numbers nobody can know what vanishes from a connection that goes on: such minutes are never `verified`.
UNPROVABLE = ("drop", "freeze", "wrong_path")


def test_fault_run_when_faults_and_deaths_are_over_then_every_trade_is_in_raw_or_in_an_open_gap(
    store: Store, query: Query, tmp_path: Path
) -> None:
    streams = trade_streams()
    with chain(store, tmp_path) as running:
        running.pump.start()
        running.archive.start()
        running.wait_until_live()
        begun = now_ms()
        running.wait_until_traded(streams)
        _torment(running, streams)
        running.heal()
        run = begun, now_ms()
        _end_in_order(running, streams)
        struck = {name.split()[0] for name in running.control("state")["streams"]["struck"]}
        assert struck == set(KINDS)
        while archive(running.resolve).entries:
            pass

        before = [reckon(query, running.url, stream, range_of(query, stream, run)) for stream in streams]
        _show("before repair", before)
        assert [str(one) for one in before if not one.adds_up] == []
        assert sum(one.missing for one in before) > 0

        # A pump that was killed in the middle of a gap left it without an end: that waits for the archive.
        later = datetime.now(UTC) + ARCHIVED_WITHIN + timedelta(minutes=1)
        done = [repair(running.resolve, now=later) for _ in range(ATTEMPTS)]
        after = [reckon(query, running.url, one.stream, one.range_ms) for one in before]
        _show("after repair", after)
        print("\nstill open", *still_open(query), sep="\n")
        assert [error for one in done for error in one.errors] == []
        assert [str(one) for one in after if not one.adds_up] == []
        # Bybit gives its latest trades again, and nothing further back.
        assert [str(one) for one in after if one.missing and one.stream.instrument.source != "bybit"] == []
        assert sum(one.repaired for one in after) > sum(one.repaired for one in before)
        assert query("SELECT * FROM ops.stream_gaps_current WHERE channel = 'trades' AND state = 'repaired'"
                     " AND missing_count IS DISTINCT FROM repaired_count") == []  # fmt: skip
    with database.connect(store.warehouse.auditor) as connection:
        ledger.verify(connection, lake=Lake(store.lake))


def _torment(running: Chain, streams: list[TradeStream]) -> None:
    """Faults at random places all the time; pump, Redis and archive die in turn."""
    chance = random.Random(SEED)
    deaths = itertools.cycle((running.pump_dies, running.redis_dies, running.archive_dies))
    end, death_at = time.monotonic() + SECONDS, time.monotonic() + DEATH_EVERY
    kinds = itertools.cycle(KINDS)
    while (now := time.monotonic()) < end:
        running.spoil(_fault(chance, next(kinds), streams))
        if now >= death_at:
            next(deaths)()
            death_at = time.monotonic() + DEATH_EVERY
        time.sleep(FAULT_EVERY)


def _fault(chance: random.Random, kind: str, streams: list[TradeStream]) -> dict[str, Any]:
    channel = chance.choice(("trades", "orderbook"))
    if kind == "bad_checksum":
        channel, streams = "orderbook", [one for one in streams if one.host == "ws.kraken.com"]
    elif kind in UNPROVABLE and channel == "trades":
        streams = [one for one in streams if one.numbered]
    place = chance.choice(streams).place
    if channel == "orderbook":
        del place["path"]  # some venues have their books elsewhere
    # A rule that finds nothing to strike must not wait for ever.
    fields = {"seconds": 10} | {name: chance.randint(least, most) for name, least, most in SHAPES[kind]}
    return {"kind": kind, "channel": channel, **place, **fields}


def _end_in_order(running: Chain, streams: list[TradeStream]) -> None:
    """Once more from the beginning, so that every stream says what it missed; then each part ends by itself."""
    running.wait_until_live()
    assert running.pump.stop() == 0
    running.pump.start()
    running.wait_until_live()
    running.wait_until_traded(streams)
    assert running.pump.stop() == 0
    assert running.archive.stop() == 0


def _show(what: str, lines: Iterable[Reckoning]) -> None:
    print(f"\n{what}\n{HEAD}")
    for line in lines:
        print(line)
