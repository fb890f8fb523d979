"""Two small days of one market, as raw rows: seeded, exact, and of every dataset that a planner mart reads."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from tests.dbt.raw_rows import insert, insert_verdicts

START = datetime(2026, 3, 2, tzinfo=UTC)
END = START + timedelta(days=2)
KNOWN = END + timedelta(minutes=5)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FUNDING = {  # settled rate of each venue, per 8 hours, oldest first
    "binance": ["0.0001", "0.00012", "-0.0001", "0.000004", "-0.00005", "0.0002"],
    "okx": ["0.0002", "0.0001", "0.0001", "-0.0001", "0.0001", "0.0001"],
    "bybit": ["0.0001", "0.0001", "0.0001", "0.0001", "0.0001", "0.0001"],
}


def bars(symbol: str, source: str, timeframe: str, step: timedelta, price: str, seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(f"{symbol} {source} {timeframe} {seed}")
    tick = Decimal("0.00001") if Decimal(price) < 1 else Decimal("0.01")
    last, at = Decimal(price), START
    while at < END:
        close = (last * Decimal(repr(1 + chance.gauss(0, 0.001)))).quantize(tick)
        yield {
            "source": source,
            "symbol": symbol,
            "timeframe": timeframe,
            "event_at": at,
            "open": last,
            "high": max(last, close) + tick,
            "low": min(last, close) - tick,
            "close": close,
            "volume_base": Decimal(chance.randint(1, 10_000)) / 100,
            "volume_quote": Decimal(chance.randint(1, 10_000)),
            "trade_count": chance.randint(1, 100),
        }
        last, at = close, at + step


def trade_bars(bars_of_the_venue: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The venue's one-minute bars as its trades would give them; every minute names all of its few trades."""
    for n, bar in enumerate(bars_of_the_venue):
        sizes = [bar["volume_base"] / 2, bar["volume_base"] / 4, bar["volume_base"] / 8, bar["volume_base"] / 8]
        values = [size * bar["close"] for size in sizes]
        yield {
            **{name: bar[name] for name in ("source", "symbol", "event_at", "open", "high", "low", "close")},
            "vwap": bar["close"],
            "volume_base": bar["volume_base"],
            "volume_quote": sum(values),
            "buy_base": sizes[n % 4],
            "sell_base": bar["volume_base"] - sizes[n % 4],
            "trade_count": 4,
            "buy_count": 1,
            "largest_quote": [str(value) for value in values],
        }


def verdicts(streams: Iterable[tuple[str, str, str, str]]) -> Iterator[dict[str, Any]]:
    """A verdict for every minute of each stream; one minute of 13 is suspect."""
    for venue, symbol, channel, usual in streams:
        for n in range(int((END - START) / MINUTE)):
            verdict = usual if n % 13 else "suspect"
            minute = START + n * MINUTE
            yield {"venue": venue, "symbol": symbol, "channel": channel, "minute": minute, "verdict": verdict}


def options(at: datetime) -> Iterator[dict[str, Any]]:
    for days in (4, 10, 25, 40, 80, 120):
        expires_at = START + timedelta(days=days, hours=8)
        for strike in range(70_000, 140_000, 5_000):
            smile = 50 + 40 * math.log(strike / 1e5) ** 2 - 5 * math.log(strike / 1e5)
            for option_type in ("call", "put"):
                yield {
                    "source": "deribit",
                    "symbol": f"BTC-{days}-{strike}-{option_type[0].upper()}",
                    "event_at": at,
                    "underlying": "BTC",
                    "expires_at": expires_at,
                    "strike": Decimal(strike),
                    "option_type": option_type,
                    "mark_iv_pct": Decimal(f"{smile:.2f}"),
                    "underlying_price": Decimal(100_000),
                }


def an_hour_later(row: Mapping[str, Any]) -> datetime:
    """Known as it happens: a bar of any length by then, a prediction as soon as it is read."""
    if row.get("kind") == "predicted":
        return row["received_at"] + MINUTE
    return max(row["event_at"] + HOUR + 2 * MINUTE, START)


