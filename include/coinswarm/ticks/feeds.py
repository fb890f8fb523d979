"""What a shard knows of each of its streams, and the way of an event into the writer's buffer.

The loop of `Feeds.take` is the hot path: a trade takes about a microsecond from here to the buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from coinswarm.ticks import verdicts
from coinswarm.ticks.gaps import Gap, GapReason, Gaps
from coinswarm.ticks.integrity import DUPLICATE, NEW, Continuity, Hole, Recent, Seen
from coinswarm.ticks.lease import Cursor
from coinswarm.ticks.model import (
    BookUpdate,
    Channel,
    Event,
    Funding,
    Liquidation,
    OpenInterest,
    OptionTick,
    TopOfBook,
    Trade,
    VolatilityIndex,
)
from coinswarm.ticks.protocol import Proof, Stream
from coinswarm.ticks.resp import Encoder, command, entry, recv_field, trade_encoder, trade_fields
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.verdicts import Minutes, MinuteVerdict, Trouble
from coinswarm.ticks.writer import Writer

STREAMS_KEY = "ticks:streams"
ARCHIVED = (Channel.TRADES, Channel.LIQUIDATIONS, Channel.BOOK)
_ADHOC_QUIET_SECONDS = 0.0
_SPOILT_MS = 10_000
_DOUBT_MS = 1_000
_HOLES = (GapReason.SEQUENCE, GapReason.MALFORMED)
"""Gaps on a connection that went on: once their numbers have come late, nothing is doubtful any more."""


class Origin(Protocol):
    """The socket that an event came from: it keeps the books, and answers what is about itself."""

    def book(self, event: BookUpdate | TopOfBook, recv_ms: int) -> None:
        """An event of a book."""
        ...

    def control(self, event: Event) -> None:
        """An event that is about the connection."""
        ...


def stream_key(channel: Channel, symbol: str) -> str:
    """The Redis key of a stream."""
    return f"{channel.value}:{symbol}:snapshot" if channel is Channel.BOOK else f"{channel.value}:{symbol}"


class Feed:
    """State of one stream of one venue."""

    __slots__ = ("channel", "fields", "heard_ms", "key", "lag_ms", "minutes", "proof", "symbol", "told_fields", "venue")

    def __init__(self, venue: str, stream: Stream) -> None:
        self.venue = venue
        self.channel = stream.channel
        self.symbol = stream.symbol
        self.proof = stream.proof
        self.key = stream_key(stream.channel, stream.symbol)
        self.minutes = Minutes(stream.proof)
        self.heard_ms = 0
        self.lag_ms = 0
        """How late the newest event came."""
        self.fields: dict[str, str] | None = None
        """Newest fields that are not in the `latest` hash yet."""
        self.told_fields: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What it is called in logs and in the cursor."""
        return f"{self.venue} {self.symbol} {self.channel.value}"

    @property
    def latest_key(self) -> str:
        """Where its newest fields are."""
        return f"latest:{self.channel.value}:{self.venue}:{self.symbol}"

    def latest(self) -> dict[str, str] | None:
        """Newest fields since the last call."""
        fields, self.fields = self.fields, None
        self.told_fields = fields or {}
        return fields

    def repeat_latest(self) -> None:
        """The hash was not written."""
        if self.told_fields:
            self.fields = self.told_fields | (self.fields or {})

    def traded_ms(self, since_ms: int) -> int:
        """From when on something may be missing, if nothing came since a moment of our clock: by the venue's clock."""
        return since_ms - max(self.lag_ms, 0)

    def proven_to(self) -> int:
        """All minutes that ended before are proven, if the chain held."""
        return self.minutes.start


