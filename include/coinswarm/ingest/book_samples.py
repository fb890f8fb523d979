"""One order book a minute: the last snapshot of every finished minute, per venue."""

from __future__ import annotations

from coinswarm.ingest.streams import Entry, Streams, milliseconds_of

MINUTE_MS = 60_000
# A snapshot may reach Redis a little after the minute that it is of.
SETTLE_MS = 5_000
_PAGE = 2_000


def finished_until(now_ms: int) -> int:
    """The start of the minute that is not over yet, in milliseconds."""
    return (now_ms - SETTLE_MS) // MINUTE_MS * MINUTE_MS


def last_of_minutes(streams: Streams, key: str, until_ms: int) -> list[Entry]:
    """The last entry of each venue in each minute that the group has not passed over yet, oldest first.

    Snapshots are not taken one by one, as trades are: the group's position moves (`passed`) once the samples are in.
    A snapshot of an earlier minute than those that are looked at came too late and is left out.
    """
    position = streams.position(key)
    from_minute = milliseconds_of(position) // MINUTE_MS
    last: dict[tuple[int, str], Entry] = {}
    while True:
        page = streams.following(key, position, _PAGE)
        for entry in page:
            if milliseconds_of(entry.id) >= until_ms:
                return [last[place] for place in sorted(last)]
            venue, at = _venue_and_time(entry)
            minute = at // MINUTE_MS
            if from_minute <= minute < until_ms // MINUTE_MS:
                last[minute, venue] = entry
        if len(page) < _PAGE:
            return [last[place] for place in sorted(last)]
        position = page[-1].id


def passed(until_ms: int) -> str:
    """The id after which a group goes on at `until_ms`."""
    return f"{until_ms - 1}-{2**64 - 1}"


def _venue_and_time(entry: Entry) -> tuple[str, int]:
    fields = dict(zip(entry.fields[::2], entry.fields[1::2], strict=False))
    at = fields.get("ts", "")
    # One without a time is shown to the reader, which says what is wrong with it.
    return fields.get("venue", ""), int(at) if at.isdecimal() and len(at) < 16 else milliseconds_of(entry.id)
