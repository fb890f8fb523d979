"""What each venue says on its WebSocket, by its documentation, without a socket."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.protocol import Call
from coinswarm.sandbox.server import build
from coinswarm.sandbox.streams.registry import HOSTS
from coinswarm.sandbox.streams.session import Hangup, Message, Session

pytestmark = pytest.mark.unit

NOW = 1_790_000_123_456
MODEL: Sandbox = build("simulate", seed=5)
PATHS = {
    "stream.binance.com:9443": "/stream",
    "data-stream.binance.vision": "/ws",
    "fstream.binance.com": "/market/stream",
    "dstream.binance.com": "/ws",
    "advanced-trade-ws.coinbase.com": "/",
    "ws.kraken.com": "/v2",
    "futures.kraken.com": "/ws/v1",
    "ws.okx.com:8443": "/ws/v5/public",
    "wseea.okx.com": "/ws/v5/business",
    "wsus.okx.com": "/ws/v5/public",
    "stream.bybit.com": "/v5/public/linear",
    "www.deribit.com": "/ws/api/v2",
    "streams.deribit.com": "/ws/api/v2",
}


class Client:
    """One connection, on a clock that only moves when it is told to."""

    def __init__(self, host: str, path: str = "", **query: str) -> None:
        self.sandbox = MODEL
        self.now = NOW
        self._set()
        session = self.sandbox.open_stream(Call(host, path or PATHS[host], query))
        assert session is not None
        self.session: Session = session
        self.greeting = self._read(session.opened(self.now))

    def _set(self) -> None:
        self.sandbox.world.clock.set_milliseconds(self.now)

    @staticmethod
    def _read(messages: Any) -> list[Any]:
        return [_parsed(message) for message in messages]

    def say(self, request: object) -> list[Any]:
        text = request if isinstance(request, bytes) else json.dumps(request).encode()
        self._set()
        return self._read(self.session.heard(text, self.now))

    def wait(self, seconds: float, step_ms: int = 100) -> list[Any]:
        heard = []
        for _ in range(round(seconds * 1000 / step_ms)):
            self.now += step_ms
            self._set()
            heard += self._read(self.session.due(self.now))
        return heard

    def rest(self, host: str, path: str, **query: object) -> Any:
        self._set()
        words = {name: str(value) for name, value in query.items()}
        reply, _ = self.sandbox.answer(Call(host, path, words))
        assert reply.status == 200, reply.body
        return json.loads(reply.body, parse_float=Decimal)

    def produced(self, host: str, symbol: str, **query: object) -> Any:
        words = {"host": host, "symbol": symbol, **{name: str(value) for name, value in query.items()}}
        reply, _ = self.sandbox.answer(Call("_control", "/ticks", words))
        assert reply.status == 200, reply.body
        return json.loads(reply.body)


def _parsed(message: Message) -> Any:
    if message.ping:
        return "PING"
    try:
        return json.loads(message.payload, parse_float=Decimal)
    except ValueError:
        return message.payload.decode()


def consecutive(numbers: list[int]) -> bool:
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def followed(book: dict[str, dict[Decimal, Decimal]], side: str, levels: Any) -> None:
    for price, size in levels:
        if Decimal(size):
            book.setdefault(side, {})[Decimal(price)] = Decimal(size)
        else:
            book.setdefault(side, {}).pop(Decimal(price), None)


def best(book: dict[str, dict[Decimal, Decimal]], depth: int = 5) -> Any:
    bids, asks = sorted(book["bids"].items(), reverse=True), sorted(book["asks"].items())
    return bids[:depth], asks[:depth]


# ---- Binance


def test_binance_when_subscribed_then_trades_are_those_of_rest_and_the_ledger() -> None:
    client = Client("stream.binance.com:9443")
    assert client.say({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 7}) == [{"result": None, "id": 7}]
    frames = client.wait(60)
    assert {frame["stream"] for frame in frames if frame != "PING"} == {"btcusdt@trade"}
    assert frames.count("PING") == 3
    trades = [frame["data"] for frame in frames if frame != "PING"]
    ids = [trade["t"] for trade in trades]
    assert consecutive(ids)
    produced = client.produced("stream.binance.com:9443", "BTCUSDT", start=NOW + 1, end=client.now + 1)
    assert (produced["first_id"], produced["last_id"], produced["count"]) == (ids[0], ids[-1], len(ids))
    assert sum(Decimal(trade["q"]) for trade in trades) == Decimal(produced["size"])
    assert set(trades[0]) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}
    page = client.rest("api.binance.com", "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=ids[0], limit=1000)
    assert [(x["id"], x["price"], x["qty"], x["time"], x["isBuyerMaker"]) for x in page] == [
        (x["t"], x["p"], x["q"], x["T"], x["m"]) for x in trades
    ]


def test_binance_when_a_book_is_followed_from_rest_then_numbers_chain_and_it_is_that_of_rest() -> None:
    for host, path, rest_host, rest_path, futures in (
        ("stream.binance.com:9443", "/stream", "api.binance.com", "/api/v3/depth", False),
        ("fstream.binance.com", "/public/stream", "fapi.binance.com", "/fapi/v1/depth", True),
    ):
        client = Client(host, path, streams="btcusdt@depth@100ms")
        early = client.wait(2)
        snapshot = client.rest(rest_host, rest_path, symbol="BTCUSDT", limit=1000)
        later = client.wait(30)
        updates = [frame["data"] for frame in (*early, *later) if frame != "PING"]
        for before, after in itertools.pairwise(updates):
            assert after["U"] == before["u"] + 1
            assert not futures or after["pu"] == before["u"]
        last = snapshot["lastUpdateId"]
        assert last in [update["u"] for update in updates]
        book: dict[str, dict[Decimal, Decimal]] = {}
        for side in ("bids", "asks"):
            followed(book, side, snapshot[side])
        for update in updates:
            if update["u"] > last:
                followed(book, "bids", update["b"])
                followed(book, "asks", update["a"])
        final = client.rest(rest_host, rest_path, symbol="BTCUSDT", limit=1000)
        assert final["lastUpdateId"] == updates[-1]["u"]
        assert best(book, 50) == best(
            {side: {Decimal(p): Decimal(q) for p, q in final[side]} for side in ("bids", "asks")}, 50
        )


def test_binance_when_futures_are_subscribed_then_orders_cover_their_trades_and_marks_are_rests() -> None:
    client = Client("fstream.binance.com", "/market/ws/btcusdt@aggTrade/btcusdt@markPrice@1s")
    frames = client.wait(30)
    orders = [frame for frame in frames if frame["e"] == "aggTrade"]
    assert consecutive([order["a"] for order in orders])
    assert all(late["f"] == early["l"] + 1 for early, late in itertools.pairwise(orders))
    produced = client.produced("fstream.binance.com", "BTCUSDT", start=NOW + 1)["orders"]
    assert produced["last_id"] == orders[-1]["a"]
    assert orders[0]["a"] in (produced["first_id"], produced["first_id"] - 1)
    rest = client.rest("fapi.binance.com", "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=orders[0]["a"], limit=1000)
    fields = ("a", "p", "q", "f", "l", "T", "m")
    assert [[row[name] for name in fields] for row in rest] == [[row[name] for name in fields] for row in orders]
    marks = [frame for frame in frames if frame["e"] == "markPriceUpdate"]
    assert len(marks) == 30
    client.now = marks[-1]["E"]
    index = client.rest("fapi.binance.com", "/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert (index["markPrice"], index["indexPrice"], index["lastFundingRate"], index["nextFundingTime"]) == (
        marks[-1]["p"],
        marks[-1]["i"],
        marks[-1]["r"],
        marks[-1]["T"],
    )


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/public/stream", "btcusdt@aggTrade"),
        ("/market/stream", "btcusdt@depth@100ms"),
        ("/stream", "btcusdt@aggTrade"),
        ("/market/stream", "nopeusdt@aggTrade"),
    ],
)
def test_binance_when_the_path_is_wrong_then_it_is_acknowledged_and_silent(path: str, stream: str) -> None:
    client = Client("fstream.binance.com", path)
    assert client.say({"method": "SUBSCRIBE", "params": [stream], "id": 1}) == [{"result": None, "id": 1}]
    assert client.wait(20) == []


def test_binance_when_many_seconds_pass_then_forced_orders_are_one_a_second() -> None:
    client = Client("fstream.binance.com", "/market/stream", streams="btcusdt@forceOrder")
    frames = client.wait(600, step_ms=500)
    orders = [frame["data"]["o"] for frame in frames if frame != "PING"]
    assert 3 < len(orders) < 200
    assert {order["S"] for order in orders} <= {"BUY", "SELL"}
    seconds = [order["T"] // 1000 for order in orders]
    assert len(set(seconds)) == len(seconds)


def test_binance_when_unsubscribed_or_asked_nonsense_then_it_says_so() -> None:
    client = Client("stream.binance.com:9443", "/ws/btcusdt@trade")
    assert client.wait(5)
    assert client.say({"method": "LIST_SUBSCRIPTIONS", "id": 2}) == [{"result": ["btcusdt@trade"], "id": 2}]
    assert client.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 3}) == [{"result": None, "id": 3}]
    assert client.wait(5) == []
    assert client.say({"method": "DANCE", "id": 4})[0]["code"] == 2
    assert client.say(b"{")[0]["code"] == 2


def test_binance_when_microseconds_are_wanted_then_times_are_microseconds() -> None:
    client = Client("stream.binance.com:9443", "/ws/btcusdt@trade", timeUnit="MICROSECOND")
    assert all(frame["T"] > 10**15 for frame in client.wait(3))


# ---- Coinbase


def test_coinbase_when_channels_are_subscribed_then_all_frames_are_counted_together() -> None:
    client = Client("advanced-trade-ws.coinbase.com")
    heard = []
    for channel in ("heartbeats", "market_trades", "level2"):
        heard += client.say({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": channel})
    snapshots = [frame for frame in heard if frame["channel"] == "market_trades"]
    assert [frame["events"][0]["type"] for frame in snapshots] == ["snapshot", "snapshot"]
    assert all(len(frame["events"][0]["trades"]) == 50 for frame in snapshots)
    heard += client.wait(30)
    assert [frame["sequence_num"] for frame in heard] == list(range(len(heard)))
    beats = [frame["events"][0]["heartbeat_counter"] for frame in heard if frame["channel"] == "heartbeats"]
    assert len(beats) == 30
    assert consecutive(beats)
    newest_first = [
        [int(trade["trade_id"]) for trade in frame["events"][0]["trades"] if trade["product_id"] == "BTC-USD"]
        for frame in heard
        if frame["channel"] == "market_trades"
    ]
    ids = [number for frame in newest_first for number in reversed(frame)]
    assert consecutive(ids)
    rest = client.rest(
        "api.coinbase.com",
        "/api/v3/brokerage/market/products/BTC-USD/ticker",
        limit=1000,
        start=NOW // 1000 - 600,
        end=client.now // 1000 + 1,
    )["trades"]
    by_id = {row["trade_id"]: row for row in rest}
    for frame in heard:
        for event in frame["events"] if frame["channel"] == "market_trades" else ():
            for trade in event["trades"]:
                assert trade["product_id"] != "BTC-USD" or by_id[trade["trade_id"]] == trade


def test_coinbase_when_a_book_is_followed_then_the_deepest_bid_is_below_the_best_offer() -> None:
    client = Client("advanced-trade-ws.coinbase.com")
    heard = client.say({"type": "subscribe", "product_ids": ["BTC-USDC"], "channel": "level2"}) + client.wait(20)
    books = [event for frame in heard if frame["channel"] == "l2_data" for event in frame["events"]]
    assert [event["type"] for event in books] == ["snapshot"] + ["update"] * (len(books) - 1)
    assert {event["product_id"] for event in books} == {"BTC-USD"}
    book: dict[str, dict[Decimal, Decimal]] = {}
    for event in books:
        for row in event["updates"]:
            side = {"bid": "bids", "offer": "asks"}[row["side"]]
            followed(book, side, [(row["price_level"], row["new_quantity"])])
    bids, asks = best(book)
    assert bids[0][0] < asks[0][0]
    last = client.produced("api.coinbase.com", "BTC-USD")
    assert last["count"] > 0


def test_coinbase_when_nothing_is_subscribed_then_it_hangs_up_after_five_seconds() -> None:
    client = Client("advanced-trade-ws.coinbase.com")
    assert client.wait(4.9) == []
    with pytest.raises(Hangup):
        client.wait(0.2)


def test_coinbase_when_the_product_is_unknown_then_an_error_says_so() -> None:
    answer = Client("advanced-trade-ws.coinbase.com").say(
        {"type": "subscribe", "product_ids": ["NO-PE"], "channel": "level2"}
    )
    assert [frame["type"] for frame in answer] == ["error"]


def test_coinbase_exchange_when_paged_by_number_then_pages_join() -> None:
    client = Client("advanced-trade-ws.coinbase.com")
    first = client.rest("api.exchange.coinbase.com", "/products/BTC-USD/trades", limit=100)
    second = client.rest(
        "api.exchange.coinbase.com", "/products/BTC-USD/trades", limit=100, after=first[-1]["trade_id"]
    )
    assert consecutive([row["trade_id"] for row in (*first, *second)][::-1])


# ---- Kraken


def crc(asks: list[Any], bids: list[Any]) -> int:
    """As Kraken's guide says: ten asks, then ten bids, digits only."""
    digits = [re.sub(r"^0+", "", str(x).replace(".", "")) for level in (*asks[:10], *bids[:10]) for x in level]
    return zlib.crc32("".join(digits).encode())