class TradeFeed(Feed):
    """Trades: numbered, or known by their last ids."""

    __slots__ = (
        "check",
        "continuity",
        "duplicates",
        "encode",
        "filled",
        "flow",
        "newest",
        "noted",
        "past_lag_ms",
        "recent",
        "told",
    )

    def __init__(self, venue: str, stream: Stream) -> None:
        super().__init__(venue, stream)
        self.encode: Encoder = trade_encoder(self.key, venue)
        self.continuity = Continuity()
        self.check: Callable[[int, int], Seen] = self.continuity.check
        self.recent = Recent()
        self.duplicates = 0
        self.filled = 0
        self.newest: Trade | None = None
        self.told: Trade | None = None
        self.noted = ""
        self.past_lag_ms = 0
        """How late the newest trade of the owner before us came."""
        self.flow: list[Trade] | None = None
        """Trades since a book's snapshot was published last; None while no book is there."""

    def seed(self, last: str) -> None:
        """Go on after the last id that was written."""
        if self.proof is Proof.SEQUENCE and last.isdecimal():
            self.continuity = Continuity(int(last))
            self.noted = last
        self.check = self.continuity.check

    def latest(self) -> dict[str, str] | None:
        """Newest fields since the last call."""
        if self.newest is None or self.newest is self.told:
            return None
        self.told = self.newest
        return trade_fields(self.newest, self.venue, str(self.heard_ms))

    def repeat_latest(self) -> None:
        """The hash was not written."""
        self.told = None

    def traded_ms(self, since_ms: int) -> int:
        """By the venue's clock where no numbers will tell: what comes late was traded early."""
        if self.proof is Proof.SEQUENCE:
            return since_ms
        lag_ms = self.past_lag_ms if self.newest is None else self.heard_ms - self.newest.ts
        return since_ms - max(lag_ms, 0)

    @property
    def last_ts(self) -> int:
        """Time of the newest trade."""
        return self.newest.ts if self.newest is not None else 0

    def proven_to(self) -> int:
        """All minutes that ended before are proven, if the chain held."""
        return self.last_ts

    def between(self, written: str, seen: str) -> dict[str, Any]:
        """Fields of a gap for trades after the last written one up to the last seen one, by their notes.

        Without numbers an id of digits counts nothing: others may have got the ones between.
        """
        numbered = self.proof is Proof.SEQUENCE and written.isdecimal() and seen.isdecimal()
        missing = int(seen) - int(written) if numbered else 0
        if missing <= 0:
            return {"last_missing": seen}
        return {"first_missing": str(int(written) + 1), "last_missing": seen, "missing": missing}

    def note(self) -> str:
        """Last id, for the cursor."""
        if self.continuity.last >= 0:
            return str(self.continuity.last)
        return self.newest.id if self.newest is not None else ""


class FeedCounters:
    """What came in, by kind, and what was not passed on."""

    __slots__ = ("coalesced", "duplicates", "holes", "liquidations", "others", "rejects", "trades_missing")

    def __init__(self) -> None:
        self.coalesced = self.duplicates = self.holes = 0
        self.liquidations = self.others = self.rejects = self.trades_missing = 0


