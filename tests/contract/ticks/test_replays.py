"""`coinswarm ticks replay` on recordings: what it prints is what the recordings' manifest says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import RECORDED, needs_recordings
from typer.testing import CliRunner

from coinswarm.cli import app

pytestmark = [pytest.mark.contract, needs_recordings]

# Messages, depth updates, bookTicker, trades, snapshots, first and last trade id of the manifest, by file.
BINANCE = {
    "binance_spot__ws_capture__1.txt.gz": (41_249, 3451, 28_040, 9757, 1, "3735683259", "3735693015"),
    "binance_spot__ws_capture__2.txt.gz": (58_325, 3044, 45_134, 10_147, 0, "3735693016", "3735703162"),
    "binance_spot__ws_capture__3.txt.gz": (33_618, 3434, 24_077, 6106, 1, "1520538925", "1520545030"),
    "binance_coinm__ws_capture__1.txt.gz": (40_454, 22_909, 15_812, 1732, 1, "805376266", "805377997"),
}
# Best bid and ask after the last message; depth updates that the snapshot has already. (One of the third recording ends
# exactly at its snapshot: the manifest counts it as applied, which changes nothing.)
TOPS = {
    "binance_spot__ws_capture__1.txt.gz": (["61685.99000000", "1.00870000"], ["61686.00000000", "2.29327000"], 2),
    "binance_spot__ws_capture__3.txt.gz": (["2682.50000000", "3.31680000"], ["2682.51000000", "48.97390000"], 2),
    "binance_coinm__ws_capture__1.txt.gz": (["2682.01", "1990"], ["2682.02", "2018"], 22),
}
COUNTS = {
    ("binance_spot", "binance_spot__ws_capture__4.txt"): {"book_updates": 165, "top_of_book": 83, "trades": 2},
    ("binance_usdm", "binance_usdm__ws_capture__1.txt.gz"): {"book_updates": 390, "top_of_book": 380, "trades": 45},
}


def _replayed(venue: str, file: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["ticks", "replay", venue, str(RECORDED / file)])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["malformed"] == {"count": 0, "examples": []}
    assert found["crossed_books"] == 0
    return found


@pytest.mark.parametrize("file", BINANCE)
def test_replay_of_binance_when_ended_then_counts_and_ids_are_those_of_the_manifest(file: str) -> None:
    messages, depth, tickers, trades, snapshots, first, last = BINANCE[file]
    found = _replayed(file.split("__")[0], file)
    events = found["events"]
    assert found["messages"] == messages
    assert (events["book_updates"], events["top_of_book"], events["trades"]) == (depth, tickers, trades)
    assert events.get("book_snapshots", 0) == snapshots
    ((symbol, ends),) = found["trades"].items()
    assert (ends["first"]["id"], ends["last"]["id"]) == (first, last)
    assert found["trades_missing"] == {}
    assert found["trades_repeated"] == 0
    assert found["book_updates"]["resync"] == 0, f"no break in the chain of {symbol}"


@pytest.mark.parametrize("file", TOPS)
def test_replay_of_binance_when_it_has_a_snapshot_then_the_top_of_book_is_that_of_the_manifest(file: str) -> None:
    bid, ask, older = TOPS[file]
    found = _replayed(file.split("__")[0], file)
    (best,) = found["best"].values()
    assert (best["bid"], best["ask"]) == (bid, ask)
    assert found["book_updates"]["drop"] == older


@pytest.mark.parametrize(("venue", "file"), COUNTS)
def test_replay_when_a_recording_has_other_channels_then_they_are_counted_as_unknown(venue: str, file: str) -> None:
    found = _replayed(venue, file)
    assert {name: found["events"][name] for name in COUNTS[venue, file]} == COUNTS[venue, file]
    assert set(found["unknown"]) == {"kline_1m"}


def test_replay_of_kraken_when_ended_then_all_checksums_match() -> None:
    found = _replayed("kraken_v1", "kraken__ws_capture__1.txt.gz")
    assert found["messages"] == 2165
    assert found["checksums"] == {"matching": 2035, "failing": 0}


def test_replay_of_okx_when_ended_then_all_checksums_match() -> None:
    assert _replayed("okx", "okx__ws_capture__1.txt")["checksums"] == {"matching": 99, "failing": 0}