def test_kraken_when_a_book_of_ten_is_followed_then_every_checksum_is_right() -> None:
    client = Client("ws.kraken.com")
    assert client.greeting[0]["data"][0]["system"] == "online"
    symbols = ["BTC/USD", "ETH/USD", "SOL/USD", "ETH/BTC"]
    params = {"channel": "book", "symbol": symbols, "depth": 10}
    heard = client.say({"method": "subscribe", "params": params, "req_id": 3})
    answers = [frame for frame in heard if "method" in frame]
    assert [frame["result"]["symbol"] for frame in answers] == symbols
    assert {frame["req_id"] for frame in answers} == {3}
    heard += client.wait(60)
    books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
    checked = 0
    for frame in (frame for frame in heard if frame.get("channel") == "book"):
        for row in frame["data"]:
            book = books.setdefault(row["symbol"], {}) if frame["type"] == "update" else {}
            books[row["symbol"]] = book
            for side in ("bids", "asks"):
                followed(book, side, [(level["price"], level["qty"]) for level in row[side]])
                order = sorted(book[side], reverse=side == "bids")
                for gone in order[10:]:
                    del book[side][gone]
            bids, asks = best(book, 10)
            assert crc(asks, bids) == row["checksum"]
            checked += 1
    assert checked > 300


