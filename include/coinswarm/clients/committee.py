"""What committee agents read: trades, books and the rest from Redis, within milliseconds, with nothing lost unseen.

`README.md` beside this file has an example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from msgspec import Struct
from redis.exceptions import RedisError

from coinswarm.clients.channels import (
    LISTED,
    VENUES,
    Channel,
    channel,
    channel_of_key,
    check_known,
    check_venues,
)
from coinswarm.clients.messages import (
    Arbitrage,
    CrossVenue,
    Funding,
    Liquidation,
    OpenInterest,
    OptionQuote,
    OrderBook,
    Trade,
    Unreadable,
    VolatilityIndex,
    read,
)
from coinswarm.clients.subscription import (
    GroupSubscription,
    PositionSubscription,
    Subscription,
    client_of,
)
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.names import safe_name
from coinswarm.registry import INSTRUMENTS

_ID = re.compile(r"[0-9]{1,19}(?:-[0-9]{1,19})?", re.ASCII)
_PER_VENUE = ("trades", "orderbook", "liquidations", "funding", "open_interest", "volatility")
_ACROSS = ("arbitrage", "cross_venue")


class Snapshot(Struct, frozen=True, kw_only=True):
    """The newest of everything of one symbol, by venue. A message's `received_at` tells how old it is."""

    symbol: str
    trades: Mapping[str, Trade]
    orderbook: Mapping[str, OrderBook]
    liquidations: Mapping[str, Liquidation]
    funding: Mapping[str, Funding]
    open_interest: Mapping[str, OpenInterest]
    volatility: Mapping[str, VolatilityIndex | OptionQuote]
    arbitrage: Arbitrage | None
    """The newest alert, if there ever was one."""
    cross_venue: CrossVenue | None
    unreadable: tuple[Unreadable, ...]


