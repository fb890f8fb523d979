"""The hidden paths that every venue's numbers derive from.

A log price is a Brownian bridge between slow knots, built by midpoint displacement: the value at any minute is a sum
over about twenty levels, each a hashed coefficient times a triangle, so no minute depends on having walked there.
Amplitudes follow a volatility regime, and the implied volatility index is that regime plus a premium.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from coinswarm.sandbox.market.model import MINUTE
from coinswarm.sandbox.randomness import Floats, Ints, key, normal, wave

_TOP = 20
_LARGEST_REGIME_LEVEL = 14
_CHUNK = 32_768
_YEAR = 525_600
_DAY = 1440

ASSETS = ("BTC", "ETH", "SOL")
_ANCHOR = {"BTC": 68_000.0, "ETH": 3_400.0, "SOL": 155.0}
_YEARLY_VOLATILITY = {"BTC": 0.48, "ETH": 0.62, "SOL": 0.85}
_BETA_TO_BTC = {"BTC": 0.0, "ETH": 1.05, "SOL": 1.2}


def regime(seed: int, asset: str, minute: Ints) -> Floats:
    """How much livelier than usual the asset is: around 1, the same for all venues."""
    market = 0.28 * wave(key(seed, "regime", "market", "week"), minute, 9 * _DAY)
    market = market + 0.12 * wave(key(seed, "regime", "market", "day"), minute, 2 * _DAY)
    return np.asarray(np.exp(market + 0.1 * wave(key(seed, "regime", asset), minute, 5 * _DAY) - 0.05))


def _own_path(seed: int, asset: str, minute: Ints, sigma: float) -> Floats:
    top = key(seed, "path", asset, "knots")
    slot = minute >> _TOP
    share = (minute - (slot << _TOP)) / (1 << _TOP)
    path = 0.12 * (normal(top, slot) * (1 - share) + normal(top, slot + 1) * share)
    for level in range(_TOP, 0, -1):
        slot = minute >> level
        distinct = np.arange(slot[0], slot[-1] + 1, dtype=np.int64)
        height = normal(key(seed, "path", asset, level), distinct) * (sigma * 2.0 ** (level / 2) / 2)
        if level <= _LARGEST_REGIME_LEVEL:
            height = height * regime(seed, asset, (distinct << level) + (1 << (level - 1)))
        share = (minute - (slot << level)) * 2.0 ** (1 - level) - 1.0
        path += height[slot - distinct[0]] * (1.0 - np.abs(share))
    return np.asarray(path)


@lru_cache(maxsize=256)
def _chunk(seed: int, asset: str, number: int) -> Floats:
    minute = np.arange(number * _CHUNK, (number + 1) * _CHUNK, dtype=np.int64)
    beta = _BETA_TO_BTC[asset]
    total = _YEARLY_VOLATILITY[asset]
    own = (total**2 - (beta * _YEARLY_VOLATILITY["BTC"]) ** 2) ** 0.5 if beta else total
    path = np.log(_ANCHOR[asset]) + _own_path(seed, asset, minute, own / _YEAR**0.5)
    if beta:
        path += beta * (_chunk(seed, "BTC", number) - np.log(_ANCHOR["BTC"]))
    path.flags.writeable = False
    return np.asarray(path)


def log_price(seed: int, asset: str, minute: Ints) -> Floats:
    """Log price in US dollars at the starts of ascending minutes (counted since the epoch)."""
    number = minute // _CHUNK
    edges = np.flatnonzero(np.diff(number, prepend=-1, append=-1))
    path = np.empty(len(minute))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        chunk = int(number[start])
        path[start:end] = _chunk(seed, asset, chunk)[minute[start:end] - chunk * _CHUNK]
    return path


def log_quote(seed: int, quote: str, minute: Ints) -> Floats:
    """Log value in US dollars of the quote currency: a stablecoin is worth a little more or less than one."""
    if quote == "USD":
        return np.zeros(len(minute))
    if quote == "USDT":
        slow = wave(key(seed, "usdt", "slow"), minute, 3 * _DAY)
        return np.asarray(0.0002 + 0.0004 * slow + 0.0001 * wave(key(seed, "usdt", "fast"), minute, 240))
    return log_price(seed, quote, minute)


def premium(seed: int, venue: str, asset: str, minute: Ints) -> Floats:
    """Perpetual over index, as a log difference: what funding is computed from."""
    value = 1.5e-4 + 5.0e-4 * wave(key(seed, "premium", asset, "slow"), minute, 3 * _DAY)
    value = value + 2.5e-4 * wave(key(seed, "premium", asset, "day"), minute, 600)
    return np.asarray(value + 1.0e-4 * wave(key(seed, "premium", venue, asset), minute, 90))


def venue_basis(seed: int, venue: str, market: str, asset: str, minute: Ints) -> Floats:
    """A venue's own small deviation from the common price, as a log difference."""
    slow = 0.8e-4 * wave(key(seed, "basis", venue, market, asset, "slow"), minute, 300)
    return np.asarray(slow + 0.3e-4 * normal(key(seed, "basis", venue, market, asset, "tick"), minute))


def implied_volatility(seed: int, asset: str, at_ms: Ints) -> Floats:
    """The 30-day implied volatility index in percent: the regime's volatility and a premium."""
    minute = at_ms // MINUTE
    share = (at_ms % MINUTE) / MINUTE
    now = regime(seed, asset, minute) * (1 - share) + regime(seed, asset, minute + 1) * share
    noise = 0.6 * wave(key(seed, "dvol", asset), minute, 45) + 0.15 * wave(key(seed, "dvol", asset, "fast"), minute, 3)
    usual = 100.0 * _YEARLY_VOLATILITY[asset]
    return np.asarray(usual * (0.35 + 0.72 * now) + noise)


def usual_volatility(asset: str) -> float:
    """Long-run volatility of an asset, as a share per year."""
    return _YEARLY_VOLATILITY[asset]
