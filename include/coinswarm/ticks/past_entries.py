"""What the owner before left: ids where trades have no numbers, and gaps that its ledger had not written yet."""

from __future__ import annotations

from typing import Any

import hiredis

from coinswarm.connections import Connection
from coinswarm.ticks.feeds import Feeds, TradeFeed
from coinswarm.ticks.model import Channel
from coinswarm.ticks.protocol import Proof
from coinswarm.ticks.redis_link import RedisFailure, RedisLink
from coinswarm.ticks.resp import command, wire
from coinswarm.ticks.settings import TickSettings

_TRADES = 4000
_LIQUIDATIONS = 500


async def seed_recent(feeds: Feeds, connection: Connection, settings: TickSettings) -> None:
    """Remember the newest entries of streams whose events are known by what they say. Without Redis, nothing."""
    wanted = [
        feed
        for feed in feeds
        if (isinstance(feed, TradeFeed) and feed.proof is not Proof.SEQUENCE) or feed.channel is Channel.LIQUIDATIONS
    ]
    if not wanted:
        return
    link = RedisLink()
    try:
        await link.open(connection, "coinswarm-ticks-past", settings.connect_timeout_seconds)
        for feed in wanted:
            trades = feed.channel is Channel.TRADES
            (entries,) = await link.ask(
                wire([command("XREVRANGE", feed.key, "+", "-", "COUNT", _TRADES if trades else _LIQUIDATIONS)]), 1
            )
            if isinstance(entries, hiredis.ReplyError):
                continue
            for _, values in reversed(entries):
                fields = _fields(values)
                if fields.get("venue") == feed.venue:
                    feeds.remember(feed, fields)
    except RedisFailure:
        return
    finally:
        link.close()


def gaps_key(shard: str) -> str:
    """The Redis key of the gaps that are not known to be in the ledger."""
    return f"ticks:gaps:{shard}"


async def kept_gaps(shard: str, connection: Connection, settings: TickSettings) -> dict[str, str]:
    """Gaps that the owner before kept because its ledger had not written them. Without Redis, nothing."""
    link = RedisLink()
    try:
        await link.open(connection, "coinswarm-ticks-past", settings.connect_timeout_seconds)
        (kept,) = await link.ask(wire([command("HGETALL", gaps_key(shard))]), 1)
    except RedisFailure:
        return {}
    finally:
        link.close()
    return {} if isinstance(kept, hiredis.ReplyError) else _fields(kept)


def _fields(values: list[Any]) -> dict[str, str]:
    texts = [value.decode("utf-8", "replace") for value in values]
    return dict(zip(texts[::2], texts[1::2], strict=True))