def test_kraken_when_trades_are_subscribed_then_fifty_past_ones_come_first_and_rest_has_them_all() -> None:
    client = Client("ws.kraken.com")
    heard = client.say({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}})
    heard += client.wait(120)
    trades = [(frame["type"], row) for frame in heard if frame.get("channel") == "trade" for row in frame["data"]]
    assert [kind for kind, _ in trades[:51]] == ["snapshot"] * 50 + ["update"]
    assert consecutive([row["trade_id"] for _, row in trades])
    rows: list[Any] = []
    since = str(NOW * 1_000_000 - 3600 * 10**9)
    while True:
        result = client.rest("api.kraken.com", "/0/public/Trades", pair="XXBTZUSD", since=since, count=100)["result"]
        page = result["XXBTZUSD"]
        if not page:
            break
        rows += page
        assert result["last"] != since, "the cursor stands still"
        since = result["last"]
    assert consecutive([row[6] for row in rows])
    by_id = {row[6]: row for row in rows}
    for _, trade in trades:
        price, qty, at, side, *_ = by_id[trade["trade_id"]]
        assert (Decimal(price), Decimal(qty)) == (trade["price"], trade["qty"])
        assert {"b": "buy", "s": "sell"}[side] == trade["side"]
        assert f"{at:.6f}".endswith(trade["timestamp"][20:26])


