"""A venue on this machine that speaks Binance's spot frames and does what a test tells it: trades, books, faults."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import WSMsgType, web

SYMBOL = "BTCUSDT"
STREAM = "stream.binance.com"


class Exchange:
    """One market, BTCUSDT. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.url = ""
        self.made = 0
        """Trades so far: their ids are 1, 2, 3 …"""
        self.connections = 0
        """How often somebody has connected."""
        self.frozen = False
        """Acknowledge, and say nothing."""
        self.deaf = False
        """Refuse connections."""
        self.cut_after: float | None = None
        self.requests: list[str] = []
        self._book = 1000
        self._levels = {"bids": {"59999.00": "2.000"}, "asks": {"60002.00": "2.000"}}
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()

    # What a test does

    def trade(self, count: int = 1, *, hidden: bool = False) -> None:
        """Make trades; hidden ones are not sent to anybody."""
        self._call(self._trade(count, hidden))

    def depth(self, bid: str = "60000.00", ask: str = "60001.00", size: str = "1.000", *, skip: int = 0) -> None:
        """Change the book; `skip` updates get lost before."""
        self._call(self._depth(bid, ask, size, skip))

    def say(self, text: str) -> None:
        """Send any text."""
        self._call(self._send(text))

    def disconnect(self) -> None:
        """Cut all connections."""
        self._call(self._disconnect())

    @property
    def listeners(self) -> int:
        """Open sockets."""
        return len(self._sockets)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    # The server

    async def _trade(self, count: int, hidden: bool) -> None:
        for number in range(self.made + 1, self.made + count + 1):
            self.made = number
            now = time.time_ns() // 1_000_000
            data = {
                "e": "trade", "E": now, "s": SYMBOL, "t": number, "p": f"{60000 + number % 100}.50",
                "q": f"0.{number % 999 + 1:03}", "T": now, "m": number % 2 == 0, "M": True,
            }  # fmt: skip
            if not hidden and not self.frozen:
                await self._send(json.dumps({"stream": "btcusdt@trade", "data": data}, separators=(",", ":")))

    async def _depth(self, bid: str, ask: str, size: str, skip: int) -> None:
        first = self._book + 1 + skip
        self._book = first
        self._levels["bids"][bid] = self._levels["asks"][ask] = size
        data = {
            "e": "depthUpdate", "E": time.time_ns() // 1_000_000, "s": SYMBOL, "U": first, "u": first,
            "b": [[bid, size]], "a": [[ask, size]],
        }  # fmt: skip
        if not self.frozen:
            await self._send(json.dumps({"stream": "btcusdt@depth@100ms", "data": data}, separators=(",", ":")))

    async def _send(self, text: str) -> None:
        for socket in tuple(self._sockets):
            try:
                await socket.send_str(text)
            except ConnectionError:
                self._sockets.discard(socket)

    async def _disconnect(self) -> None:
        for socket in tuple(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        self._sockets.clear()

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if self.deaf:
            raise web.HTTPServiceUnavailable
        self.connections += 1
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        if self.cut_after is not None:
            asyncio.get_running_loop().call_later(
                self.cut_after, lambda: request.transport and request.transport.abort()
            )
        async for message in socket:
            if message.type is WSMsgType.TEXT and "SUBSCRIBE" in message.data:
                await socket.send_str('{"result":null,"id":1}')
                self._sockets.add(socket)
        self._sockets.discard(socket)
        return socket

    async def _serve_rest(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if request.path.endswith("/depth"):
            levels = {side: list(levels.items()) for side, levels in self._levels.items()}
            return web.json_response({"lastUpdateId": self._book, **levels})
        if request.path.endswith("rades"):
            first = int(request.query.get("fromId", max(self.made - 9, 1)))
            rows = [
                {"id": n, "a": n, "f": n, "l": n, "p": "60000.50", "price": "60000.50", "q": "0.001", "qty": "0.001",
                 "quoteQty": "60.0005", "T": 1, "time": int(time.time() * 1000), "m": True, "isBuyerMaker": True,
                 "M": True, "isBestMatch": True}
                for n in range(first, min(self.made, first + 999) + 1)
            ]  # fmt: skip
            return web.json_response(rows)
        raise web.HTTPNotFound

    async def _start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_get(f"/{STREAM}/stream", self._serve_socket)
        application.router.add_get("/{rest:.*}", self._serve_rest)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner


@contextmanager
def running() -> Iterator[Exchange]:
    """An exchange in a thread of its own."""
    exchange = Exchange()
    loop = exchange._loop
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="exchange")
    thread.start()
    runner = exchange._call(exchange._start())
    try:
        yield exchange
    finally:
        exchange._call(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
