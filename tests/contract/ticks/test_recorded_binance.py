"""Recordings of Binance, spot and futures, against what their manifest states and what another reader reads."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.ticks.recorded import framed
from tests.support import RECORDED, needs_recordings

from coinswarm.ticks.book import Book
from coinswarm.ticks.integrity import NEW, Continuity
from coinswarm.ticks.model import BookUpdate, Event, Funding, TopOfBook, Trade, Unknown
from coinswarm.ticks.protocol import Step, Venue
from coinswarm.ticks.venues import binance

pytestmark = [pytest.mark.contract, needs_recordings]

# First and last trade (price, size), first and last depth numbers, last best prices, as the manifest has them.
CAPTURES: dict[str, tuple[str, Any, Any, Any]] = {
    "binance_spot__ws_capture__1.txt.gz": (
        "spot",
        [("61837.63000000", "0.02000000"), ("61685.99000000", "0.00140000")],
        [(50093239189, 50093239202), (50093421573, 50093421584)],
        ("61685.99000000", "1.25869000", "61686.00000000", "2.44807000"),
    ),
    "binance_spot__ws_capture__2.txt.gz": (
        "spot",
        [("61685.99000000", "0.00017000"), ("61602.02000000", "0.00536000")],
        [(50093421585, 50093421612), (50093696292, 50093696318)],
        None,
    ),
    "binance_spot__ws_capture__3.txt.gz": (
        "spot",
        [("2683.80000000", "0.00200000"), ("2682.51000000", "0.01440000")],
        [(35346513499, 35346513505), (35346671846, 35346671849)],
        ("2682.50000000", "3.31680000", "2682.51000000", "50.97390000"),
    ),
    "binance_coinm__ws_capture__1.txt.gz": (
        "coinm",
        [("2682.18", "1"), ("2682.01", "2")],
        [(1007198631216, 1007198631578), (1007202247934, 1007202247937)],
        ("2682.01", "1990", "2682.02", "2018"),
    ),
}
CHANNELS = {
    ("spot", "binance_spot__ws_capture__4.txt"): {"depth": 165, "bookTicker": 83, "aggTrade": 2, "kline_1m": 2},
    ("usdm", "binance_usdm__ws_capture__1.txt.gz"): {"depth": 390, "bookTicker": 380, "aggTrade": 45, "kline_1m": 27},
}
SNAPSHOTS = {
    ("spot", "binance_spot__depth_snapshot__1.txt.gz"): {
        "NKNUSDT": (499869752, 609, 1000, ("0.35210000", "672.00000000"), ("0.35250000", "3959.00000000")),
        "LRCBTC": (259345543, 176, 1000, ("0.00000637", "6500.00000000"), ("0.00000638", "24365.00000000")),
    },
    ("usdm", "binance_usdm__depth_snapshot__1.txt.gz"): {
        "SUSHIUSDT": (600859605926, 1000, 1000, ("7.6110", "6"), ("7.6120", "297")),
        "KEEPUSDT": (600859619434, 400, 612, ("0.2463", "631"), ("0.2464", "317")),
    },
}


def _lines(file: str) -> list[bytes]:
    body = (RECORDED / file).read_bytes()
    return (gzip.decompress(body) if file.endswith(".gz") else body).splitlines()


def _frames(file: str) -> Iterator[bytes]:
    for line in _lines(file):
        if not line.startswith(b"wss://"):
            frame = line.split(b" ", 1)[1]
            if frame.startswith(b'{"stream"'):
                yield frame


def _anything(market: str) -> Venue:
    return binance.connections(market, None)[0]


def _events(market: str, file: str) -> list[Event]:
    venue = _anything(market)
    return [event for frame in _frames(file) for event in venue.decode(frame)]


def _breaks(venue: Venue, updates: list[BookUpdate]) -> int:
    """Breaks of the chain, its first update taken for the snapshot."""
    rule = venue.book_rule(updates[0].symbol)
    assert rule.check(_as_snapshot(updates[0])) is Step.APPLY
    return sum(rule.check(update) is not Step.APPLY for update in updates[1:])


def _as_snapshot(update: BookUpdate) -> BookUpdate:
    return BookUpdate(update.symbol, True, update.bids, update.asks, update.ts, update.last, update.last)


@pytest.mark.parametrize("file", CAPTURES)
def test_capture_when_decoded_then_each_trade_is_what_another_reader_reads(file: str) -> None:
    market, ends, _, _ = CAPTURES[file]
    trades = [event for event in _events(market, file) if isinstance(event, Trade)]
    read = [data for data in (json.loads(frame)["data"] for frame in _frames(file)) if data.get("e") == "trade"]
    assert [(one.symbol, one.id, one.first, one.last, one.price, one.size, one.side, one.ts) for one in trades] == [
        (d["s"], str(d["t"]), d["t"], d["t"], d["p"], d["q"], "sell" if d["m"] else "buy", d["T"]) for d in read
    ]
    assert [(trades[at].price, trades[at].size) for at in (0, -1)] == ends


@pytest.mark.parametrize("file", CAPTURES)
def test_capture_when_decoded_then_depth_has_its_numbers_and_no_break(file: str) -> None:
    market, _, numbers, top = CAPTURES[file]
    events = _events(market, file)
    updates = [event for event in events if isinstance(event, BookUpdate)]
    assert [(updates[at].first, updates[at].last) for at in (0, -1)] == numbers
    assert _breaks(_anything(market), updates) == 0
    last = [event for event in events if isinstance(event, TopOfBook)][-1]
    assert top in (None, (last.bid, last.bid_size, last.ask, last.ask_size))


def test_break_in_the_depth_is_seen_when_an_update_is_taken_out() -> None:
    for market, file in (
        ("spot", "binance_spot__ws_capture__1.txt.gz"),
        ("coinm", "binance_coinm__ws_capture__1.txt.gz"),
    ):
        updates = [event for event in _events(market, file)[:3000] if isinstance(event, BookUpdate)]
        assert _breaks(_anything(market), updates) == 0
        del updates[100]
        assert _breaks(_anything(market), updates) > 0


@pytest.mark.parametrize(("market", "file"), CHANNELS)
def test_capture_of_two_symbols_when_decoded_then_channels_are_counted_and_chains_hold(market: str, file: str) -> None:
    channels = Counter(json.loads(frame)["stream"].split("@")[1] for frame in _frames(file))
    assert channels == CHANNELS[market, file]
    events = _events(market, file)
    kinds = Counter(type(event) for event in events)
    assert (kinds[BookUpdate], kinds[TopOfBook], kinds[Trade]) == tuple(
        channels[name] for name in ("depth", "bookTicker", "aggTrade")
    )
    by_symbol = defaultdict(list)
    trades: dict[str, Continuity] = {}
    for event in events:
        if isinstance(event, BookUpdate):
            by_symbol[event.symbol].append(event)
        elif isinstance(event, Trade):
            assert trades.setdefault(event.symbol, Continuity()).check(event.first, event.last) is NEW
    assert [_breaks(_anything(market), updates) for updates in by_symbol.values()] == [0, 0]


@pytest.mark.parametrize(("market", "file"), SNAPSHOTS)
def test_snapshots_over_rest_when_decoded_then_they_are_those_of_the_manifest(market: str, file: str) -> None:
    venue = _anything(market)
    found = {symbol: venue.decode_snapshot(symbol, body) for symbol, body in _bodies(file)}
    assert {
        symbol: (book.last, len(book.bids), len(book.asks), book.bids[0], book.asks[0])
        for symbol, book in found.items()
    } == SNAPSHOTS[market, file]
    assert all(book.snapshot for book in found.values())


def _bodies(file: str) -> Iterator[tuple[str, bytes]]:
    for line in _lines(file):
        if line.startswith(b"https://"):
            url, _, rest = line.partition(b" -> ")
            body = rest.split(b": ", 1)[1].split(b" header: ", 1)[0]
            yield url.split(b"symbol=")[1].split(b"&")[0].decode(), body


@pytest.mark.parametrize(
    ("market", "capture", "snapshots"),
    [
        ("spot", "binance_spot__ws_capture__4.txt", "binance_spot__depth_snapshot__1.txt.gz"),
        ("usdm", "binance_usdm__ws_capture__1.txt.gz", "binance_usdm__depth_snapshot__1.txt.gz"),
    ],
)
def test_snapshot_and_stream_of_one_session_when_joined_then_the_book_is_what_the_best_prices_say(
    market: str, capture: str, snapshots: str
) -> None:
    venue = _anything(market)
    events = _events(market, capture)
    for symbol, body in _bodies(snapshots):
        book, rule = Book(symbol), venue.book_rule(symbol)
        snapshot = venue.decode_snapshot(symbol, body)
        assert rule.check(snapshot) is Step.APPLY
        book.apply(snapshot)
        tops: dict[int, TopOfBook] = {}
        checked = 0
        for event in events:
            if isinstance(event, TopOfBook) and event.symbol == symbol:
                tops[event.last] = event
            elif isinstance(event, BookUpdate) and event.symbol == symbol:
                step = rule.check(event)
                assert step is not Step.RESYNC
                if step is Step.APPLY:
                    book.apply(event)
                    # The same number: both speak of the same moment.
                    if event.last in tops:
                        top = tops[event.last]
                        assert book.best() == ((top.bid, top.bid_size), (top.ask, top.ask_size))
                        checked += 1
        assert not book.crossed
        assert checked > 0, f"no best price of {symbol} falls on an update"


def test_frames_when_decoded_then_each_is_what_its_label_says() -> None:
    ours = {"trade": Trade, "funding_rate": Funding, "l2_event": BookUpdate, "bbo": TopOfBook}
    markets = {"spot": "spot", "linear": "usdm", "inverse": "coinm"}
    seen: Counter[str] = Counter()
    for label, frame in framed("binance__ws_frames_msgparser__1.jsonl"):
        kind, _, market = label.partition("::")
        seen[kind] += 1
        venue = _anything(markets.get(market.split("_")[0], "usdm"))
        expected = Unknown if market == "option" else ours.get(kind, Unknown)
        events = venue.decode(frame)
        assert {type(event) for event in events} == {expected}, label
        if kind == "l2_snapshot":
            assert venue.decode_snapshot("BTCUSDT", frame).last == json.loads(frame)["lastUpdateId"]
    assert sum(seen.values()) == 51
