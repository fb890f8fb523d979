"""CoinGecko's present state: prices of the simulated market, capitalisations that follow from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from coinswarm.sandbox.market.model import DAY
from coinswarm.sandbox.protocol import Call, Reply, Route, World, json_reply
from coinswarm.sandbox.randomness import key, wave

HOST = "api.coingecko.com"
_SECOND = 1000
# A list entry is some seconds older than the global totals.
_LIST_AGE_MS = 17_401
# Id: (ticker, name, supply in coins, price in US dollars where the simulated market has none, daily turnover share)
_COINS: dict[str, tuple[str, str, float, float, float]] = {
    "bitcoin": ("btc", "Bitcoin", 19_950_000, 0.0, 0.022),
    "ethereum": ("eth", "Ethereum", 120_700_000, 0.0, 0.06),
    "tether": ("usdt", "Tether", 184_000_000_000, 1.0, 0.6),
    "ripple": ("xrp", "XRP", 60_300_000_000, 2.1, 0.03),
    "binancecoin": ("bnb", "BNB", 137_700_000, 870.0, 0.015),
    "solana": ("sol", "Solana", 559_000_000, 0.0, 0.07),
    "usd-coin": ("usdc", "USDC", 76_000_000_000, 1.0, 0.2),
    "tron": ("trx", "TRON", 94_700_000_000, 0.28, 0.02),
    "dogecoin": ("doge", "Dogecoin", 152_000_000_000, 0.15, 0.04),
    "cardano": ("ada", "Cardano", 36_500_000_000, 0.42, 0.03),
}
_SIMULATED = ("btc", "eth", "sol")
# The listed coins' share of everything that the provider counts.
_LISTED_SHARE = 0.87


def totals(call: Call, world: World) -> Reply:
    """`/api/v3/global`: totals in several currencies and the ten largest shares."""
    coins = _coins(world)
    capital = sum(price * supply for price, supply, _ in coins.values()) / _LISTED_SHARE
    volume = sum(price * supply * turnover for price, supply, turnover in coins.values()) / _LISTED_SHARE
    largest = sorted(coins, key=lambda coin: -coins[coin][0] * coins[coin][1])
    btc, eth = coins["bitcoin"][0], coins["ethereum"][0]
    return json_reply(
        {
            "data": {
                "active_cryptocurrencies": 17_397,
                "upcoming_icos": 0,
                "ongoing_icos": 49,
                "ended_icos": 3_376,
                "markets": 1_476,
                "total_market_cap": {"btc": capital / btc, "eth": capital / eth, "usd": capital},
                "total_volume": {"btc": volume / btc, "eth": volume / eth, "usd": volume},
                "market_cap_percentage": {
                    _COINS[coin][0]: coins[coin][0] * coins[coin][1] / capital * 100 for coin in largest
                },
                "market_cap_change_percentage_24h_usd": 0.0,
                "volume_change_percentage_24h_usd": 0.0,
                "updated_at": world.now() // _SECOND,
            }
        }
    )


def markets(call: Call, world: World) -> Reply:
    """`/api/v3/coins/markets`: the asked coins, largest first."""
    if call.query.get("vs_currency") != "usd":
        return json_reply({"error": "invalid vs_currency"}, status=422)
    coins = _coins(world)
    asked = call.query.get("ids")
    wanted = [coin for coin in coins if asked is None or coin in asked.split(",")]
    wanted.sort(key=lambda coin: -coins[coin][0] * coins[coin][1])
    updated = datetime.fromtimestamp((world.now() - _LIST_AGE_MS) / 1000, UTC)
    rows: list[dict[str, Any]] = []
    for rank, coin in enumerate(wanted, start=1):
        price, supply, turnover = coins[coin]
        ticker, name, _, _, _ = _COINS[coin]
        rows.append(
            {
                "id": coin,
                "symbol": ticker,
                "name": name,
                "current_price": price,
                "market_cap": price * supply,
                "market_cap_rank": rank,
                "fully_diluted_valuation": price * supply,
                "total_volume": price * supply * turnover,
                "circulating_supply": supply,
                "total_supply": supply,
                "max_supply": None,
                "roi": None,
                "last_updated": f"{updated:%Y-%m-%dT%H:%M:%S}.{updated.microsecond // 1000:03d}Z",
            }
        )
    return json_reply(rows)


def _coins(world: World) -> dict[str, tuple[float, float, float]]:
    day = np.array([world.now()], dtype=np.int64)
    found = {}
    for coin, (ticker, _, supply, price, turnover) in _COINS.items():
        if ticker in _SIMULATED:
            price = float(world.market.index_price(ticker.upper(), "USD"))
        else:
            swing = 0.0005 if price == 1.0 else 0.15
            price = round(price * float(np.exp(swing * wave(key(world.seed, "gecko", coin), day, 9 * DAY)[0])), 6)
        busy = 1 + 0.2 * float(wave(key(world.seed, "gecko", coin, "volume"), day, DAY)[0])
        found[coin] = (price, supply, turnover * max(busy, 0.2))
    return found


ROUTES = (
    Route(HOST, "/api/v3/global", totals),
    Route(HOST, "/api/v3/coins/markets", markets),
)
