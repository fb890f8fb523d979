"""What holds of every decoder, whatever it is fed: good frames of each protocol, and a judge of what comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import import_module

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import (
    BookUpdate,
    Event,
    Funding,
    Heartbeat,
    Level,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    OptionTick,
    Sequence,
    TopOfBook,
    Trade,
    Unknown,
    VolatilityIndex,
)
from coinswarm.ticks.protocol import Venue
from coinswarm.ticks.replay import VENUES

_UNSIGNED = re.compile(r"(?=\.?[0-9])[0-9]*\.?[0-9]*")
_SIGNED = re.compile(rf"-?{_UNSIGNED.pattern}")
_LATEST = 10**14
_BIGGEST_ID = 2**63
# Nothing that is kept for longer than a frame may be longer than this, but what a venue says about itself.
_LONGEST_NUMBER = 200
_LONGEST_TEXT = 200


def _json(*messages: object) -> tuple[bytes, ...]:
    return tuple(json.dumps(message, separators=(",", ":")).encode() for message in messages)


def _binance(symbol: str, **more: object) -> tuple[bytes, ...]:
    trade = {"s": symbol, "p": "70000.10", "q": "0.5", "T": 1770000000100, "m": True} | more
    order = {"s": symbol, "S": "SELL", "q": "0.014", "p": "9910", "ap": "9911.5", "z": "0.013", "T": 1770000000100}
    levels = {"b": [["70000.10", "10"]], "a": [["70000.20", "0.000"], ["70001", "3"]]}
    best = {"u": 400, "s": symbol, "b": "70000.10", "B": "31.2", "a": "70000.20", "A": "40.6"}
    mark = {"E": 1770000000100, "s": symbol, "p": "70000.1", "i": "70001", "r": "-0.0001", "T": 1770000900000}
    name = symbol.lower()
    return _json(
        {"stream": f"{name}@trade", "data": {"e": "trade", "E": 1770000000101, "t": 12345} | trade},
        {"stream": f"{name}@aggTrade", "data": {"e": "aggTrade", "a": 5, "f": 100, "l": 105} | trade},
        {"stream": f"{name}@depth@100ms", "data": {"E": 1, "s": symbol, "U": 157, "u": 160, "pu": 149} | levels},
        {"stream": f"{name}@bookTicker", "data": best},
        {"stream": f"{name}@markPrice@1s", "data": mark},
        {"stream": "!markPrice@arr", "data": [mark, mark]},
        {"stream": f"{name}@forceOrder", "data": {"e": "forceOrder", "o": order}},
        {"stream": f"{name}@kline_1m", "data": {"e": "kline"}},
        {"result": None, "id": 1},
        {"error": {"code": 2, "msg": "Invalid request"}, "id": 1},
        {"event": {"e": "serverShutdown", "E": 1770000000100}},
    )


def _bybit(symbol: str) -> tuple[bytes, ...]:
    def push(topic: str, data: object, kind: str = "snapshot") -> object:
        return {"topic": f"{topic}.{symbol}", "type": kind, "ts": 1770000000100, "data": data, "cts": 1770000000099}

    trade = {"T": 1770000000100, "s": symbol, "S": "Buy", "v": "0.001", "p": "16578.50", "i": "20f43950", "BT": False}
    book = {"s": symbol, "b": [["16493.50", "0.006"]], "a": [["16611.00", "0"]], "u": 18521288, "seq": 7961638724}
    state = {
        "symbol": symbol,
        "markPrice": "17217.33",
        "indexPrice": "17227.36",
        "singleOpenInterest": "34372.381",
        "nextFundingTime": "1770009600000",
        "fundingRate": "-0.000212",
        "fundingIntervalHour": "8",
    }
    order = {"T": 1770000000100, "s": symbol, "S": "Sell", "v": "0.2", "p": "16000.5"}
    return _json(
        push("publicTrade", [trade, trade | {"S": "Sell", "i": "2"}]),
        push("orderbook.50", book),
        push("orderbook.50", book, "delta"),
        push("tickers", state),
        push("tickers", {"symbol": symbol, "markPrice": "1"}, "delta"),
        push("allLiquidation", [order]),
        {"success": True, "ret_msg": "pong", "conn_id": "c", "op": "ping"},
        {"success": False, "ret_msg": "error", "conn_id": "c", "op": "subscribe"},
    )


def _bybit_v2() -> tuple[bytes, ...]:
    trade = {
        "trade_time_ms": 1616304614117,
        "symbol": "BTCUSD",
        "side": "Sell",
        "size": 300,
        "price": 40000.5,
        "trade_id": "2cbeff0d",
        "cross_seq": 233452601,
    }
    bid = {"price": "2999.00", "symbol": "BTCUSD", "id": 29990000, "side": "Buy", "size": 8}
    ask = bid | {"price": "3001.00", "side": "Sell", "size": 10.5}
    numbers = {"cross_seq": 11518, "timestamp_e6": 1555647164875373}
    delta = {"delete": [bid], "update": [ask], "insert": [bid]}
    return _json(
        {"topic": "trade.BTCUSD", "data": [trade]},
        {"topic": "orderBookL2_25.BTCUSD", "type": "snapshot", "data": [bid, ask]} | numbers,
        {"topic": "orderBookL2_25.BTCUSD", "type": "snapshot", "data": {"order_book": [bid, ask]}} | numbers,
        {"topic": "orderBookL2_25.BTCUSD", "type": "delta", "data": delta} | numbers,
        {"success": True, "ret_msg": "", "conn_id": "c", "request": {"op": "subscribe", "args": ["trade.BTCUSD"]}},
    )


def _coinbase() -> tuple[bytes, ...]:
    def push(channel: str, event: object) -> object:
        stamp = {"timestamp": "2026-03-01T12:00:00.250000001Z", "sequence_num": 7}
        return {"channel": channel, "client_id": "", **stamp, "events": [event]}

    trade = {
        "trade_id": "12345",
        "product_id": "BTC-USD",
        "price": "60123.10",
        "size": "0.001",
        "side": "SELL",
        "time": "2026-03-01T12:00:00.123456Z",
    }
    bid = {"side": "bid", "event_time": "1970-01-01T00:00:00Z", "price_level": "60123.10", "new_quantity": "0.5"}
    offer = bid | {"side": "offer", "price_level": "60124.00", "new_quantity": "0"}
    return _json(
        push("market_trades", {"type": "snapshot", "trades": [trade, trade | {"trade_id": "12344", "side": "BUY"}]}),
        push("l2_data", {"type": "snapshot", "product_id": "BTC-USD", "updates": [bid, offer]}),
        push("l2_data", {"type": "update", "product_id": "BTC-USD", "updates": [offer]}),
        push("heartbeats", {"current_time": "2026-03-01", "heartbeat_counter": 3049}),
        push("subscriptions", {"subscriptions": {"level2": ["BTC-USD"]}}),
        {"type": "error", "message": "channel not allowed"},
    )


def _coinbase_exchange() -> tuple[bytes, ...]:
    time = {"time": "2026-03-01T12:00:00.123456Z"}
    match = {"product_id": "BTC-USD", "trade_id": 10, "sequence": 50, "side": "sell", "size": "5.2", "price": "400.23"}
    ticker = {"product_id": "BTC-USD", "best_bid": "400.22", "best_bid_size": "1.5", "best_ask": "400.23"}
    return _json(
        {"type": "match"} | match | time,
        {"type": "last_match"} | match | time,
        {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.1", "2"]], "asks": [["1.2", "3"]]},
        {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1.15", "4"], ["sell", "1.2", "0.00"]]}
        | time,
        {"type": "ticker", "best_ask_size": "0"} | ticker | time,
        {"type": "subscriptions", "channels": [{"name": "level2", "product_ids": ["BTC-USD"]}]},
        {"type": "error", "message": "no"},
    )


def _deribit() -> tuple[bytes, ...]:
    def push(channel: str, data: object) -> object:
        return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}

    trade = {
        "trade_seq": 30289442,
        "trade_id": "48079269",
        "timestamp": 1590484512188,
        "price": 8950.0,
        "instrument_name": "BTC-PERPETUAL",
        "direction": "sell",
        "amount": 10.0,
        "liquidation": "MT",
    }
    change = {
        "type": "change",
        "timestamp": 1554373911330,
        "prev_change_id": 297217,
        "instrument_name": "BTC-PERPETUAL",
        "change_id": 297218,
        "bids": [["delete", 5041.94, 0.0]],
        "asks": [["new", 5042.5, 40.0], ["change", 5042.64, 250.0]],
    }
    group = {"instrument_name": "BTC-PERPETUAL", "timestamp": 1, "change_id": 2, "bids": [[1.5, 2]], "asks": [[3, 4]]}
    perpetual = {
        "timestamp": 1623059681955,
        "instrument_name": "BTC-PERPETUAL",
        "open_interest": 502097590,
        "mark_price": 36446.51,
        "index_price": 36441.64,
        "funding_8h": -2.11e-5,
    }
    option = {
        "timestamp": 1623060151921,
        "instrument_name": "BTC-3JAN26-100000-C",
        "mark_price": 0.0333,
        "mark_iv": 80.95,
        "bid_iv": 0.0,
        "ask_iv": 97.7,
        "underlying_price": 36450.12,
        "open_interest": 12.5,
        "greeks": {"delta": -0.05785},
    }
    mark = {"instrument_name": "BTC-3JAN26-100000-C", "timestamp": 1623060151921, "mark_price": 0.03, "iv": 0.8095}
    index = {"index_name": "btc_usd", "timestamp": 1623060151921, "volatility": 129.36}
    return _json(
        push("trades.BTC-PERPETUAL.100ms", [trade]),
        push("book.BTC-PERPETUAL.100ms", change),
        push("book.BTC-PERPETUAL.none.10.100ms", group),
        push("ticker.BTC-PERPETUAL.agg2", perpetual),
        push("ticker.BTC-3JAN26-100000-C.agg2", option),
        push("markprice.options.btc_usd", [mark]),
        push("deribit_volatility_index.btc_usd", index),
        {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
        {"jsonrpc": "2.0", "id": 3, "result": ["trades.BTC-PERPETUAL.100ms"]},
        {"jsonrpc": "2.0", "id": 3, "error": {"code": 10028, "message": "too_many_requests"}},
    )


def _kraken() -> tuple[bytes, ...]:
    trade = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 64321.1,
        "qty": 0.5,
        "trade_id": 4665906,
        "timestamp": "2023-09-25T07:49:37.708706Z",
    }
    book = {
        "symbol": "BTC/USD",
        "bids": [{"price": 45283.5, "qty": 0.1}],
        "asks": [{"price": 45285.2, "qty": 0}],
        "checksum": 3310070434,
    }
    return _json(
        {"channel": "trade", "type": "snapshot", "data": [trade, trade | {"side": "buy", "trade_id": 1}]},
        {"channel": "book", "type": "snapshot", "data": [book]},
        {"channel": "book", "type": "update", "data": [book | {"timestamp": "2023-10-06T17:35:55.440295Z"}]},
        {"channel": "heartbeat"},
        {"channel": "status", "type": "update", "data": [{"system": "maintenance"}]},
        {"method": "subscribe", "result": {"channel": "book", "symbol": "BTC/USD"}, "success": True},
    )


def _kraken_v1() -> tuple[bytes, ...]:
    level, check = ["5541.30000", "2.50700000", "1534614248.123678"], {"c": "974942666"}
    return _json(
        [0, [["5541.20000", "0.15850568", "1534614057.321597", "s", "l", ""]], "trade", "XBT/USD"],
        [0, {"as": [level], "bs": [level]}, "book-100", "XBT/USD"],
        [0, {"a": [level]}, {"b": [level], **check}, "book-10", "XBT/USD"],
        {"event": "heartbeat"},
        {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/USD", "channelName": "trade"},
    )


def _kraken_futures() -> tuple[bytes, ...]:
    trade = {
        "feed": "trade",
        "product_id": "PF_XBTUSD",
        "uid": "caa9c653-420b-4c24-a9f1-462a054d86f1",
        "side": "sell",
        "type": "liquidation",
        "seq": 653355,
        "time": 1612269825817,
        "qty": 0.15,
        "price": 34969.5,
    }
    change = {
        "feed": "book",
        "product_id": "PF_XBTUSD",
        "side": "sell",
        "seq": 326094134,
        "price": 34981,
        "qty": 0,
        "timestamp": 1612269953629,
    }
    snapshot = {
        "feed": "book_snapshot",
        "product_id": "PF_XBTUSD",
        "timestamp": 1612269825817,
        "seq": 326072249,
        "bids": [{"price": 34892.5, "qty": 6385.0}],
        "asks": [{"price": 34911.5, "qty": 20598.0}],
    }
    ticker = {
        "feed": "ticker",
        "product_id": "PF_XBTUSD",
        "time": 1676393235406,
        "relative_funding_rate": -0.000012,
        "next_funding_rate_time": 1676394000000,
        "index": 21984.54,
        "markPrice": 21979.68641534714,
        "openInterest": 3072.9,
    }
    past = {"feed": "trade_snapshot", "product_id": "PF_XBTUSD", "trades": [trade]}
    return _json(trade, past, snapshot, change, ticker, {"feed": "heartbeat", "time": 1534262350627})


def _okx() -> tuple[bytes, ...]:
    def push(channel: str, name: str, row: object, **more: object) -> object:
        return {"arg": {"channel": channel, "instId": name}, **more, "data": [row]}

    trade = {"tradeId": "130639474", "px": "42219.9", "sz": "7.5", "side": "buy", "ts": "1770000000100"}
    book = {
        "asks": [["8476.98", "415", "0", "13"]],
        "bids": [["8476.97", "0", "0", "12"]],
        "ts": "1770000000100",
        "checksum": -855196043,
        "prevSeqId": 3,
        "seqId": 4,
    }
    funding = {"fundingRate": "-0.0001", "fundingTime": "1770009600000", "nextFundingTime": "1770038400000"}
    order = {"side": "sell", "posSide": "long", "bkPx": "15", "sz": "1", "ts": "1770000000100"}
    return _json(
        push("trades-all", "BTC-USDT", trade | {"instId": "BTC-USDT"}),
        push("trades-all", "BTC-USDT-SWAP", trade | {"instId": "BTC-USDT-SWAP"}),
        push("trades-all", "BTC-USD-SWAP", trade | {"instId": "BTC-USD-SWAP"}),
        push("trades", "BTC-USDT", trade | {"instId": "BTC-USDT", "count": "3"}),
        push("books", "BTC-USDT", book, action="snapshot"),
        push("books", "BTC-USDT", book, action="update"),
        push("funding-rate", "BTC-USDT-SWAP", funding | {"instId": "BTC-USDT-SWAP", "ts": "1770000000100"}),
        push("open-interest", "X", {"instId": "BTC-USDT-SWAP", "oi": "5000", "oiCcy": "50.5", "ts": "1770000000100"}),
        push("liquidation-orders", "X", {"instId": "BTC-USDT-SWAP", "details": [order]}),
        {"event": "error", "code": "60012", "msg": "Invalid request"},
        {"event": "notice", "code": "64008", "msg": "The connection will soon be closed"},
    )


GOOD: Mapping[str, tuple[bytes, ...]] = {
    "binance_spot": _binance("BTCUSDT"),
    "binance_usdm": _binance("BTCUSDT", st=1, nq="0.5"),
    "binance_coinm": _binance("BTCUSD_PERP", q="3"),
    "bybit_linear": _bybit("BTCUSDT"),
    "bybit_spot": _bybit("BTCUSDT"),
    "bybit_v2": _bybit_v2(),
    "coinbase": _coinbase(),
    "coinbase_exchange": _coinbase_exchange(),
    "deribit": _deribit(),
    "kraken": _kraken(),
    "kraken_v1": _kraken_v1(),
    "kraken_futures": _kraken_futures(),
    "okx": _okx(),
}
"""Frames that each protocol documents, at least one of each kind that is ours, by its name for replays."""


def venues(name: str) -> tuple[Venue, ...]:
    """All connections of a protocol: with the listed instruments, and with any."""
    module, market = VENUES[name]
    connections = import_module(f"coinswarm.ticks.venues.{module}").connections
    return (*connections(market, list(INSTRUMENTS)), *connections(market, None))


def judge(venue: Venue, frame: bytes) -> tuple[Event, ...]:
    """Events of a frame, none of them wrong; nothing if the frame is refused.

    Raises:
        AssertionError: an event that cannot be.
        Exception: anything else that a decoder must not raise.
    """
    refusal = ""
    try:
        events = tuple(venue.decode(frame))
    except MalformedFrame as error:
        events, refusal = (), str(error) or "nothing"
    assert refusal != "nothing", "it says what is wrong"
    assert len(refusal) < 400, "it does not repeat the frame"
    for event in events:
        check(event)
    return events


def check(event: Event) -> None:
    """Refuse an event that cannot be, whatever the venue says."""
    match event:
        case Trade():
            _named(event.symbol, event.id)
            _positive(event.price)
            _unsigned(event.size)
            assert event.native == "" or _unsigned(event.native)
            assert event.side in ("buy", "sell")
            assert event.first == event.last == -1 or 0 <= event.first <= event.last < _BIGGEST_ID
        case BookUpdate():
            _named(event.symbol)
            _levels(event.bids)
            _levels(event.asks)
            assert all(-1 <= number < _BIGGEST_ID for number in _numbers(event))
        case TopOfBook():
            _named(event.symbol)
            _levels([(event.bid, event.bid_size), (event.ask, event.ask_size)])
        case Liquidation():
            _named(event.symbol)
            _positive(event.price)
            _unsigned(event.size)
            assert event.side in ("long", "short")
            assert event.price_kind in ("average", "bankruptcy", "order")
        case Funding():
            _named(event.symbol)
            assert event.rate == "" or _SIGNED.fullmatch(event.rate)
            assert all(text == "" or _unsigned(text) for text in (event.mark, event.index))
            assert -1 <= event.next_ts < _LATEST
        case OpenInterest():
            _named(event.symbol)
            _unsigned(event.base)
        case OptionTick():
            _named(event.symbol, event.asset)
            numbers = (event.mark_iv, event.bid_iv, event.ask_iv, event.mark, event.underlying, event.open_interest)
            assert all(text == "" or _unsigned(text) for text in numbers)
            assert event.delta == "" or _SIGNED.fullmatch(event.delta)
        case VolatilityIndex():
            _named(event.asset)
            _positive(event.value)
        case Heartbeat():
            assert -1 <= event.counter < _BIGGEST_ID
        case Sequence():
            assert 0 <= event.number < _BIGGEST_ID
        case Unknown():
            assert 0 < len(event.kind) <= _LONGEST_TEXT
        case _:
            pass
    assert 0 <= getattr(event, "ts", 0) < _LATEST


def _numbers(update: BookUpdate) -> tuple[int, ...]:
    return update.first, update.last, update.previous, update.checksum


def _named(*names: str) -> None:
    assert all(0 < len(name) <= 80 for name in names)


def _unsigned(text: str) -> bool:
    assert len(text) <= _LONGEST_NUMBER
    assert _UNSIGNED.fullmatch(text), text
    return True


def _positive(text: str) -> None:
    assert _unsigned(text)
    assert text.strip("0."), "it is zero"


def _levels(levels: Iterable[Level]) -> None:
    for price, size in levels:
        _positive(price)
        _unsigned(size)