def test_kraken_when_quiet_then_heartbeats_come() -> None:
    client = Client("ws.kraken.com")
    client.say({"method": "subscribe", "params": {"channel": "trade", "symbol": ["ETH/BTC"], "snapshot": False}})
    heard = client.wait(120)
    beats = [frame for frame in heard if frame["channel"] == "heartbeat"]
    assert 20 < len(beats) <= 120
    assert client.say({"method": "ping", "req_id": 9})[0]["method"] == "pong"
    wrong = client.say({"method": "subscribe", "params": {"channel": "book", "symbol": ["NO/PE"]}})
    assert wrong[0]["success"] is False


def test_kraken_futures_when_followed_then_sequences_are_by_ones_and_history_has_the_same_trades() -> None:
    client = Client("futures.kraken.com")
    heard = client.greeting
    for feed in ("trade", "book", "ticker", "heartbeat"):
        heard += client.say({"event": "subscribe", "feed": feed, "product_ids": ["PF_XBTUSD"]})
    heard += client.wait(60)
    data = [frame for frame in heard if "event" not in frame]
    (past,) = [frame for frame in data if frame["feed"] == "trade_snapshot"]
    trades = past["trades"][::-1] + [frame for frame in data if frame["feed"] == "trade"]
    assert consecutive([trade["seq"] for trade in trades])
    books = [frame for frame in data if frame["feed"] in ("book_snapshot", "book")]
    assert books[0]["feed"] == "book_snapshot"
    assert consecutive([frame["seq"] for frame in books])
    book = {side: {level["price"]: level["qty"] for level in books[0][side]} for side in ("bids", "asks")}
    for frame in books[1:]:
        followed(book, "bids" if frame["side"] == "buy" else "asks", [(frame["price"], frame["qty"])])
        bids, asks = best(book)
        assert bids[0][0] < asks[0][0]
    assert len([frame for frame in data if frame["feed"] == "heartbeat"]) == 60
    history = client.rest("futures.kraken.com", "/derivatives/api/v3/history", symbol="PF_XBTUSD")["history"]
    assert len(history) == 100
    by_uid = {row["uid"]: row for row in history}
    for trade in trades[-100:]:
        row = by_uid[trade["uid"]]
        assert (row["price"], row["size"], row["side"], row["type"]) == (
            trade["price"],
            trade["qty"],
            trade["side"],
            trade["type"],
        )
    ticker = [frame for frame in data if frame["feed"] == "ticker"][-1]
    client.now = ticker["time"]
    rest = client.rest("futures.kraken.com", "/derivatives/api/v3/tickers/PF_XBTUSD")["ticker"]
    for name in ("markPrice", "openInterest"):
        assert rest[name] == ticker[name]
    assert rest["fundingRate"] == ticker["funding_rate"]
    assert rest["indexPrice"] == ticker["index"]


