"""Binance-shaped aggregated trades of two perpetuals, as the venue's combined stream frames them."""

from __future__ import annotations

import time

SYMBOLS = ("BTCUSDT", "ETHUSDT")
# So many different prices and sizes; ids and times, which every frame has for itself, are filled in.
_VARIETY = 1_000


def frames(count: int, per_second: int) -> list[bytes]:
    """`count` frames from now on, symbols taking turns; each symbol's ids are consecutive and start at 1."""
    parts = []
    for number in range(_VARIETY):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        price, size, sold = 61_000 + number * 0.1, 0.001 * (number % 97 + 1), "true" if number % 3 else "false"
        parts.append(
            (
                f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":'.encode(),
                f',"s":"{symbol}","p":"{price:.2f}","q":"{size:.3f}","f":'.encode(),
                f',"m":{sold}}}}}'.encode(),
            )
        )
    started = time.time_ns() // 1_000_000
    made = []
    for number in range(count):
        head, middle, tail = parts[number % _VARIETY]
        trade, at = b"%d" % (1 + number // len(SYMBOLS)), b"%d" % (started + number * 1000 // per_second)
        made.append(b'%b%b,"a":%b%b%b,"l":%b,"T":%b%b' % (head, at, trade, middle, trade, trade, at, tail))
    return made
