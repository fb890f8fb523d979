"""The sandbox on a port: threads of the standard library, no framework.

Control calls, all JSON: `GET /_control/state` (counts, rules, clock), `POST /_control/faults` (one rule or a list, see
`faults.Fault`), `POST /_control/revise` (`{"venue", "market", "symbol", "minutes", "at", "field", "value"}`; `minutes`
is the bar's length, 0 for a funding event; without `value` the field grows by one percent), `POST /_control/clock`
(`{"now": "2024-07-02T00:00:00+00:00"}`, null for the wall clock), `POST /_control/stream_faults` (one rule or a list,
see `streams.faults.StreamFault`); `DELETE` on the first three and the last forgets. `GET /_control/ticks?host=&symbol=`
says which trades there were (`market=` where a host has several of a symbol, `start=` and `end=` a range of time).
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypedDict, Unpack
from urllib.parse import parse_qsl, unquote

from coinswarm.sandbox import registry
from coinswarm.sandbox.application import Routes, Sandbox, revise
from coinswarm.sandbox.faults import Fault, Faults
from coinswarm.sandbox.market.model import Market
from coinswarm.sandbox.market.replayed import ReplayedMarket, read_history
from coinswarm.sandbox.market.revisions import Revisions
from coinswarm.sandbox.market.simulated import SimulatedMarket
from coinswarm.sandbox.protocol import Call, Clock, World
from coinswarm.sandbox.recorded_bodies import read_bodies
from coinswarm.sandbox.streams.connection import Streams
from coinswarm.sandbox.streams.faults import StreamFault, StreamFaults

MODES = ("simulate", "replay")
DEFAULT_PORT = 21300
DEFAULT_SEED = 20_260
SLOWEST_RATE, FASTEST_RATE = 0.01, 200.0
_MAX_BODY = 1 << 20
_log = logging.getLogger(__name__)


class Settings(TypedDict, total=False):
    """What a sandbox can be told, with the defaults of `build`."""

    seed: int
    replay_csv: Path | None
    bodies: Path | None
    clock: Clock | None
    faults: Sequence[Fault]
    revisions: Sequence[Mapping[str, Any]]
    stream_faults: Sequence[StreamFault]
    tick_rate: float


def build(
    mode: str,
    *,
    seed: int = DEFAULT_SEED,
    replay_csv: Path | None = None,
    bodies: Path | None = None,
    clock: Clock | None = None,
    faults: Sequence[Fault] = (),
    revisions: Sequence[Mapping[str, Any]] = (),
    stream_faults: Sequence[StreamFault] = (),
    tick_rate: float = 1.0,
) -> Sandbox:
    """A sandbox without a socket.

    Raises:
        ValueError: unknown mode, a replay with nothing to replay, a history file of the wrong form, a rate out of
            range, or a revision of something that is not listed.
    """
    if not SLOWEST_RATE <= tick_rate <= FASTEST_RATE:
        raise ValueError(f"tick rate {tick_rate:g} is not within {SLOWEST_RATE:g} and {FASTEST_RATE:g}")
    clock = clock or Clock()
    changes = Revisions()
    market: Market
    if mode == "simulate":
        market = SimulatedMarket(seed, clock, changes, tick_rate)
    elif mode == "replay":
        if replay_csv is None and bodies is None:
            raise ValueError("a replay needs a history file or a folder of recorded bodies")
        market = ReplayedMarket(read_history(replay_csv) if replay_csv else {}, clock, changes)
    else:
        raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    rules = Faults(seed)
    for fault in faults:
        rules.add(fault)
    broken = StreamFaults(seed)
    for stream_fault in stream_faults:
        broken.add(stream_fault)
    world = World(mode, seed, clock, market)
    sandbox = Sandbox(
        world=world,
        streams=Streams(world, broken),
        routes=Routes(registry.ROUTES),
        faults=rules,
        revisions=changes,
        bodies=read_bodies(bodies) if bodies else (),
    )
    for fields in revisions:
        revise(sandbox, fields)
    return sandbox


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        super().__init__(address, _Handler)
        self.sandbox = sandbox

    def server_close(self) -> None:
        super().server_close()
        self.sandbox.streams.close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server_version = "coinswarm-sandbox"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = _MAX_BODY + 1
        if not 0 <= length <= _MAX_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(length) if length else b""
        target, _, query = self.path.partition("?")
        host, _, path = target.lstrip("/").partition("/")
        call = Call(
            host=host,
            path=unquote("/" + path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            method=self.command,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        try:
            if self.headers.get("Upgrade", "").lower() == "websocket" and self._stream(call):
                return
            reply, fault = self.server.sandbox.answer(call)
        except Exception:
            _log.exception("the stand-in failed at %s %s", call.method, self.path[:200])
            self.send_error(500)
            return
        kind = fault.kind if fault else ""
        if fault and kind == "hang":
            time.sleep(fault.seconds)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(reply.body)

    def _stream(self, call: Call) -> bool:
        """Serve a WebSocket in this thread until it ends; False if there is none, or a fault strikes the request."""
        sandbox = self.server.sandbox
        session = sandbox.open_stream(call)
        if session is None:
            return False
        lines = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
        self.close_connection = True
        sandbox.streams.serve(self.connection, "\r\n".join(lines).encode("latin-1"), call, session)
        return True

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            _log.debug("a client went away")

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)


def serve(
    mode: str,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    **settings: Unpack[Settings],
) -> None:
    """Serve until interrupted. Arguments as `build`; `port` 0 takes a free one."""
    with _Server((host, port), build(mode, **settings)) as server:
        _log.info("sandbox (%s) on http://%s:%s", mode, host, server.server_address[1])
        server.serve_forever(poll_interval=0.2)


@contextmanager
def running(
    mode: str = "simulate",
    *,
    port: int = 0,
    **settings: Unpack[Settings],
) -> Iterator[str]:
    """A sandbox in a thread of this process, on a free port; gives its base URL (`http://127.0.0.1:43210`)."""
    with _Server(("127.0.0.1", port), build(mode, **settings)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="sandbox")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def is_listening(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
