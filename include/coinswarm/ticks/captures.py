"""Frames from files, in the forms in which people record them.

One message a line: `<receive time in ns> <message>`, `<receive time in s>: <message>`, the bare message, or a JSON
object whose `raw` is the message. What the client itself sent (lines that begin with `wss://`) is passed over. `.gz` is
unpacked.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from coinswarm.errors import UserError

MAX_LINE_BYTES = 64 << 20
_GZIP = b"\x1f\x8b"


class Captured(NamedTuple):
    """A message, and when it was received in nanoseconds since the epoch (0: not recorded)."""

    received_ns: int
    frame: bytes


def read_frames(path: Path) -> Iterator[Captured]:
    """Messages of a recording, in order.

    Raises:
        UserError: the file cannot be read, or a line is in none of the forms; the message names it.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip(b"\r\n")
                if not text or text.startswith((b"wss://", b"ws://")):
                    continue
                if len(text) > MAX_LINE_BYTES:
                    raise UserError(f"{path.name} line {number} is longer than {MAX_LINE_BYTES} bytes")
                yield _captured(text, f"{path.name} line {number}")
    except (OSError, EOFError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def channel_of(frame: bytes) -> str:
    """What a venue itself calls the kind of a message, whatever the venue; `books/update` where a kind has kinds."""
    try:
        message = msgspec.json.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "unreadable" if frame not in (b"ping", b"pong") else frame.decode()
    if isinstance(message, list):
        # Kraken v1: [id, content, channel, pair].
        return (_text(message[-2]) if len(message) > 2 else "") or "list"
    if not isinstance(message, dict):
        return "unreadable"
    return _channel(message)[:80] or "other"


def _channel(message: dict[str, Any]) -> str:
    if stream := _text(message.get("stream")):
        # Binance: `<symbol>@<kind>@<speed>`, `!<kind>@arr`.
        return (stream[1:] if stream[0] == "!" else stream.partition("@")[2]).partition("@")[0]
    if topic := _text(message.get("topic")):
        return _with_kind(topic.partition(".")[0], message.get("type"))
    if isinstance(message.get("arg"), dict) and "data" in message:
        return _with_kind(_text(message["arg"].get("channel")), message.get("action"))
    if message.get("method") == "subscription" and isinstance(message.get("params"), dict):
        return _text(message["params"].get("channel")).partition(".")[0]
    if "lastUpdateId" in message:
        return "REST depth snapshot"
    if "success" in message and "ret_msg" in message:
        return "ack"
    if "arg" in message:
        return f"event:{_text(message.get('event'))}"
    for name in ("feed", "event", "channel", "type", "method", "e"):
        if kind := _text(message.get(name)):
            return kind
    return "rpc_result" if "result" in message else ""


def _with_kind(channel: str, kind: object) -> str:
    return f"{channel}/{kind}" if isinstance(kind, str) and kind else channel


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _captured(line: bytes, where: str) -> Captured:
    if line[:1] in (b"{", b"["):
        return Captured(0, _unwrapped(line))
    stamp, separator, frame = line.partition(b" ")
    nanoseconds = not stamp.endswith(b":")
    seconds, _, fraction = stamp.removesuffix(b":").partition(b".")
    if not separator or not seconds.isdigit() or (fraction and not fraction.isdigit()) or len(stamp) > 40:
        raise UserError(f"{where} is neither a message nor a receive time and a message")
    if nanoseconds:
        return Captured(int(seconds), frame)
    return Captured(int(seconds) * 10**9 + int((fraction + b"000000000")[:9]), frame)


def _unwrapped(line: bytes) -> bytes:
    # A recorder's own object around the message; a venue's message never has both of these.
    if b'"raw"' in line and b'"test"' in line:
        try:
            return str(json.loads(line)["raw"]).encode()
        except (ValueError, KeyError, TypeError):
            return line
    return line
