"""How long entries stay in Redis: until the archive has acknowledged them, and never longer than the limit."""

from __future__ import annotations

import time

import hiredis

from coinswarm.ticks.feeds import ARCHIVED, Feed, Feeds
from coinswarm.ticks.gaps import GapReason, Gaps
from coinswarm.ticks.redis_link import Replies
from coinswarm.ticks.resp import command
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.shards import venues_of

_LIMIT_EVERY_SECONDS = 10.0


class Trimming:
    """Trims the streams of a shard. Redis before 8.2 cannot tell what was acknowledged: there only the limit counts."""

    def __init__(self, feeds: Feeds, gaps: Gaps, settings: TickSettings) -> None:
        self._feeds = feeds
        self._gaps = gaps
        self._settings = settings
        self._knows_acknowledged = True
        self._limited_at = time.monotonic()
        self._sent: list[tuple[Feed, bool]] = []
        self.trimmed = 0

    def commands(self) -> list[str]:
        """This second's commands; `done` takes their replies, which are the last of the upkeep's."""
        settings, now_ms = self._settings, time.time_ns() // 1_000_000
        oldest = f"{now_ms - int(settings.retention_seconds * 1000)}-0"
        limit = f"{now_ms - int(settings.retention_limit_seconds * 1000)}-0"
        self._sent = []
        commands = []
        limiting = time.monotonic() - self._limited_at >= _LIMIT_EVERY_SECONDS
        if limiting:
            self._limited_at = time.monotonic()
        for feed in self._feeds:
            archived = bool(settings.archive_group) and feed.channel in ARCHIVED
            if not archived:
                commands.append(command("XTRIM", feed.key, "MINID", "~", oldest))
                self._sent.append((feed, False))
                continue
            if self._knows_acknowledged:
                commands.append(command("XTRIM", feed.key, "MINID", "~", oldest, "ACKED"))
                self._sent.append((feed, False))
            if limiting:
                commands.append(command("XTRIM", feed.key, "MINID", "~", limit))
                self._sent.append((feed, True))
        return commands

    def done(self, replies: Replies) -> None:
        """What the trimming did: entries that nobody had acknowledged are a gap."""
        sent, self._sent = self._sent, []
        if not sent:
            return
        for (feed, unread), reply in zip(sent, replies[-len(sent) :], strict=True):
            if isinstance(reply, hiredis.ReplyError):
                if "syntax" in str(reply):
                    self._knows_acknowledged = False
                continue
            self.trimmed += int(reply)
            if unread and reply:
                self._tell(feed, int(reply))

    def _tell(self, feed: Feed, entries: int) -> None:
        until_ms = time.time_ns() // 1_000_000 - int(self._settings.retention_limit_seconds * 1000)
        from_ms = until_ms - int(_LIMIT_EVERY_SECONDS * 1000)
        # The stream is shared by the venues of the symbol, and the count is of all of them.
        for venue in venues_of(feed.symbol) or (feed.venue,):
            self._gaps.lost(
                venue, feed.symbol, feed.channel.value, GapReason.TRIMMED, from_ms, until_ms,
                detail={"key": feed.key, "entries": entries},
            )  # fmt: skip