class CommitteeData:
    """Reader of the live ticks. Each subscription has a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        """Take connection `redis_committee`; nothing is connected yet."""
        self._connection = connection
        self._client: Any = None

    def subscribe(
        self,
        *channels: str,
        start: str | datetime | Mapping[str, str] = "now",
        venues: Sequence[str] | None = None,
        group: str = "",
        consumer: str = "",
    ) -> Subscription:
        """Messages of one or more channels, without end, in the order in which Redis took them.

        If Redis goes away, `Interrupted` comes, later `Resumed`, and reading goes on after the last message. What was
        trimmed before it was read is told as `Missed`, an entry that makes no sense as `Unreadable`.

        With a group, each message goes to one of its consumers. It is acknowledged when the next one is asked for;
        Redis hears of it with the next reading, at the latest after 100 messages. What was not acknowledged comes
        again when a consumer of that name starts, and goes to another one that starts after a minute. Groups also have
        Redis keep trades, liquidations and books until they are acknowledged, up to the limit.

        Args:
            channels: `SYMBOL:KIND`, `BTC-USD:trades`. Kinds are `KINDS`; `volatility` is of an asset, `BTC:volatility`.
            start: `now`; `oldest` that is retained; a moment; an entry's id, to go on after it; or ids by channel, as
                `Subscription.position` gives them. A group that exists goes on where it is.
            venues: only these; of `arbitrage` and `cross_venue`, where both are among them.
            group: name of a consumer group, the agents that share the work. A group writes to Redis, which the user of
                `redis_committee` may not: it takes a user like that of `redis_ticks`.
            consumer: name of this agent within it, the same after its restart.

        Raises:
            UserError: no such channel, venue or start. A symbol that the registry does not list is looked for in Redis,
                which may raise it at the first message.
        """
        if not channels:
            raise UserError("no channel given; for instance 'BTC-USD:trades'")
        wanted = list(dict.fromkeys(channel(name) for name in channels))
        begin = _start(start, wanted)
        only = check_venues(venues) if venues is not None else None
        if not group and not consumer:
            return PositionSubscription(self._connection, wanted, begin, only)
        if not group or not consumer:
            raise UserError("a group needs the name of this consumer, and a consumer that of its group")
        names = safe_name(group, what="group"), safe_name(consumer, what="consumer")
        return GroupSubscription(self._connection, wanted, begin, only, *names)

    async def channels(self) -> tuple[str, ...]:
        """Every channel that was ever written, by name.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        found = map(channel_of_key, await self._ask(("SMEMBERS", LISTED)))
        return tuple(sorted(one.name for one in found if one is not None))

    async def snapshot(self, symbol: str, *, venues: Sequence[str] | None = None) -> Snapshot:
        """The newest of everything of a symbol: an instrument, or an asset for its volatility index.

        Raises:
            UserError: there is no such symbol or venue.
            StoreUnavailable: Redis does not answer.
        """
        safe_name(symbol, what="symbol")
        of_registry = tuple(dict.fromkeys(one.source for one in INSTRUMENTS if one.symbol == symbol))
        only = check_venues(venues) if venues is not None else None
        asked = [one for one in of_registry or VENUES if only is None or one in only]
        questions = [(kind, venue) for kind in _PER_VENUE for venue in asked]
        questions += [(kind, "all") for kind in _ACROSS]
        hashes = await self._ask_all(*(("HGETALL", f"latest:{kind}:{venue}:{symbol}") for kind, venue in questions))
        found: dict[str, Any] = {kind: {} for kind in _PER_VENUE} | dict.fromkeys(_ACROSS)
        unreadable = []
        for (kind, venue), fields in zip(questions, hashes, strict=True):
            if not fields:
                continue
            message = read(kind, Channel(symbol, kind).name, symbol, "", fields)
            if isinstance(message, Unreadable):
                unreadable.append(message)
            elif isinstance(message, Arbitrage | CrossVenue):
                if only is None or _pair(message) <= only:
                    found[kind] = message
            else:
                found[kind][venue] = message
        if not of_registry and not any(hashes):
            kind = "volatility" if "-" not in symbol else "trades"
            check_known([Channel(symbol, kind)], await self._ask(("SMEMBERS", LISTED)))
        return Snapshot(symbol=symbol, unreadable=tuple(unreadable), **found)

    async def aclose(self) -> None:
        """Drop the connection of `snapshot`; subscriptions are closed by themselves."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> CommitteeData:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, command: tuple[Any, ...]) -> Any:
        return (await self._ask_all(command))[0]

    async def _ask_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        if self._client is None:
            self._client = client_of(self._connection, "coinswarm-committee")
        pipe = self._client.pipeline(transaction=True)
        for command in commands:
            pipe.execute_command(*command)
        try:
            replies: list[Any] = await pipe.execute()
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"{self._connection.conn_id}: {str(error)[:300]}") from None
        return replies


def _pair(message: Arbitrage | CrossVenue) -> set[str]:
    if isinstance(message, Arbitrage):
        return {message.buy, message.sell}
    return {message.bid_venue, message.ask_venue}


def _start(
    start: str | datetime | Mapping[str, str], channels: Sequence[Channel]
) -> str | datetime | Mapping[str, str]:
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise UserError("start needs a time zone; use UTC")
        if start > datetime.now(UTC):
            raise UserError(f"start lies in the future: {start.isoformat()}")
        return start
    if isinstance(start, Mapping):
        names = {one.name for one in channels}
        unknown = [name for name in start if name not in names]
        if unknown:
            raise UserError(f"start names a channel that is not subscribed to: {str(unknown[0])[:60]!r}")
        return {name: _position(value) for name, value in start.items()}
    return start if start in ("now", "oldest") else _position(start)


def _position(value: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise UserError(f"start {str(value)[:40]!r} is not an entry's id, a moment, 'now' or 'oldest'")
    return value if "-" in value else f"{value}-0"


__all__ = ["CommitteeData", "Snapshot", "Subscription"]
