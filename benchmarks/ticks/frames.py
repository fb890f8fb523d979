"""Binance-shaped aggregated trades of two perpetuals, as the venue's combined stream frames them."""

from __future__ import annotations

SYMBOLS = ("BTCUSDT", "ETHUSDT")
_BASE_MS = 1_780_000_000_000
# So many different bodies; the ids, which every frame has for itself, are filled in.
_VARIETY = 1_000


def frames(count: int, first: int = 1) -> list[bytes]:
    """`count` frames, symbols taking turns; each symbol's ids are consecutive and start at `first`."""
    templates = []
    for number in range(_VARIETY):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        price, size, sold = 61_000 + number * 0.1, 0.001 * (number % 97 + 1), "true" if number % 3 else "false"
        before = f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":{_BASE_MS + number},"a":'
        between = f',"s":"{symbol}","p":"{price:.2f}","q":"{size:.3f}","f":'
        after = f',"T":{_BASE_MS + number},"m":{sold}}}}}'
        templates.append((before.encode(), between.encode(), after.encode()))
    made = []
    for number in range(count):
        head, middle, tail = templates[number % _VARIETY]
        digits = b"%d" % (first + number // len(SYMBOLS))
        made.append(b'%b%b%b%b,"l":%b%b' % (head, digits, middle, digits, digits, tail))
    return made
