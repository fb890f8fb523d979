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
# Messages by the venue's own channels, as the manifest counts them.
CHANNELS: dict[tuple[str, str], dict[str, int]] = {
    ("binance_spot", "binance_spot__ws_capture__1.txt.gz"): {
        "REST depth snapshot": 1,
        "bookTicker": 28_040,
        "depth": 3451,
        "trade": 9757,
    },
    ("binance_spot", "binance_spot__ws_capture__4.txt"): {"depth": 165, "bookTicker": 83, "aggTrade": 2, "kline_1m": 2},
    ("binance_usdm", "binance_usdm__ws_capture__1.txt.gz"): {
        "depth": 390,
        "bookTicker": 380,
        "aggTrade": 45,
        "kline_1m": 27,
    },
    ("bybit_v2", "bybit_v2__ws_capture__1.txt.gz"): {
        "orderBookL2_25/delta": 1981,
        "trade": 89,
        "ack": 20,
        "orderBookL2_25/snapshot": 5,
    },
    ("bybit_linear", "bybit__ws_tickers__1.jsonl"): {"tickers/snapshot": 5, "tickers/delta": 3},
    ("coinbase", "coinbase_advanced__ws_frames__1.jsonl"): {"market_trades": 1, "heartbeats": 1},
    ("coinbase_exchange", "coinbase_exchange__ws_capture__1.txt.gz"): {
        "l2update": 4147,
        "ticker": 33,
        "match": 28,
        "snapshot": 5,
        "last_match": 5,
        "subscriptions": 3,
    },
    ("deribit", "deribit__ws_capture__1.txt"): {"ticker": 31, "book": 10, "rpc_result": 1},
    ("kraken_v1", "kraken__ws_capture__1.txt.gz"): {
        "book-1000": 2040,
        "heartbeat": 92,
        "subscriptionStatus": 15,
        "ticker": 10,
        "trade": 5,
        "systemStatus": 3,
    },
    ("kraken_futures", "kraken_futures__ws_capture__1.txt.gz"): {
        "book": 2064,
        "ticker_lite": 60,
        "trade": 11,
        "book_snapshot": 5,
        "trade_snapshot": 5,
        "info": 1,
    },
    ("okx", "okx__ws_capture__1.txt"): {
        "books/update": 98,
        "event:subscribe": 6,
        "trades": 4,
        "tickers": 2,
        "books/snapshot": 1,
    },
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
    assert found["gaps"] == []


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


@pytest.mark.parametrize(("venue", "file"), CHANNELS)
def test_replay_when_ended_then_channels_are_counted_as_in_the_manifest_and_no_chain_breaks(
    venue: str, file: str
) -> None:
    found = _replayed(venue, file)
    assert found["channels"] == CHANNELS[venue, file]
    assert found["messages"] == sum(found["channels"].values())
    assert found["book_chain_breaks"] == 0


def test_replay_of_kraken_when_ended_then_all_checksums_match() -> None:
    # The protocol of 2021, which the venue has retired: it is known by its frames.
    found = _replayed("kraken", "kraken__ws_capture__1.txt.gz")
    assert (found["protocol"], found["messages"]) == ("kraken_v1", 2165)
    assert found["checksums"] == {"matching": 2035, "failing": 0}


def test_replay_of_okx_when_ended_then_all_checksums_match() -> None:
    assert _replayed("okx", "okx__ws_capture__1.txt")["checksums"] == {"matching": 99, "failing": 0}