def seed(
    owner: psycopg.Connection[Any],
    *,
    known_at: datetime | Callable[[Mapping[str, Any]], datetime] = KNOWN,
    ticks: bool = True,
) -> None:
    """Everything known at once, as after a backfill, or when `known_at` says; `ticks` is what the live feeds bring."""
    hourly = [
        ("BTC-USD", "coinbase", "100000"),
        ("BTC-USD", "kraken", "100005"),
        ("BTC-USDT", "binance", "100010"),
        ("ETH-BTC", "coinbase", "0.03"),
        ("BTC-USDT-PERP", "binance", "100020"),
    ]
    for symbol, source, price in hourly:
        insert(owner, "ohlcv", bars(symbol, source, "1h", HOUR, price, 1), known_at=known_at)
    insert(owner, "ohlcv", bars("BTC-USD", "coinbase", "1m", MINUTE, "100000", 2), known_at=known_at)
    for source, rates in FUNDING.items():
        perpetual = {"source": source, "symbol": "BTC-USDT-PERP"}
        settled = [
            {"event_at": START + n * 8 * HOUR, "kind": "settled", "rate": Decimal(rate), "interval_hours": Decimal(8)}
            for n, rate in enumerate(rates)
        ]
        insert(owner, "funding_rates", settled, known_at=known_at, **perpetual)
        interest = [
            {"event_at": START + n * HOUR, "open_interest_base": Decimal(1000 + n), "open_interest_usd": Decimal(n + 1)}
            for n in range(48)
        ]
        insert(owner, "open_interest", interest, known_at=known_at, **perpetual)
        ratios = [
            {"event_at": START + n * HOUR, "ratio_kind": "global_accounts", "period": "1h", "ratio": Decimal("1.25")}
            for n in range(48)
        ]
        insert(owner, "long_short_ratios", ratios, known_at=known_at, **perpetual)
    predicted = [
        {
            "event_at": START + (n // 8 + 1) * 8 * HOUR,
            "kind": "predicted",
            "rate": Decimal(n % 3 - 1) / 10_000,
            "interval_hours": Decimal(8),
            "received_at": START + n * HOUR,
            **({"known_at": known_at + timedelta(microseconds=n)} if isinstance(known_at, datetime) else {}),
        }
        for n in range(48)
    ]
    insert(owner, "funding_rates", predicted, known_at=known_at, source="binance", symbol="BTC-USDT-PERP")
    quotes = [quote for n in range(0, 48, 6) for quote in options(START + n * HOUR + 5 * MINUTE)]
    insert(owner, "option_quotes", quotes, known_at=known_at)
    dvol = {name: Decimal("48.5") for name in ("open_pct", "high_pct", "low_pct", "close_pct")}
    index = [{"event_at": START + n * HOUR, **dvol} for n in range(48)]
    insert(owner, "volatility_indices", index, known_at=known_at, source="deribit", symbol="BTC")
    articles = [
        {
            "article_id": f"article-{n}",
            "event_at": START + n * 15 * MINUTE,
            "url": f"https://news.example/{n}",
            "domain": f"publisher-{n % 5}.example",
            "assets": [["BTC"], ["ETH", "BTC"], []][n % 3],
            "tone": Decimal(n % 21 - 10),
            "word_count": 100 + n,
            "received_at": START + n * 15 * MINUTE,
        }
        for n in range(192)
    ]
    insert(owner, "articles", articles, known_at=known_at, source="gdelt")
    locked = [
        {"event_at": START + n * DAY, "scope": scope, "tvl_usd": Decimal(90_000_000_000 + n)}
        for n in range(2)
        for scope in ("all", "chain:Ethereum")
    ]
    insert(owner, "tvl", locked, known_at=known_at, source="defillama")
    supply = [
        {"event_at": START + n * DAY, "symbol": coin, "circulating": Decimal(200_000_000_000 + n)}
        for n in range(-7, 2)
        for coin in ("global", "USDT", "USDC")
    ]
    insert(owner, "stablecoin_supply", supply, known_at=known_at, source="defillama")
    observations = [
        {"event_at": START + n * DAY, "series_id": series, "value": Decimal("4.25") + n}
        for n in range(-2, 1)
        for series in ("DGS10", "DGS2", "DFF", "DTWEXBGS")
    ]
    insert(owner, "series_observations", observations, known_at=known_at, source="fred")
    caps = []
    for n in range(48):
        at = {"event_at": START + n * HOUR}
        caps += [
            {**at, "symbol": "global", "market_cap_usd": Decimal(4000)},
            {**at, "symbol": "BTC", "market_cap_usd": Decimal(2200), "dominance_pct": Decimal(55)},
            {**at, "symbol": "USDT", "market_cap_usd": Decimal(480), "dominance_pct": Decimal(12)},
        ]
    insert(owner, "market_caps", caps, known_at=known_at, source="coingecko")
    if ticks:
        seed_ticks(owner, known_at=known_at)


def seed_ticks(owner: psycopg.Connection[Any], *, known_at: datetime | Callable[[Mapping[str, Any]], datetime]) -> None:
    """What the live feeds would have archived of the two days."""
    own = bars("BTC-USD", "coinbase", "1m", MINUTE, "100000", 2)
    insert(owner, "trade_bars", trade_bars(own), known_at=known_at)
    for source in ("binance", "bybit"):
        perpetual = bars("BTC-USDT-PERP", source, "1m", MINUTE, "100020", 3)
        insert(owner, "trade_bars", trade_bars(perpetual), known_at=known_at)
    books = [
        {
            "event_at": START + n * MINUTE + timedelta(seconds=58),
            "bids": [["99999.50", "1"]],
            "asks": [["100000.50", "3"]],
            "spread_bps": Decimal(10 + n % 7) / 100,
            "imbalance": Decimal(n % 11 - 5) / 10,
        }
        for n in range(48 * 60)
    ]
    insert(owner, "order_books", books, known_at=known_at, source="coinbase", symbol="BTC-USD")
    forced = [
        {
            "source": ("binance", "bybit")[n % 2],
            "event_at": START + n * timedelta(minutes=17),
            "side": ("long", "short")[n % 3 % 2],
            "price": Decimal(100_000 + 37 * (n % 19)),
            "size_base": Decimal(n % 5 + 1) / 10,
            "price_kind": ("average", "bankruptcy")[n % 2],
            "is_sampled": n % 2 == 0,
        }
        for n in range(160)
    ]
    insert(owner, "liquidations", forced, known_at=known_at, symbol="BTC-USDT-PERP")
    streams = [
        ("coinbase", "BTC-USD", "trades", "verified"),
        ("coinbase", "BTC-USD", "orderbook", "verified"),
        ("binance", "BTC-USDT-PERP", "trades", "verified"),
        ("binance", "BTC-USDT-PERP", "liquidations", "clean"),
        ("bybit", "BTC-USDT-PERP", "trades", "clean"),
    ]
    insert_verdicts(owner, verdicts(streams), known_at=known_at)
