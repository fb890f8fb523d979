"""Commands in Redis' own protocol, as text that is encoded once per flush as latin-1.

A character is a byte: text outside of ASCII is held as its UTF-8 bytes. The commands of a flush are joined and encoded
in one go, which is several times cheaper than packing each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import hiredis

from coinswarm.ticks.model import Trade

Encoder = Callable[[Trade, str], str]

_LONGEST = 64
_LENGTH = tuple(f"${length}\r\n" for length in range(_LONGEST))
_SIZE = tuple(f"\r\n$4\r\nsize\r\n${length}\r\n" for length in range(_LONGEST))
_TIME = tuple(f"$2\r\nts\r\n${length}\r\n" for length in range(_LONGEST))
_ID = tuple(f"\r\n$2\r\nid\r\n${length}\r\n" for length in range(_LONGEST))
_SEQ = tuple(f"$3\r\nseq\r\n${length}\r\n" for length in range(_LONGEST))
_NATIVE = tuple(f"$6\r\nnative\r\n${length}\r\n" for length in range(_LONGEST))
_LIQUIDATION = tuple(f"$11\r\nliquidation\r\n$1\r\n{said}\r\n" for said in (0, 1))
_SIDE = {"buy": "\r\n$4\r\nside\r\n$3\r\nbuy\r\n", "sell": "\r\n$4\r\nside\r\n$4\r\nsell\r\n"}


def command(*parts: str | int) -> str:
    """Any command, by its arguments."""
    return f"*{len(parts)}\r\n" + "".join(map(_bulk, parts))


def wire(commands: Iterable[str]) -> bytes:
    """What goes to the socket."""
    return "".join(commands).encode("latin-1")


def unwired(payload: bytes) -> list[list[str]]:
    """Arguments of each command in what `wire` made."""
    reader = hiredis.Reader()
    reader.feed(payload)
    found = []
    while (one := reader.gets()) is not False:
        found.append([part.decode("utf-8", "replace") for part in one])
    return found


def entry(key: str, fields: Mapping[str, str]) -> str:
    """XADD of one entry with an id of Redis' own."""
    return f"*{3 + 2 * len(fields)}\r\n$4\r\nXADD\r\n{_bulk(key)}$1\r\n*\r\n" + pairs(fields)


def pairs(fields: Mapping[str, str | int]) -> str:
    """Names and values as arguments, to follow a head that counts them."""
    return "".join(_bulk(part) for pair in fields.items() for part in pair)


def recv_field(milliseconds: int) -> str:
    """The field `recv` of an entry, for `Encoder`: the same for all messages of a millisecond."""
    return "$4\r\nrecv\r\n" + _bulk(milliseconds)


def trade_fields(trade: Trade, venue: str, recv: str) -> dict[str, str]:
    """The fields of a trade's entry, in their order."""
    fields = {
        "venue": venue,
        "price": trade.price,
        "size": trade.size,
        "side": trade.side,
        "ts": str(trade.ts),
        "id": trade.id,
    }
    if trade.first >= 0 and str(trade.first) != trade.id:
        fields["seq"] = str(trade.first)
    if trade.native:
        fields["native"] = trade.native
    if trade.liquidation is not None:
        fields["liquidation"] = str(int(trade.liquidation))
    fields["recv"] = recv
    return fields


def trade_encoder(key: str, venue: str) -> Encoder:
    """`encode(trade, recv_field)` for one stream: `entry` of `trade_fields`, with all that is constant prepared."""
    heads = tuple(
        f"*{arguments}\r\n$4\r\nXADD\r\n{_bulk(key)}$1\r\n*\r\n$5\r\nvenue\r\n{_bulk(venue)}$5\r\nprice\r\n"
        for arguments in (17, 19, 21, 23)
    )
    head = heads[0]

    def encode(trade: Trade, recv: str) -> str:
        price, size, number, moment, first = trade.price, trade.size, trade.id, str(trade.ts), str(trade.first)
        try:
            if first == number and not trade.native and trade.liquidation is None:
                text = (
                    f"{head}{_LENGTH[len(price)]}{price}{_SIZE[len(size)]}{size}{_SIDE[trade.side]}"
                    f"{_TIME[len(moment)]}{moment}{_ID[len(number)]}{number}\r\n{recv}"
                )
            else:
                extra = []
                if trade.first >= 0 and first != number:
                    extra.append(f"{_SEQ[len(first)]}{first}\r\n")
                if native := trade.native:
                    extra.append(f"{_NATIVE[len(native)]}{native}\r\n")
                if trade.liquidation is not None:
                    extra.append(_LIQUIDATION[trade.liquidation])
                text = (
                    f"{heads[len(extra)]}{_LENGTH[len(price)]}{price}{_SIZE[len(size)]}{size}{_SIDE[trade.side]}"
                    f"{_TIME[len(moment)]}{moment}{_ID[len(number)]}{number}\r\n{''.join(extra)}{recv}"
                )
        except (IndexError, KeyError):
            text = ""
        # A character is not a byte, or a field is longer than any that we know: by the book.
        return text if text and text.isascii() else entry(key, trade_fields(trade, venue, _value(recv)))

    return encode


def _value(recv: str) -> str:
    return recv.split("\r\n")[3]


def _bulk(part: str | int) -> str:
    text = part if isinstance(part, str) else str(part)
    if not text.isascii():
        text = text.encode("utf-8", "surrogatepass").decode("latin-1")
    return f"${len(text)}\r\n{text}\r\n"
