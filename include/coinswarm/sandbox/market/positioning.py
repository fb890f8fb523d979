"""Funding, open interest and ratios that agree with the bars: all derive from the same hidden paths."""

from __future__ import annotations

import numpy as np

from coinswarm.sandbox.market import candles, latent
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Funding, Interest, Listing, Ratio
from coinswarm.sandbox.market.numbers import rate, split, text, to_step
from coinswarm.sandbox.randomness import Floats, Ints, key, uniform, wave

_INTEREST_8H = 1.0e-4
_CLAMP = 5.0e-4
_PREMIUM_SAMPLE = 15  # minutes between samples of the premium that funding averages
_DAYS_OF_VOLUME = {"BTC": 0.55, "ETH": 0.6, "SOL": 0.7}


def mark_prices(seed: int, listing: Listing, at: Ints) -> Floats:
    """Venue mid at each of ascending moments, between the minute starts on a straight line."""
    minute = at // MINUTE
    share = (at % MINUTE) / MINUTE
    return np.asarray(candles.mid(seed, listing, minute) * (1 - share) + candles.mid(seed, listing, minute + 1) * share)


def _rate(mean_premium: Floats, hours: int) -> Floats:
    eight_hours = mean_premium + np.clip(_INTEREST_8H - mean_premium, -_CLAMP, _CLAMP)
    return np.asarray(eight_hours * hours / 8)


def settled(seed: int, listing: Listing, start: int, end: int, now: int) -> list[Funding]:
    """Funding paid in `[start, end)`, not after `now`, from the mean premium of the interval before, as venues do."""
    step = listing.funding_hours * HOUR
    first = -(-max(start, listing.since + step) // step) * step
    at = np.arange(first, min(end, now + 1), step, dtype=np.int64)
    if not len(at):
        return []
    samples = listing.funding_hours * 60 // _PREMIUM_SAMPLE
    back = (np.arange(samples, dtype=np.int64) - samples) * _PREMIUM_SAMPLE
    premiums = latent.premium(seed, listing.venue, listing.base, (at[:, None] // MINUTE + back).ravel())
    rates = _rate(premiums.reshape(len(at), samples).mean(axis=1), listing.funding_hours)
    marks = mark_prices(seed, listing, at)
    return [
        Funding(moment, rate(value), to_step(mark, listing.tick))
        for moment, value, mark in zip(at.tolist(), rates.tolist(), marks.tolist(), strict=True)
    ]


def lateness(seed: int, listing: Listing, at: int) -> int:
    """Milliseconds (0 to 10) by which a venue stamps a payment late."""
    series = key(seed, "late", listing.venue, listing.market, listing.symbol)
    return int(uniform(series, np.array([at // HOUR], dtype=np.int64))[0] * 11)


def estimate(seed: int, listing: Listing, now: int) -> tuple[str, int]:
    """Running estimate of the coming payment, and when it comes."""
    step = listing.funding_hours * HOUR
    since = now // step * step
    minute = np.arange(since // MINUTE, now // MINUTE + 1, _PREMIUM_SAMPLE, dtype=np.int64)
    mean = latent.premium(seed, listing.venue, listing.base, minute).mean(keepdims=True)
    return rate(float(_rate(mean, listing.funding_hours)[0])), since + step


def interest(seed: int, listing: Listing, at: Ints) -> list[Interest]:
    """Single-sided open interest at each moment."""
    names = (listing.venue, listing.market, listing.symbol)
    usual = listing.activity * 1440 * _DAYS_OF_VOLUME[listing.base]
    slow = 0.16 * wave(key(seed, "oi", *names, "slow"), at, 6 * DAY)
    fast = 0.04 * wave(key(seed, "oi", *names, "fast"), at, 5 * HOUR)
    tide = 0.10 * wave(key(seed, "oi", listing.base), at, 15 * DAY)
    base = usual * np.exp(slow + fast + tide)
    marks = mark_prices(seed, listing, at)
    rows = []
    for moment, coins, mark in zip(at.tolist(), base.tolist(), marks.tolist(), strict=True):
        if listing.inverse:
            count = round(coins * mark / float(listing.contract))
            dollars = count * int(listing.contract)
            rows.append(Interest(moment, rate(dollars / mark, 4), str(count), str(dollars)))
            continue
        mantissa, digits = split(listing.lot)
        lots = round(coins * 10**digits / mantissa)
        contract_mantissa, contract_digits = split(listing.contract)
        contracts = text(lots * mantissa, digits - contract_digits) if contract_mantissa == 1 else str(lots)
        exact = text(lots * mantissa, digits)
        rows.append(Interest(moment, exact, contracts, rate(float(exact) * mark, 4)))
    return rows


_LEAN = {"global_accounts": 0.11, "top_accounts": 0.12, "top_positions": 0.06}


def account_shares(seed: int, listing: Listing, kind: str, at: Ints) -> list[Ratio]:
    """Shares of long and short accounts (or positions); the crowd is long more often than not."""
    names = (listing.venue, listing.market, listing.symbol, kind)
    crowd = wave(key(seed, "ratio", listing.base), at, 4 * DAY)
    own = 0.5 * wave(key(seed, "ratio", *names), at, 7 * HOUR)
    shares = 0.56 + _LEAN[kind] * np.tanh(0.6 * crowd + 0.5 * own)
    rows = []
    for moment, share in zip(at.tolist(), shares.tolist(), strict=True):
        long = round(share * 10_000)
        rows.append(Ratio(moment, rate(long / 1e4, 4), rate(1 - long / 1e4, 4), rate(long / (10_000 - long), 4)))
    return rows


def taker_volumes(seed: int, listing: Listing, step: int, start: int, end: int, now: int) -> list[Ratio]:
    """Taker buy and sell volume of closed slots, from the bars themselves."""
    bars = candles.columns(seed, listing, step, start, min(end, now // step * step), now)
    if bars is None:
        return []
    digits = candles.units(listing).base_digits
    rows = []
    for at, base, buy in zip(bars.open_ms.tolist(), bars.base.tolist(), bars.taker_base.tolist(), strict=True):
        sell = base - buy
        rows.append(Ratio(at, text(buy, digits), text(sell, digits), rate(buy / sell if sell else 0.0, 4)))
    return rows
