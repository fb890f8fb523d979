"""Listed options and their quotes: a smile whose 30-day at-the-money level is the volatility index."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from coinswarm.sandbox.market import latent
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Level, Option, OptionQuote
from coinswarm.sandbox.randomness import key, uniform

_EXPIRY_HOUR = time(8, tzinfo=UTC)
_YEAR_MS = 365 * DAY
_STRIKE_STEP = {"BTC": 1000, "ETH": 50}
_OPEN_INTEREST = {"BTC": 900.0, "ETH": 9000.0}
_PRICE_STEP = 0.0001


def _last_friday(year: int, month: int) -> date:
    day = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return day - timedelta(days=(day.weekday() - 4) % 7)


def expiries(now: int) -> list[datetime]:
    """Deribit's calendar: two days, four Fridays, three month ends, four quarter ends, each at 08:00 UTC."""
    moment = datetime.fromtimestamp(now / 1000, UTC)
    days = {moment.date() + timedelta(days=n) for n in range(3)}
    friday = moment.date() + timedelta(days=(4 - moment.weekday()) % 7)
    days |= {friday + timedelta(weeks=n) for n in range(4)}
    for ahead in range(13):
        year, month = divmod(moment.year * 12 + moment.month - 1 + ahead, 12)
        if ahead < 3 or (month + 1) % 3 == 0:
            days.add(_last_friday(year, month + 1))
    return [
        at for at in (datetime.combine(day, _EXPIRY_HOUR) for day in sorted(days)) if at > moment + timedelta(minutes=1)
    ]


def listed(seed: int, asset: str, now: int) -> list[Option]:
    """Live options: strikes around the price at the start of the day, wider for later expiries."""
    morning = now // DAY * DAY // MINUTE
    spot = math.exp(float(latent.log_price(seed, asset, np.array([morning], dtype=np.int64))[0]))
    chain = []
    for expiry in expiries(now):
        expires_ms = round(expiry.timestamp() * 1000)
        years = max(expires_ms - now, HOUR) / _YEAR_MS
        spread = min(1.1, 0.08 + 1.3 * math.sqrt(years))
        step = _STRIKE_STEP[asset] * (1 if years < 0.03 else 2 if years < 0.12 else 5)
        name = f"{asset}-{expiry.day}{expiry:%b%y}".upper()
        low, high = math.exp(-spread), math.exp(spread)
        for multiple in range(math.ceil(spot * low / step), math.floor(spot * high / step) + 1):
            strike = multiple * step
            chain += [Option(f"{name}-{strike}-{side}", asset, expires_ms, strike, side == "C") for side in ("C", "P")]
    return chain


def _normal_cdf(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


def index_level(seed: int, asset: str, at: int) -> float:
    """The 30-day volatility index at a moment, in percent."""
    return float(latent.implied_volatility(seed, asset, np.array([at], dtype=np.int64))[0])


def smile(level: float, forward: float, strike: float, years: float, usual: float) -> float:
    """Implied volatility in percent; 30 days at the money it is `level`, far away in time it nears `usual`."""

    def weight(term: float) -> float:
        return (1 - math.exp(-term / 0.25)) / (term / 0.25)

    at_the_money = usual + (level - usual) * weight(years) / weight(30 / 365)
    distance = math.log(strike / forward) / math.sqrt(max(years, 1 / 365))
    curve = -0.045 * math.tanh(2 * distance) + 0.16 * distance * distance / (1 + abs(distance))
    return max(5.0, at_the_money * (1 + curve))


def quotes(seed: int, asset: str, now: int) -> list[OptionQuote]:
    """Every live option's quote now: Black's formula on the forward, premiums in the base asset."""
    minute = now // MINUTE
    left, right = latent.log_price(seed, asset, np.array([minute, minute + 1], dtype=np.int64)).tolist()
    spot = math.exp(left + (right - left) * (now % MINUTE) / MINUTE)
    level = index_level(seed, asset, now)
    usual = 100.0 * latent.usual_volatility(asset)
    carry = 0.04 + 8 * float(latent.premium(seed, "deribit", asset, np.array([minute], dtype=np.int64))[0])
    chain = [option for option in listed(seed, asset, now) if option.expires_ms > now]
    names = np.array([key(seed, "option", option.name) for option in chain], dtype=np.uint64)
    held = uniform(names, np.zeros(len(chain), dtype=np.int64)).tolist()
    traded = uniform(names, np.full(len(chain), now // HOUR, dtype=np.int64)).tolist()
    rows = []
    for option, luck, activity in zip(chain, held, traded, strict=True):
        years = (option.expires_ms - now) / _YEAR_MS
        rows.append(_quote(option, spot * math.exp(carry * years), years, level, usual, luck, activity))
    return rows


def _quote(
    option: Option, forward: float, years: float, level: float, usual: float, luck: float, activity: float
) -> OptionQuote:
    volatility = smile(level, forward, option.strike, years, usual)
    sigma = volatility / 100 * math.sqrt(years)
    d1 = (math.log(forward / option.strike) + sigma * sigma / 2) / sigma
    d2 = d1 - sigma
    side = 1 if option.call else -1
    value = side * (forward * _normal_cdf(side * d1) - option.strike * _normal_cdf(side * d2))
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    mark = max(0.0, value / forward)
    half = max(_PRICE_STEP, round(mark * 0.012 / _PRICE_STEP) * _PRICE_STEP)
    bid = math.floor((mark - half) / _PRICE_STEP + 1e-9) * _PRICE_STEP
    ask = math.ceil((mark + half) / _PRICE_STEP - 1e-9) * _PRICE_STEP
    vega = forward * density * math.sqrt(years) / 100
    width = half * forward / max(vega, 1e-9)
    near = math.exp(-2.0 * abs(math.log(option.strike / forward)))
    return OptionQuote(
        option=option,
        forward=round(forward, 4),
        mark=round(mark, 6),
        mark_iv=round(volatility, 2),
        bid=round(bid, 4) if bid > 0 else None,
        ask=round(ask, 4),
        bid_iv=round(max(0.0, volatility - width), 2) if bid > 0 else 0.0,
        ask_iv=round(min(999.0, volatility + width), 2),
        open_interest=round(_OPEN_INTEREST[option.asset] * near * luck**2, 1),
        volume=round(_OPEN_INTEREST[option.asset] * 0.05 * near * activity**3, 1),
        delta=round(side * _normal_cdf(side * d1), 5),
        gamma=round(density / (forward * sigma), 7),
        vega=round(vega, 5),
        theta=round(-forward * density * volatility / 100 / (2 * math.sqrt(years)) / 365, 5),
        rho=round(side * option.strike * years * _normal_cdf(side * d2) / 100, 5),
    )


def index_bars(seed: int, asset: str, step: int, start: int, end: int, now: int) -> list[Level]:
    """Bars of the volatility index that opened in `[start, end)`, sampled each minute (each second inside a minute)."""
    first = -(-start // step) * step
    last = min(end - 1, now)
    if last < first:
        return []
    opens = np.arange(first, last + 1, step, dtype=np.int64)
    count = min(60, max(2, step // MINUTE))
    offsets = np.linspace(0, step, count + 1).astype(np.int64)
    at = opens[:, None] + offsets
    values = np.round(latent.implied_volatility(seed, asset, np.minimum(at, now).ravel()), 4)
    rows = np.asarray(values).reshape(len(opens), count + 1).tolist()
    return [
        Level(opened, row[0], max(row), min(row), row[-1]) for opened, row in zip(opens.tolist(), rows, strict=True)
    ]
