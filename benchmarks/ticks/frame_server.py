"""A venue in a process of its own: sends its frames to whoever connects, as fast as is read or at a given rate.

    python -m benchmarks.ticks.frame_server --count 400000 [--rate 5000] [--sent FILE]

Prints its port, then serves one feed: the first socket that asks for `aggTrade`, in its address or by a subscription,
gets the frames; others (a client's book) get an acknowledgement and silence. With `--rate`, `--sent` gets the monotonic
send time in nanoseconds of every frame, as 64-bit integers. Ends when the feed was closed by its client or by a signal.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import picows

from benchmarks.ticks.frames import frames

# Frames of one write: small enough for the buffer to stay near its mark, large enough to be no bottleneck.
_BLOCK = 100
# Trades a second by the frames' own clock where they are sent as fast as they are read.
_UNLIMITED = 300_000


class _Feed(picows.WSListener):
    """One connection."""

    def __init__(self, server: _Server, wanted: bool) -> None:
        super().__init__()
        self._server = server
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport
        if self._wanted:
            self._begin()

    def _begin(self) -> None:
        if not self._server.taken:
            self._server.taken = True
            self._task = asyncio.get_running_loop().create_task(self._server.feed(self._transport, self._writable))

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.TEXT and b"SUBSCRIBE" in frame.get_payload_as_bytes():
            transport.send(picows.WSMsgType.TEXT, b'{"result":null,"id":1}')
            if b"aggTrade" in frame.get_payload_as_bytes():
                self._begin()
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_ws_disconnected(self, transport: Any) -> None:
        self._writable.set()
        if self._task is not None:
            self._server.done.set()


class _Server:
    def __init__(self, made: list[bytes], rate: int) -> None:
        self.made, self.rate = made, rate
        # As bytes of the wire, where it does not matter when each is sent: a call of the system for each frame took as
        # long as the pump does with it, on cores that all share.
        starts = () if rate else range(0, len(made), _BLOCK)
        self.blocks = [b"".join(map(_framed, made[start : start + _BLOCK])) for start in starts]
        self.sent = array.array("q")
        self.taken = False
        self.done = asyncio.Event()

    async def feed(self, transport: Any, writable: asyncio.Event) -> None:
        await asyncio.sleep(0.5)  # the client may still be subscribing
        if self.rate:
            await self._at_rate(transport, writable)
            return
        for block in self.blocks:
            if self.done.is_set():
                return
            transport.underlying_transport.write(block)
            await writable.wait()
            await asyncio.sleep(0)

    async def _at_rate(self, transport: Any, writable: asyncio.Event) -> None:
        started = time.monotonic()
        position = 0
        while position < len(self.made) and not self.done.is_set():
            due = min(len(self.made), int((time.monotonic() - started) * self.rate) + 1)
            if due <= position:
                await asyncio.sleep(0.0005)
                continue
            for frame in self.made[position:due]:
                self.sent.append(time.monotonic_ns())
                transport.send(picows.WSMsgType.TEXT, frame)
            position = due
            await writable.wait()


def _framed(payload: bytes) -> bytes:
    """A text frame of a server: its lead (RFC 6455, 5.2), then the payload."""
    length = len(payload)
    assert length < 1 << 16
    return (b"\x81" + (bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big"))) + payload


async def _serve(options: argparse.Namespace) -> None:
    server = _Server(frames(options.count, options.rate or _UNLIMITED), options.rate)
    listening = await picows.ws_create_server(
        lambda request: _Feed(server, b"aggTrade" in bytes(request.path)), "127.0.0.1", options.port
    )
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.done.wait()
    listening.close()
    if options.sent:
        options.sent.write_bytes(server.sent.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sent", type=Path)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