class Feeds:
    """All streams of a shard; `take` is for events of the socket that is in charge."""

    def __init__(
        self, venue: str, streams: Iterable[Stream], settings: TickSettings, writer: Writer, gaps: Gaps
    ) -> None:
        self.venue = venue
        self.counters = FeedCounters()
        self.trades: dict[str, TradeFeed] = {}
        self._settings = settings
        self._writer = writer
        self._append = writer.pending.append
        self._most = settings.flush_entries
        self._gaps = gaps
        self._feeds: dict[tuple[Channel, str], Feed] = {}
        self._new_keys: list[tuple[str, Channel]] = []
        self.malformed_ms = 0
        """When a frame could not be read; what is missing soon after was in there."""
        self._recv_ms = 0
        self._recv = ""
        self.other_keys: set[str] = set()
        self._new_others: list[str] = []
        self._options: dict[str, int] = {}
        self._doubtful: dict[Feed, int] = {}
        self._liquidations: dict[str, Recent] = {}
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            Liquidation: self._liquidation,
            Funding: self._funding,
            OpenInterest: self._open_interest,
            OptionTick: self._option,
            VolatilityIndex: self._index,
        }
        for stream in streams:
            self._add(stream)

    def __iter__(self) -> Iterator[Feed]:
        return iter(tuple(self._feeds.values()))

    def get(self, channel: Channel, symbol: str) -> Feed:
        """The stream; one that nobody declared is made, without proof."""
        feed = self._feeds.get((channel, symbol))
        if feed is None:
            feed = self._add(Stream(channel, symbol, Proof.NONE, _ADHOC_QUIET_SECONDS))
            feed.minutes.begin(time.time_ns() // 1_000_000)
        return feed

    def _add(self, stream: Stream) -> Feed:
        key = (stream.channel, stream.symbol)
        if key in self._feeds:
            return self._feeds[key]
        feed: Feed
        if stream.channel is Channel.TRADES:
            feed = self.trades[stream.symbol] = TradeFeed(self.venue, stream)
        else:
            feed = Feed(self.venue, stream)
        self._feeds[key] = feed
        self._new_keys.append((feed.key, feed.channel))
        return feed

    # The hot path

    def take(self, origin: Origin, events: Sequence[Event], recv_ms: int) -> None:
        """Events of a frame, in order."""
        for event in events:
            if type(event) is not Trade:
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event, recv_ms)
                elif isinstance(event, BookUpdate | TopOfBook):
                    origin.book(event, recv_ms)
                else:
                    origin.control(event)
                continue
            feed = self.trades.get(event.symbol)
            if feed is None:
                self.get(Channel.TRADES, event.symbol)
                feed = self.trades[event.symbol]
            first = event.first
            seen = feed.check(first, event.last) if first >= 0 else feed.recent.check(event.id)
            if seen is not NEW:
                if seen is DUPLICATE:
                    feed.duplicates += 1
                    continue
                self._hole(feed, event, seen, recv_ms)
            if recv_ms != self._recv_ms:
                self._recv_ms, self._recv = recv_ms, recv_field(recv_ms)
            self._append(feed.encode(event, self._recv))
            minutes = feed.minutes
            if minutes.start <= event.ts < minutes.end:
                minutes.count += 1
            else:
                minutes.roll(event.ts, recv_ms)
            feed.heard_ms = recv_ms
            feed.newest = event
            if feed.flow is not None:
                feed.flow.append(event)
        writer = self._writer
        if writer.idle:
            if writer.pending:
                writer.kick()
        elif len(writer.pending) >= self._most:
            writer.seal()

    def _hole(self, feed: TradeFeed, trade: Trade, seen: Any, recv_ms: int) -> None:
        hole: Hole = seen
        self.counters.holes += 1
        self.counters.trades_missing += hole.size
        before = feed.last_ts or trade.ts
        first, last = min(before, trade.ts), max(before, trade.ts)
        for minutes in self._proven_by(feed):
            minutes.hole(first, last)
        spoilt = recv_ms - self.malformed_ms < _SPOILT_MS
        reason = GapReason.MALFORMED if spoilt else GapReason.SEQUENCE
        self._gaps.hole(self.venue, feed.symbol, feed.channel.value, reason, hole, first, last)

    def _proven_by(self, feed: TradeFeed) -> Iterator[Minutes]:
        """What the numbers of an instrument's trades prove: liquidations too, where they are marked trades."""
        yield feed.minutes
        marked = self._feeds.get((Channel.LIQUIDATIONS, feed.symbol))
        if marked is not None and marked.proof is Proof.SEQUENCE:
            yield marked.minutes

    # The other kinds

    def write(self, feed: Feed, fields: dict[str, str], ts: int, recv_ms: int) -> None:
        """One entry of any stream but trades, with its count."""
        self._writer.pending.append(entry(feed.key, fields))
        feed.fields = fields
        self.heard(feed, ts, recv_ms)
        if self._writer.idle:
            self._writer.kick()

    def write_snapshot(self, feed: Feed, fields: dict[str, str]) -> None:
        """A book's entry; its updates were counted as they came."""
        self._writer.pending.append(entry(feed.key, fields))
        feed.fields = fields
        if self._writer.idle:
            self._writer.kick()

    def write_other(self, key: str, fields: dict[str, str], latest_key: str) -> None:
        """An entry of a stream that no venue has, and its hash."""
        if key not in self.other_keys:
            self.other_keys.add(key)
            self._new_others.append(key)
        self.counters.others += 1
        writer = self._writer
        writer.pending += (entry(key, fields), _hash(latest_key, fields))
        if writer.idle:
            writer.kick()
        elif len(writer.pending) >= self._most:
            writer.seal()

    def heard(self, feed: Feed, ts: int, recv_ms: int) -> None:
        """Count an event of a stream, whether or not it is written."""
        feed.heard_ms = recv_ms
        feed.lag_ms = recv_ms - ts if ts else 0
        feed.minutes.roll(ts or recv_ms, recv_ms)

    def _liquidation(self, event: Liquidation, recv_ms: int) -> None:
        feed = self.get(Channel.LIQUIDATIONS, event.symbol)
        recent = self._seen_liquidations(event.symbol)
        if recent.check(f"{event.ts} {event.side} {event.price} {event.size}") is DUPLICATE:
            self.counters.duplicates += 1
            return
        self.counters.liquidations += 1
        fields = {
            "venue": self.venue,
            "side": event.side,
            "price": event.price,
            "size": event.size,
            "ts": str(event.ts),
            "recv": str(recv_ms),
            "price_kind": event.price_kind,
            "sampled": "1" if event.sampled else "0",
        }
        if event.native:
            fields["native"] = event.native
        self.write(feed, fields, event.ts, recv_ms)

    def _funding(self, event: Funding, recv_ms: int) -> None:
        fields = {"venue": self.venue}
        for name, value in (("rate", event.rate), ("mark", event.mark), ("index", event.index)):
            if value:
                fields[name] = value
        if event.next_ts >= 0:
            fields["next_ts"] = str(event.next_ts)
        if event.interval_hours >= 0:
            fields["interval_hours"] = str(event.interval_hours)
        feed = self.get(Channel.FUNDING, event.symbol)
        # A delta leaves out what did not change: what the hash does not have yet stays.
        waiting = feed.fields or {}
        self._other(Channel.FUNDING, event.symbol, fields, event.ts, recv_ms)
        feed.fields = waiting | (feed.fields or {})

    def _open_interest(self, event: OpenInterest, recv_ms: int) -> None:
        fields = {"venue": self.venue, "base": event.base}
        if event.native:
            fields["native"] = event.native
        self._other(Channel.OPEN_INTEREST, event.symbol, fields, event.ts, recv_ms)

    def _index(self, event: VolatilityIndex, recv_ms: int) -> None:
        fields = {"venue": self.venue, "kind": "index", "value": event.value}
        self._other(Channel.VOLATILITY, event.asset, fields, event.ts, recv_ms)

    def _option(self, event: OptionTick, recv_ms: int) -> None:
        feed = self.get(Channel.VOLATILITY, event.asset)
        # Hundreds of options tick every second: each is written every few seconds.
        if recv_ms - self._options.get(event.symbol, 0) < self._settings.option_seconds * 1000:
            self.counters.coalesced += 1
            feed.heard_ms = recv_ms
            return
        if len(self._options) > 20_000:
            self._options.clear()
        self._options[event.symbol] = recv_ms
        fields = {"venue": self.venue, "kind": "option", "instrument": event.symbol, "mark_iv": event.mark_iv}
        for name in ("bid_iv", "ask_iv", "delta", "mark", "underlying", "open_interest"):
            if value := getattr(event, name):
                fields[name] = value
        fields |= {"ts": str(event.ts), "recv": str(recv_ms)}
        self.counters.others += 1
        self._writer.pending.append(_hash(f"latest:{feed.channel.value}:{self.venue}:{event.symbol}", fields))
        self._writer.pending.append(entry(feed.key, fields))
        self.heard(feed, event.ts, recv_ms)

    def _other(self, channel: Channel, symbol: str, fields: dict[str, str], ts: int, recv_ms: int) -> None:
        self.counters.others += 1
        self.write(self.get(channel, symbol), fields | {"ts": str(ts), "recv": str(recv_ms)}, ts, recv_ms)

    # Beginning, interruptions, end

    def seed(
        self,
        cursor: Cursor,
        now_ms: int,
        *,
        handed_over: bool,
        judged: Mapping[tuple[str, str], int] = MappingProxyType({}),
    ) -> None:
        """Go on where the writer before left off, and open gaps for the time since, unless it handed over to us.

        Where Redis knows of none, `judged` says up to when streams (symbol, channel) have verdicts.
        """
        open_minutes = verdicts.load(cursor.minutes)
        for feed in self:
            feed.heard_ms = now_ms
            feed.minutes.adopt(open_minutes.get(feed.name, {}))
            if isinstance(feed, TradeFeed):
                feed.seed(cursor.ids.get(f"{self.venue} {feed.symbol}", ""))
            if handed_over:
                feed.minutes.begin(now_ms)
                continue
            left_ms = cursor.at_ms if cursor.known else judged.get((feed.symbol, feed.channel.value), 0)
            if left_ms:
                reason = GapReason.DISCONNECT if cursor.released else GapReason.CRASH
                feed.minutes.begin(left_ms)
                self.interrupted(feed, reason, min(left_ms, now_ms), stopped=cursor.released)
            else:
                feed.minutes.begin(now_ms)
                feed.minutes.flag(now_ms, now_ms, Trouble.PARTIAL)

    def interrupted(self, feed: Feed, reason: GapReason, at_ms: int, **detail: Any) -> None:
        """Nothing of this stream comes any more, since a moment of our clock."""
        at_ms = feed.traded_ms(at_ms)
        if (doubted_ms := self._doubtful.pop(feed, None)) is not None:
            # Another gap: what follows may turn out to be whole.
            self._gaps.end(self.venue, feed.symbol, feed.channel.value, doubted_ms, None, numbered=False)
        if feed.minutes.down_since is None:
            feed.minutes.down_since = at_ms
        if isinstance(feed, TradeFeed) and feed.proof is not Proof.SEQUENCE:
            after = feed.note() or feed.recent.last
            detail |= {"after": after} if after else {}
        self._gaps.begin(self.venue, feed.symbol, feed.channel.value, reason, at_ms, **detail)
        if isinstance(feed, TradeFeed) and feed.proof is Proof.SEQUENCE:
            feed.check = self._first_again(feed)
        elif feed.channel is Channel.BOOK and (trades := self.trades.get(feed.symbol)) is not None:
            trades.flow = None

    def doubtful(self, feed: Feed, reason: GapReason, from_ms: int, now_ms: int, **detail: Any) -> None:
        """Something of a stream that goes on was lost, and maybe more soon: one gap until a second brings no more."""
        name = (self.venue, feed.symbol, feed.channel.value)
        if feed.minutes.down_since is not None:
            # It has a gap that runs, and is about what was not heard.
            self._gaps.lost(*name, reason, feed.traded_ms(from_ms), now_ms, detail=detail)
            return
        if feed not in self._doubtful:
            self._gaps.begin(*name, reason, feed.traded_ms(from_ms), **detail)
        self._doubtful[feed] = now_ms

    def rejected(self, errors: Mapping[str, str], from_ms: int, now_ms: int) -> None:
        """Redis did not take entries of these keys, none of which is older than `from_ms`: they are not written."""
        for feed in self:
            if (error := errors.get(feed.key)) is not None:
                feed.minutes.flag(min(from_ms, now_ms), now_ms, Trouble.REDIS)
                self.doubtful(feed, GapReason.REDIS, from_ms, now_ms, rejected=error[:200])

    def _end_doubts(self, now_ms: int) -> None:
        for feed, at_ms in list(self._doubtful.items()):
            if now_ms - at_ms >= _DOUBT_MS:
                del self._doubtful[feed]
                self._gaps.end(self.venue, feed.symbol, feed.channel.value, at_ms, None, numbered=False)

    def resumed(self, feed: Feed, now_ms: int) -> Gap | None:
        """The stream is there again; what is missing of numbered trades, the next of them tells.

        Returns:
            The gap that has ended by that, of a stream without numbers.
        """
        since, feed.minutes.down_since = feed.minutes.down_since, None
        if since is not None:
            feed.minutes.flag(since, now_ms, Trouble.DOWN if now_ms - since > verdicts.MINUTE_MS else Trouble.RECONNECT)
        if isinstance(feed, TradeFeed) and feed.proof is Proof.SEQUENCE:
            return None
        return self._gaps.end(self.venue, feed.symbol, feed.channel.value, now_ms, None, numbered=False)

    def late(self, feed: TradeFeed, trades: Iterable[Trade], recv_ms: int) -> None:
        """Write trades that the stream has missed and that were asked for: the newest one stays the newest."""
        recv = recv_field(recv_ms)
        for trade in trades:
            feed.recent.check(trade.id)
            feed.minutes.roll(trade.ts, recv_ms)
            self._append(feed.encode(trade, recv))
        if self._writer.idle and self._writer.pending:
            self._writer.kick()

    def refilled(self, gap: Gap, count: int) -> None:
        """All of a gap is there now, so many trades, which came late."""
        self._gaps.refilled(gap, count)

    @property
    def writer(self) -> Writer:
        """Who writes what is taken in."""
        return self._writer

    def _first_again(self, feed: TradeFeed) -> Callable[[int, int], Seen]:
        def check(first: int, last: int) -> Seen:
            known = feed.continuity.last >= 0
            seen = feed.continuity.check(first, last)
            if seen is DUPLICATE:
                return seen
            now_ms = time.time_ns() // 1_000_000
            feed.check = feed.continuity.check
            hole = seen if isinstance(seen, Hole) else None
            if hole is not None:
                self.counters.holes += 1
                self.counters.trades_missing += hole.size
                # A hole lies between two trades, and the one before may have been late.
                feed.minutes.flag(min(feed.last_ts or now_ms, now_ms), now_ms, Trouble.HOLE, gaps=1)
            # The first number of all says nothing of what came before.
            self._gaps.end(self.venue, feed.symbol, feed.channel.value, now_ms, hole, numbered=known)
            return NEW

        return check

    def forgotten(self, cursor: Cursor, applied: dict[str, str], now_ms: int) -> None:
        """Redis has lost entries: of numbered trades those between what it knows and what it had (`applied`)."""
        for feed in self:
            from_ms = feed.traded_ms(cursor.at_ms or now_ms - int(self._settings.retention_seconds * 1000))
            known: dict[str, Any] = {}
            if isinstance(feed, TradeFeed):
                name = f"{self.venue} {feed.symbol}"
                intact, last = cursor.ids.get(name, ""), applied.get(name, "")
                if intact == last:
                    continue
                known = feed.between(intact, last)
            feed.minutes.flag(from_ms, now_ms, Trouble.REDIS, gaps=1)
            self._gaps.lost(self.venue, feed.symbol, feed.channel.value, GapReason.REDIS, from_ms, now_ms, **known)
            # The next flush writes the cursor anew, and the stream's group is gone with the stream.
            if isinstance(feed, TradeFeed):
                feed.noted = ""
        self.repeat_keys()

    # What the writer asks for

    def cursor_fields(self) -> dict[str, str]:
        """Last ids that changed since the last call."""
        changed = {}
        for symbol, feed in self.trades.items():
            note = feed.note()
            if note != feed.noted:
                feed.noted = note
                changed[f"{self.venue} {symbol}"] = note
        return changed

    def latest_commands(self) -> list[str]:
        """`latest` hashes of the streams that have news."""
        return [_hash(feed.latest_key, fields) for feed in self if (fields := feed.latest())]

    def repeat_latest(self) -> None:
        """The hashes were not written."""
        for feed in self:
            feed.repeat_latest()

    def repeat_keys(self) -> None:
        """It is not known whether `key_commands` were heard; a second time does no harm."""
        self._new_keys = [(feed.key, feed.channel) for feed in self]
        self._new_others = list(self.other_keys)

    def remember(self, feed: Feed, fields: dict[str, str]) -> None:
        """An entry that another owner wrote."""
        if isinstance(feed, TradeFeed):
            feed.recent.check(fields.get("id", ""))
            if fields.get("recv", "").isdecimal() and fields.get("ts", "").isdecimal():
                feed.past_lag_ms = int(fields["recv"]) - int(fields["ts"])
        elif feed.channel is Channel.LIQUIDATIONS:
            names = ("ts", "side", "price", "size")
            self._seen_liquidations(feed.symbol).check(" ".join(fields.get(name, "") for name in names))

    def _seen_liquidations(self, symbol: str) -> Recent:
        recent = self._liquidations.get(symbol)
        if recent is None:
            recent = self._liquidations[symbol] = Recent(1024)
        return recent

    def key_commands(self) -> list[str]:
        """For keys that were never seen: their name in the set of all, and the group of the archive."""
        keys, self._new_keys = self._new_keys, []
        others, self._new_others = self._new_others, []
        commands = [command("SADD", STREAMS_KEY, key) for key in (*(key for key, _ in keys), *others)]
        group = self._settings.archive_group
        if group:
            commands += [
                command("XGROUP", "CREATE", key, group, "0", "MKSTREAM") for key, channel in keys if channel in ARCHIVED
            ]
        return commands

    def verdicts(self, now_ms: int) -> list[MinuteVerdict]:
        """Verdicts that are due; also looks whether missing numbers have come late."""
        self._end_doubts(now_ms)
        rows = []
        for feed in self:
            if isinstance(feed, TradeFeed) and feed.continuity.filled != feed.filled:
                feed.filled = feed.continuity.filled
                dropped = feed.continuity.take_dropped()
                closed = self._gaps.fill(self.venue, feed.symbol, (*feed.continuity.holes, *dropped))
                self._gaps.give_up(self.venue, feed.symbol, dropped)
                for gap in closed:
                    if gap.reason in _HOLES and gap.closed_ms is not None:
                        for minutes in self._proven_by(feed):
                            minutes.healed(gap.opened_ms, gap.closed_ms)
            feed.minutes.proven_ms = feed.proven_to()
            if feed.channel is Channel.LIQUIDATIONS and feed.symbol in self.trades:
                # Where they are marked trades, the numbers of the trades prove them.
                feed.minutes.proven_ms = self.trades[feed.symbol].proven_to()
            rows += feed.minutes.close(self.venue, feed.symbol, feed.channel.value, now_ms)
        return rows


def _hash(key: str, fields: dict[str, str]) -> str:
    return command("HSET", key, *(part for pair in fields.items() for part in pair))
