"""What a book and its trades tell beyond themselves, exact: spread, imbalance, order flow, trade imbalance.

Order-flow imbalance is that of Cont, Kukanov and Stoikov (2014) at the best prices; trade imbalance is another thing
and has its own name. Sizes are in base units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from coinswarm.ticks.model import Level, Trade

_BPS = Decimal(10_000)
_SIX = Decimal("0.000001")
_TWELVE = Decimal("0.000000000001")
ZERO = Decimal(0)


def spread_bps(bid: Decimal, ask: Decimal) -> Decimal:
    """Ask less bid over the middle, in bps, to six decimals."""
    return rounded((ask - bid) * 2 * _BPS / (ask + bid))


def imbalance(bids: Iterable[Level], asks: Iterable[Level]) -> Decimal:
    """(bid - ask) / (bid + ask) of the sizes of the given levels, in [-1, 1], to six decimals; 0 without any."""
    bought = sum((Decimal(size) for _, size in bids), ZERO)
    sold = sum((Decimal(size) for _, size in asks), ZERO)
    return rounded((bought - sold) / (bought + sold)) if bought + sold else ZERO


def trade_imbalance(trades: Sequence[Trade]) -> Decimal:
    """What takers bought less what they sold, in base units."""
    return sum((Decimal(one.size) if one.side == "buy" else -Decimal(one.size) for one in trades), ZERO)


class OrderFlow:
    """Order-flow imbalance since it was last taken: the sum of e_n over the changes of the best prices and sizes."""

    __slots__ = ("_last", "_sum", "_text")

    def __init__(self) -> None:
        self._sum = ZERO
        self._last: tuple[Decimal, Decimal, Decimal, Decimal] | None = None
        self._text: tuple[str, str, str, str] | None = None

    def see(self, bid: str, bid_size: str, ask: str, ask_size: str) -> None:
        """The best prices and their sizes as they are now."""
        text = (bid, bid_size, ask, ask_size)
        if text == self._text:
            return
        self._text = text
        now = Decimal(bid), Decimal(bid_size), Decimal(ask), Decimal(ask_size)
        last, self._last = self._last, now
        if last is None:
            return
        flow = ZERO
        if now[0] >= last[0]:
            flow += now[1]
        if now[0] <= last[0]:
            flow -= last[1]
        if now[2] <= last[2]:
            flow -= now[3]
        if now[2] >= last[2]:
            flow += last[3]
        self._sum += flow

    def take(self) -> Decimal:
        """The sum until now; the next one begins at zero."""
        total, self._sum = self._sum, ZERO
        return total

    def forget(self) -> None:
        """The book is invalid: no change is told across that."""
        self._last = self._text = None
        self._sum = ZERO


def rounded(value: Decimal) -> Decimal:
    """To six decimals, half to even."""
    return value.quantize(_SIX, ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """Shortest text without an exponent, at most twelve decimals."""
    if value.as_tuple().exponent not in range(-12, 1):
        value = value.quantize(_TWELVE, ROUND_HALF_EVEN)
    text = f"{value or ZERO:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
