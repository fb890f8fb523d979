"""DefiLlama's histories: value locked per chain, and stablecoin supply; always the whole of it, up to today.

The newest days are restated: a day is 0.4 % low until three days later, as when a late adapter is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coinswarm.sandbox.market.model import DAY
from coinswarm.sandbox.protocol import Call, NotRecorded, Reply, Route, World, json_reply
from coinswarm.sandbox.randomness import Floats, Ints, key, wave

TVL_HOST = "api.llama.fi"
STABLECOIN_HOST = "stablecoins.llama.fi"
# Chain: (first day since the epoch, value locked today in billions of US dollars)
_CHAINS = {
    "Ethereum": (17_436, 68.0),
    "Solana": (18_708, 9.6),
    "Tron": (18_475, 6.1),
    "BSC": (18_555, 7.4),
    "Bitcoin": (18_628, 6.8),
    "Base": (19_548, 4.4),
    "Arbitrum": (18_870, 3.1),
    "Others": (18_600, 14.0),
}
# Id: (name, first day, billions of coins today)
_COINS = {"1": ("USDT", 17_500, 184.0), "2": ("USDC", 17_800, 76.0), "5": ("DAI", 18_250, 5.2)}
_UNSETTLED_DAYS = 3
_GROWTH_FROM = 18_262
_GROWTH_TO = 20_454


def chain_tvl(call: Call, world: World) -> Reply:
    """`/v2/historicalChainTvl` of all chains, or of one."""
    chain = call.captured.get("chain")
    if chain is not None and chain not in _CHAINS:
        return json_reply({"message": "Chain not found"}, status=400)
    days = _days(world, min(first for first, _ in _CHAINS.values()) if chain is None else _CHAINS[chain][0])
    total = np.zeros(len(days))
    for name, (first, billions) in _CHAINS.items():
        if chain in (None, name):
            total += _level(world, "tvl", name, days, first, billions, 0.18)
    total = np.where(days > days[-1] - _UNSETTLED_DAYS, total * 0.996, total)
    return json_reply(
        [
            {"date": day * 86_400, "tvl": round(value, 2)}
            for day, value in zip(days.tolist(), total.tolist(), strict=True)
        ]
    )


def stablecoin_chart(call: Call, world: World) -> Reply:
    """`/stablecoincharts/all`, of all coins or of `?stablecoin=<id>`."""
    wanted = call.query.get("stablecoin")
    if wanted is not None and wanted not in _COINS:
        return json_reply({"message": "stablecoin not found"}, status=400)
    chosen = [coin for number, coin in _COINS.items() if wanted in (None, number)]
    days = _days(world, min(first for _, first, _ in chosen))
    supply = np.zeros(len(days))
    value = np.zeros(len(days))
    for name, first, billions in chosen:
        coins = np.rint(_level(world, "supply", name, days, first, billions, 0.02))
        supply += coins
        value += coins * (1 + 0.0004 * wave(key(world.seed, "llama", "peg", name), days, 6))
    rows: list[dict[str, Any]] = []
    for day, circulating, worth in zip(days.tolist(), supply.tolist(), value.tolist(), strict=True):
        rows.append(
            {
                "date": str(day * 86_400),
                "totalCirculating": {"peggedUSD": circulating},
                "totalUnreleased": {"peggedUSD": 0},
                "totalCirculatingUSD": {"peggedUSD": round(worth, 2)},
                "totalMintedUSD": {"peggedUSD": 0},
                "totalBridgedToUSD": {"peggedUSD": 0},
            }
        )
    return json_reply(rows)


def _days(world: World, first: int) -> Ints:
    if world.mode != "simulate":
        raise NotRecorded("the history has no on-chain data")
    return np.arange(first, world.now() // DAY + 1, dtype=np.int64)


def _level(world: World, what: str, name: str, days: Ints, first: int, billions: float, swing: float) -> Floats:
    # A tenth of today's level in 2020, growing evenly in logs, with slow swings.
    growth = np.clip((days - _GROWTH_FROM) / (_GROWTH_TO - _GROWTH_FROM), -0.5, 1.2)
    path = swing * wave(key(world.seed, "llama", what, name), days, 40)
    path = path + swing / 8 * wave(key(world.seed, "llama", what, name, "day"), days, 2)
    level = billions * 1e9 * np.power(10.0, growth - 1.0) * np.exp(path)
    return np.asarray(np.where(days >= first, level, 0.0))


ROUTES = (
    Route(TVL_HOST, "/v2/historicalChainTvl", chain_tvl),
    Route(TVL_HOST, "/v2/historicalChainTvl/{chain}", chain_tvl),
    Route(STABLECOIN_HOST, "/stablecoincharts/all", stablecoin_chart),
)