# ---- OKX


def test_okx_when_all_trades_are_followed_then_history_pages_back_through_them() -> None:
    client = Client("ws.okx.com:8443", "/ws/v5/business")
    argument = {"channel": "trades-all", "instId": "BTC-USDT-SWAP"}
    assert client.say({"op": "subscribe", "args": [argument]})[0] | {"connId": ""} == {
        "event": "subscribe",
        "arg": argument,
        "connId": "",
    }
    trades = [row for frame in client.wait(60) for row in frame["data"]]
    ids = [int(trade["tradeId"]) for trade in trades]
    assert consecutive(ids)
    rows: list[Any] = []
    after = ids[-1] + 1
    while after > ids[0]:
        page = client.rest(
            "www.okx.com", "/api/v5/market/history-trades", instId="BTC-USDT-SWAP", type=1, after=after, limit=100
        )["data"]
        rows += page
        after = int(page[-1]["tradeId"])
    assert [row for row in reversed(rows) if int(row["tradeId"]) >= ids[0]] == trades
    by_time = client.rest(
        "www.okx.com", "/api/v5/market/history-trades", instId="BTC-USDT-SWAP", type=2, after=client.now + 1
    )["data"]
    assert by_time[0] == trades[-1]


def test_okx_when_trades_are_merged_then_their_counts_cover_all_numbers() -> None:
    client = Client("ws.okx.com:8443")
    client.say({"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]})
    orders = [row for frame in client.wait(30) for row in frame["data"]]
    assert {row["count"] for row in orders} == {"1", "2"}
    for early, late in itertools.pairwise(orders):
        assert int(late["tradeId"]) - int(late["count"]) == int(early["tradeId"])


def test_okx_when_a_book_is_followed_then_its_numbers_chain() -> None:
    client = Client("ws.okx.com:8443")
    heard = client.say({"op": "subscribe", "args": [{"channel": "books", "instId": "ETH-USDT"}]}) + client.wait(30)
    books = [(frame["action"], frame["data"][0]) for frame in heard if "action" in frame]
    assert [action for action, _ in books] == ["snapshot"] + ["update"] * (len(books) - 1)
    assert books[0][1]["prevSeqId"] == -1
    assert all(late["prevSeqId"] == early["seqId"] for (_, early), (_, late) in itertools.pairwise(books))
    steps = {late["seqId"] - early["seqId"] for (_, early), (_, late) in itertools.pairwise(books)}
    assert len(steps) > 3
    assert {row["checksum"] for _, row in books} == {0}


def test_okx_when_swaps_are_asked_for_their_state_then_it_is_that_of_rest() -> None:
    client = Client("ws.okx.com:8443")
    arguments = [{"channel": name, "instId": "BTC-USDT-SWAP"} for name in ("funding-rate", "open-interest")]
    heard = client.say({"op": "subscribe", "args": arguments})
    said = {frame["arg"]["channel"]: frame["data"][0] for frame in heard if "data" in frame}
    rest = client.rest("www.okx.com", "/api/v5/public/funding-rate", instId="BTC-USDT-SWAP")["data"][0]
    assert said["funding-rate"] == rest
    rest = client.rest("www.okx.com", "/api/v5/public/open-interest", instType="SWAP", instId="BTC-USDT-SWAP")
    assert said["open-interest"] == rest["data"][0]
    assert len(client.wait(60)) == 22


def test_okx_when_pinged_as_text_then_it_answers_as_text_and_wrong_channels_are_refused() -> None:
    client = Client("ws.okx.com:8443")
    assert client.say(b"ping") == ["pong"]
    wrong = [{"channel": "trades-all", "instId": "BTC-USDT"}, {"channel": "books", "instId": "NO-PE"}]
    assert [frame["code"] for frame in client.say({"op": "subscribe", "args": wrong})] == ["60018", "60018"]


def test_okx_when_positions_are_liquidated_then_orders_say_whose() -> None:
    client = Client("ws.okx.com:8443")
    client.say({"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]})
    details = [frame["data"][0]["details"][0] for frame in client.wait(600, step_ms=500)]
    assert len(details) > 5
    assert {(row["side"], row["posSide"]) for row in details} == {("buy", "short"), ("sell", "long")}


# ---- Bybit


@pytest.mark.parametrize("market", ["spot", "linear"])
def test_bybit_when_trades_are_followed_then_the_latest_are_those_of_rest(market: str) -> None:
    client = Client("stream.bybit.com", f"/v5/public/{market}")
    answer = client.say({"op": "subscribe", "args": ["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"], "req_id": "a"})
    assert answer[0]["success"] is True
    assert answer[0]["req_id"] == "a"
    heard = answer + client.wait(60)
    trades = [row for frame in heard if frame.get("topic") == "publicTrade.BTCUSDT" for row in frame["data"]]
    rest = client.rest("api.bybit.com", "/v5/market/recent-trade", category=market, symbol="BTCUSDT", limit=1000)
    rows = rest["result"]["list"]
    assert len(rows) == (60 if market == "spot" else 1000)
    known = {row["i"]: row for row in trades}
    assert (
        len(known)
        == len(trades)
        == client.produced("stream.bybit.com", "BTCUSDT", market=market, start=NOW + 1)["count"]
    )
    same = [row for row in rows if row["execId"] in known]
    assert len(same) == min(len(trades), len(rows))
    for row in same:
        trade = known[row["execId"]]
        assert (row["price"], row["size"], row["side"], int(row["time"])) == (
            trade["p"],
            trade["v"],
            trade["S"],
            trade["T"],
        )
    books = [frame for frame in heard if frame.get("topic") == "orderbook.50.BTCUSDT"]
    assert [frame["type"] for frame in books] == ["snapshot"] + ["delta"] * (len(books) - 1)
    assert consecutive([frame["data"]["u"] for frame in books])


def test_bybit_when_a_ticker_changes_then_the_delta_has_the_changes_only() -> None:
    client = Client("stream.bybit.com", "/v5/public/linear")
    heard = client.say({"op": "subscribe", "args": ["tickers.BTCUSDT"]})[1:] + client.wait(20)
    assert [frame["type"] for frame in heard] == ["snapshot"] + ["delta"] * (len(heard) - 1)
    state: dict[str, str] = {}
    for frame in heard:
        if frame["type"] == "delta":
            changed = {name: value for name, value in frame["data"].items() if name != "symbol"}
            assert changed
            assert all(state[name] != value for name, value in changed.items())
        state |= frame["data"]
    client.now = heard[-1]["ts"]
    rest = client.rest("api.bybit.com", "/v5/market/tickers", category="linear", symbol="BTCUSDT")["result"]["list"][0]
    assert state == {name: rest[name] for name in state}
    assert {"singleOpenInterest", "fundingRate", "nextFundingTime", "markPrice", "indexPrice"} <= set(state)


def test_bybit_when_asked_wrongly_then_it_refuses() -> None:
    client = Client("stream.bybit.com", "/v5/public/spot")
    assert client.say({"op": "ping"})[0]["ret_msg"] == "pong"
    assert client.say({"op": "subscribe", "args": ["publicTrade.NOPE"]})[0]["success"] is False
    assert client.say({"op": "subscribe", "args": ["publicTrade.BTCUSDT"] * 11})[0]["success"] is False
    assert client.wait(5) == []


def test_bybit_when_positions_are_liquidated_then_the_side_is_the_positions() -> None:
    client = Client("stream.bybit.com", "/v5/public/linear")
    client.say({"op": "subscribe", "args": ["allLiquidation.BTCUSDT", "publicTrade.BTCUSDT"]})
    heard = client.wait(600, step_ms=500)
    trades = {(row["T"], row["p"], row["v"]): row["S"] for f in heard if f["topic"][0] == "p" for row in f["data"]}
    forced = [row for frame in heard if frame["topic"] == "allLiquidation.BTCUSDT" for row in frame["data"]]
    assert len(forced) > 5
    for row in forced:
        assert {trades[row["T"], row["p"], row["v"]], row["S"]} == {"Buy", "Sell"}


# ---- Deribit


def rpc(method: str, number: int = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": f"public/{method}", "params": params}


def test_deribit_when_subscribed_then_trades_books_and_indices_come() -> None:
    client = Client("www.deribit.com")
    channels = [
        "trades.BTC-PERPETUAL.100ms",
        "book.BTC-PERPETUAL.100ms",
        "book.BTC-PERPETUAL.none.10.100ms",
        "ticker.BTC-PERPETUAL.100ms",
        "deribit_volatility_index.btc_usd",
        "trades.NOPE.100ms",
    ]
    heard = client.say(rpc("subscribe", 5, channels=channels))
    assert heard[0]["id"] == 5
    assert heard[0]["result"] == channels[:-1]
    heard += client.wait(60)
    by_channel: dict[str, list[Any]] = {}
    for frame in heard[1:]:
        by_channel.setdefault(frame["params"]["channel"], []).append(frame["params"]["data"])
    trades = [row for rows in by_channel[channels[0]] for row in rows]
    assert consecutive([trade["trade_seq"] for trade in trades])
    rest = client.rest(
        "www.deribit.com",
        "/api/v2/public/get_last_trades_by_instrument",
        instrument_name="BTC-PERPETUAL",
        start_seq=trades[0]["trade_seq"],
        end_seq=trades[-1]["trade_seq"],
        count=1000,
        sorting="asc",
    )["result"]
    fields = ("trade_seq", "trade_id", "timestamp", "price", "amount", "direction")
    assert [[row[name] for name in fields] for row in rest["trades"]] == [
        [row[name] for name in fields] for row in trades
    ]
    assert rest["has_more"] is False
    books = by_channel[channels[1]]
    assert books[0]["type"] == "snapshot"
    assert all(late["prev_change_id"] == early["change_id"] for early, late in itertools.pairwise(books))
    book: dict[str, dict[Decimal, Decimal]] = {}
    for update in books:
        for side in ("bids", "asks"):
            for action, price, amount in update[side]:
                assert (action == "delete") == (amount == 0)
                assert update["type"] == "snapshot" or (action == "new") == (price not in book[side])
                followed(book, side, [(price, amount)])
    bids, asks = best(book, 10)
    grouped = by_channel[channels[2]][-1]
    assert [list(level) for level in bids] == grouped["bids"]
    assert [list(level) for level in asks] == grouped["asks"]
    ticker = by_channel[channels[3]][-1]
    level = by_channel[channels[4]][-1]
    client.now = ticker["timestamp"]
    assert client.rest("www.deribit.com", "/api/v2/public/ticker", instrument_name="BTC-PERPETUAL")["result"] == ticker
    data = client.rest(
        "www.deribit.com",
        "/api/v2/public/get_volatility_index_data",
        currency="BTC",
        resolution=1,
        start_timestamp=level["timestamp"],
        end_timestamp=level["timestamp"],
    )["result"]["data"]
    assert data[-1][4] == pytest.approx(level["volatility"], abs=Decimal("0.01"))


def test_deribit_when_options_are_followed_then_volatilities_are_those_of_rest() -> None:
    client = Client("www.deribit.com")
    named = client.rest("www.deribit.com", "/api/v2/public/get_instruments", currency="BTC", kind="option")["result"]
    name = named[len(named) // 2]["instrument_name"]
    channels = ["markprice.options.btc_usd", f"ticker.{name}.100ms"]
    heard = client.say(rpc("subscribe", channels=channels))
    assert heard[0]["result"] == channels
    marks, ticker = (frame["params"]["data"] for frame in heard[1:])
    assert {row["instrument_name"] for row in marks} == {row["instrument_name"] for row in named}
    client.now = ticker["timestamp"]
    rest = client.rest("www.deribit.com", "/api/v2/public/ticker", instrument_name=name)["result"]
    assert float(rest["mark_iv"]) == pytest.approx(float(ticker["mark_iv"]), abs=0.05)
    (mark,) = [row for row in marks if row["instrument_name"] == name]
    assert float(mark["iv"]) * 100 == pytest.approx(float(ticker["mark_iv"]), abs=0.02)
    assert len([f for f in client.wait(60) if f["params"]["channel"] == channels[0]]) == 2


def test_deribit_when_a_test_request_is_not_answered_then_it_hangs_up() -> None:
    client = Client("www.deribit.com")
    assert client.say(rpc("set_heartbeat", interval=9))[0]["error"]["code"] == -32602
    assert client.say(rpc("set_heartbeat", interval=10))[0]["result"] == "ok"
    for _ in range(3):
        kinds = [frame["params"]["type"] for frame in client.wait(10)]
        assert kinds == ["heartbeat", "test_request"]
        assert client.say(rpc("test"))[0]["result"]["version"]
    client.wait(10)
    with pytest.raises(Hangup):
        client.wait(10)


def test_deribit_when_raw_or_unknown_is_asked_then_it_is_refused() -> None:
    client = Client("www.deribit.com")
    assert client.say(rpc("subscribe", channels=["trades.BTC-PERPETUAL.raw"]))[0]["error"]["code"] == 13778
    assert client.say(rpc("dance"))[0]["error"]["code"] == -32601
    assert client.say(b"[")[0]["error"]["code"] == -32700


# ---- all of them


def test_host_when_streamed_then_it_is_in_this_file() -> None:
    assert {host.partition(":")[0] for host in PATHS} == set(HOSTS)


def test_path_when_unknown_then_there_is_no_stream() -> None:
    for host in PATHS:
        assert MODEL.open_stream(Call(host, "/nowhere")) is None
    assert MODEL.open_stream(Call("ws.nowhere.com", "/")) is None


WORDS = ["SUBSCRIBE", "subscribe", "unsubscribe", "ping", "public/subscribe", "btcusdt@trade", "trade", "books", "book"]
WORDS += ["level2", "BTC-USD", "BTC/USD", "PF_XBTUSD", "publicTrade.BTCUSDT", "trades.BTC-PERPETUAL.100ms", "@", "..."]
NAMES = ["method", "params", "id", "op", "args", "type", "product_ids", "channel", "event", "feed", "instId", "symbol"]
NAMES += ["req_id", "depth", "channels", "interval", "instType", "snapshot"]
VALUES = st.recursive(
    st.sampled_from(WORDS) | st.integers() | st.none() | st.booleans() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
REQUESTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)


@settings(max_examples=20)
@pytest.mark.parametrize("host", PATHS)
@given(requests=st.lists(REQUESTS.map(lambda r: json.dumps(r).encode()) | st.binary(max_size=40), max_size=4))
def test_session_when_the_client_talks_nonsense_then_it_answers_and_goes_on(host: str, requests: list[bytes]) -> None:
    client = Client(host)
    for request in requests:
        for answer in client.say(request):
            assert isinstance(answer, str | dict)
        client.wait(0.3)


@pytest.mark.parametrize("jump", [-86_400_000, 7_200_000, 40 * 86_400_000])
def test_session_when_the_clock_is_set_then_it_goes_on_from_there(jump: int) -> None:
    client = Client("ws.kraken.com")
    for channel in ("trade", "book"):
        client.say({"method": "subscribe", "params": {"channel": channel, "symbol": ["BTC/USD"]}})
    client.now += jump
    assert len(client.wait(0.1)) < 10
    heard = client.wait(60)
    ids = [row["trade_id"] for frame in heard if frame["channel"] == "trade" for row in frame["data"]]
    assert consecutive(ids)
    assert all(abs(_seconds(frame) - client.now / 1000) < 70 for frame in heard if frame["channel"] == "book")


def _seconds(frame: Any) -> float:
    from datetime import datetime

    return datetime.fromisoformat(frame["data"][0]["timestamp"]).timestamp()
