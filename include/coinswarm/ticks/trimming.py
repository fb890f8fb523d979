"""How long entries stay in Redis: until the archive has acknowledged them, and never longer than the limit."""

from __future__ import annotations

import time

import hiredis

from coinswarm.ticks.feeds import ARCHIVED, Feeds
from coinswarm.ticks.redis_link import Replies
from coinswarm.ticks.resp import command
from coinswarm.ticks.settings import TickSettings

_LIMIT_EVERY_SECONDS = 10.0


class Trimming:
    """Trims the streams of a shard. Redis before 8.2 cannot tell what was acknowledged: there only the limit counts."""

    def __init__(self, feeds: Feeds, settings: TickSettings) -> None:
        self._feeds = feeds
        self._settings = settings
        self._knows_acknowledged = True
        self._limited_at = time.monotonic()
        self._sent: list[bool] = []
        self.trimmed = 0
        self.trimmed_unread = 0
        """What nobody had acknowledged; the archive, which counts what it reads, opens the gap."""

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
        for key in self._feeds.other_keys:
            commands.append(command("XTRIM", key, "MINID", "~", oldest))
            self._sent.append(False)
        for feed in self._feeds:
            archived = bool(settings.archive_group) and feed.channel in ARCHIVED
            if not archived:
                commands.append(command("XTRIM", feed.key, "MINID", "~", oldest))
                self._sent.append(False)
                continue
            if self._knows_acknowledged:
                commands.append(command("XTRIM", feed.key, "MINID", "~", oldest, "ACKED"))
                self._sent.append(False)
            if limiting:
                commands.append(command("XTRIM", feed.key, "MINID", "~", limit))
                self._sent.append(True)
        return commands

    @property
    def sent(self) -> int:
        """How many replies `done` will take."""
        return len(self._sent)

    def done(self, replies: Replies) -> None:
        """What the trimming did."""
        sent, self._sent = self._sent, []
        if not sent:
            return
        for unread, reply in zip(sent, replies[-len(sent) :], strict=True):
            if isinstance(reply, hiredis.ReplyError):
                if "syntax" in str(reply):
                    self._knows_acknowledged = False
                continue
            self.trimmed += int(reply)
            if unread:
                self.trimmed_unread += int(reply)
