"""The sandbox's WebSockets through real sockets: faults as they reach a client, and how connections end."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from coinswarm.sandbox.server import is_listening, running

pytestmark = pytest.mark.integration

RATE = 5.0
BINANCE = "stream.binance.com:9443/stream?streams=btcusdt@trade"
BOTH = f"{BINANCE}/btcusdt@depth@100ms"


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running(seed=5, tick_rate=RATE) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_faults(base: str) -> Iterator[None]:
    yield
    requests.delete(f"{base}/_control/stream_faults", timeout=5)
    requests.delete(f"{base}/_control/faults", timeout=5)


def stream(base: str, where: str) -> ClientConnection:
    return connect(f"{base.replace('http', 'ws', 1)}/{where}", max_size=None, proxy=None)


def fault(base: str, kind: str, **fields: object) -> None:
    assert requests.post(f"{base}/_control/stream_faults", json={"kind": kind, **fields}, timeout=5).ok


def state(base: str) -> Any:
    return requests.get(f"{base}/_control/state", timeout=5).json()["streams"]


def frames(client: ClientConnection, count: int, timeout: float = 20) -> list[Any]:
    return [json.loads(client.recv(timeout=timeout)) for _ in range(count)]


def trade_ids(heard: list[Any]) -> list[int]:
    return [frame["data"]["t"] for frame in heard if frame["stream"].endswith("@trade")]


def drain(client: ClientConnection) -> None:
    """Read until the connection ends, which raises."""
    while True:
        client.recv(timeout=10)


def eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_stream_when_open_then_rest_on_the_same_port_knows_the_same_trades(base: str) -> None:
    with stream(base, BINANCE) as client:
        heard = [frame["data"] for frame in frames(client, 60)]
        ids = [trade["t"] for trade in heard]
        assert ids == list(range(ids[0], ids[0] + 60))
        where = f"{base}/api.binance.com/api/v3/historicalTrades"
        page = requests.get(where, params={"symbol": "BTCUSDT", "fromId": ids[0], "limit": 60}, timeout=5).json()
        assert [(row["id"], row["price"], row["qty"]) for row in page] == [(x["t"], x["p"], x["q"]) for x in heard]
        query: dict[str, Any] = {"host": "stream.binance.com", "symbol": "BTCUSDT", "start": heard[0]["T"]}
        query["end"] = heard[-1]["T"] + 1
        produced = requests.get(f"{base}/_control/ticks", params=query, timeout=5).json()
        assert produced["first_id"] <= ids[0]
        assert produced["last_id"] >= ids[-1]
        assert produced["count"] == produced["last_id"] - produced["first_id"] + 1
        open_now = state(base)
        assert open_now["connections"] == {"stream.binance.com:9443/stream": 1}
        assert open_now["messages"]["stream.binance.com:9443/stream"] >= 60
    assert eventually(lambda: state(base)["open"] == 0)


def test_stream_when_the_client_pings_then_it_is_answered(base: str) -> None:
    with stream(base, "ws.okx.com:8443/ws/v5/public") as client:
        assert client.ping().wait(10)
        client.send("ping")
        assert client.recv(timeout=10) == "pong"
        # In pieces, as a client may.
        client.send(iter(['{"op":"subscribe","args":[{"channel":"bo', 'oks","instId":"BTC-USDT"}]}']))
        assert json.loads(client.recv(timeout=10))["event"] == "subscribe"


# ---- faults


def test_drop_when_it_strikes_then_that_many_numbers_are_missing(base: str) -> None:
    with stream(base, BINANCE) as client:
        before = trade_ids(frames(client, 5))
        fault(base, "drop", host="stream.binance.com*", channel="trades", symbol="BTCUSDT", count=7)
        after = trade_ids(frames(client, 60))
    ids = before + after
    missing = set(range(ids[0], ids[-1] + 1)) - set(ids)
    assert len(missing) == 7
    assert max(missing) - min(missing) == 6
    assert state(base)["struck"]["drop stream.binance.com:9443/stream"] == 7


def test_duplicate_and_reorder_when_they_strike_then_numbers_come_twice_and_late(base: str) -> None:
    with stream(base, BINANCE) as client:
        fault(base, "duplicate", channel="trades", count=3)
        ids = trade_ids(frames(client, 30))
        assert len(ids) - len(set(ids)) == 3
        assert sorted(set(ids)) == list(range(ids[0], ids[-1] + 1))
        fault(base, "reorder", channel="trades", count=1)
        ids = trade_ids(frames(client, 30))
        steps = [late - early for early, late in itertools.pairwise(ids)]
        assert sorted(ids) == list(range(min(ids), max(ids) + 1))
        assert [step for step in steps if step != 1] in ([2, -1, 2], [-1, 2])


def test_freeze_when_in_force_then_it_is_acknowledged_and_only_others_speak(base: str) -> None:
    fault(base, "freeze", channel="trades")
    with stream(base, "stream.binance.com:9443/stream") as client:
        client.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@depth"], "id": 1}))
        heard = frames(client, 30)
        assert heard[0] == {"result": None, "id": 1}
        assert {frame["stream"] for frame in heard[1:]} == {"btcusdt@depth"}
        requests.delete(f"{base}/_control/stream_faults", timeout=5)
        assert eventually(lambda: frames(client, 1)[0]["stream"] == "btcusdt@trade")


def test_wrong_path_when_it_struck_then_the_connection_stays_silent_and_the_next_speaks(base: str) -> None:
    fault(base, "wrong_path", channel="trades", count=1)
    with stream(base, BOTH) as client:
        heard = frames(client, 40)
    assert {frame["stream"] for frame in heard} == {"btcusdt@depth@100ms"}
    assert [rule["count"] for rule in _rules(base)] == [0]
    with stream(base, BINANCE) as client:
        assert trade_ids(frames(client, 3))


def _rules(base: str) -> Any:
    return requests.get(f"{base}/_control/state", timeout=5).json()["stream_faults"]


def test_bad_checksum_when_it_strikes_then_one_book_is_wrong(base: str) -> None:
    request = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}}

    def checksums() -> list[int]:
        with stream(base, "ws.kraken.com/v2") as client:
            client.send(json.dumps(request))
            heard = frames(client, 12)
        return [frame["data"][0]["checksum"] for frame in heard if frame.get("channel") == "book"]

    fault(base, "bad_checksum", host="ws.kraken.com", count=1)
    assert checksums()
    assert state(base)["struck"]["bad_checksum ws.kraken.com/v2"] == 1


def test_cut_when_it_strikes_then_the_connection_ends_inside_a_frame(base: str) -> None:
    fault(base, "cut", channel="trades", count=1)
    with stream(base, BINANCE) as client, pytest.raises(ConnectionClosedError) as ended:
        frames(client, 50)
    assert ended.value.rcvd is None
    raw = _raw(base, "/stream.binance.com:9443/ws/btcusdt@trade")
    fault(base, "cut", channel="trades", count=1)
    received = b""
    while data := raw.recv(65536):
        received += data
    raw.close()
    whole, rest = _split(received)
    assert all(json.loads(payload)["e"] == "trade" for payload in whole)
    assert 0 < len(rest) < 200
    with pytest.raises(ValueError, match=r".*"):
        json.loads(rest[2:])


def _raw(base: str, path: str) -> socket.socket:
    host, _, port = base.removeprefix("http://").partition(":")
    raw = socket.create_connection((host, int(port)), timeout=20)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    raw.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    return raw


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    whole = []
    while len(data) >= 4:
        size, start = data[1], 2
        if size == 126:
            (size,), start = struct.unpack("!H", data[2:4]), 4
        if len(data) < start + size:
            break
        whole.append(data[start : start + size])
        data = data[start + size :]
    return whole, data


def test_drip_when_it_strikes_then_the_frame_comes_whole_but_in_pieces(base: str) -> None:
    raw = _raw(base, "/stream.binance.com:9443/ws/btcusdt@trade")
    raw.recv(65536)
    fault(base, "drip", channel="trades", count=1, bytes_per_second=500)
    pieces = []
    while sum(map(len, pieces)) < 2_000:
        pieces.append(raw.recv(65536))
    raw.close()
    assert len([piece for piece in pieces if len(piece) <= 10]) >= 5


def test_flood_when_the_hold_is_over_then_nothing_is_lost_and_it_comes_at_once(base: str) -> None:
    with stream(base, BINANCE) as client:
        fault(base, "flood", channel="trades", count=1, hold=2)
        ids, pauses, last = [], [], time.monotonic()
        while not pauses or max(pauses) < 1.5:
            ids += trade_ids(frames(client, 1))
            pauses.append(time.monotonic() - last)
            last = time.monotonic()
        ids += trade_ids(frames(client, 20))
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_disconnect_when_it_strikes_then_the_code_is_the_rules(base: str) -> None:
    with stream(base, BINANCE) as client:
        frames(client, 2)
        fault(base, "disconnect", count=1, code=1012)
        with pytest.raises(ConnectionClosed) as ended:
            frames(client, 100)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1012


# ---- connections


@pytest.mark.parametrize("status", [429, 451, 503])
def test_upgrade_when_a_fault_strikes_the_request_then_its_status_is_the_answer(base: str, status: int) -> None:
    rule = {"kind": "status", "status": status, "path": "/stream", "count": 1}
    requests.post(f"{base}/_control/faults", json=rule, timeout=5)
    with pytest.raises(InvalidStatus) as refused, stream(base, BINANCE):
        pass
    assert refused.value.response.status_code == status
    with stream(base, BINANCE) as client:
        assert frames(client, 1)


def test_upgrade_when_path_or_handshake_is_wrong_then_it_is_refused(base: str) -> None:
    with pytest.raises(InvalidStatus) as refused, stream(base, "ws.kraken.com/v9"):
        pass
    assert refused.value.response.status_code == 404
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for broken in ({}, {"Sec-WebSocket-Key": "short", "Sec-WebSocket-Version": "13"}):
        answer = requests.get(f"{base}/ws.kraken.com/v2", headers=headers | broken, timeout=5)
        assert 400 <= answer.status_code < 500


def test_frame_when_too_large_or_unmasked_then_only_that_connection_ends(base: str) -> None:
    with stream(base, "ws.kraken.com/v2") as client:
        client.send("x" * (1 << 19))
        with pytest.raises(ConnectionClosed):
            drain(client)
    raw = _raw(base, "/ws.kraken.com/v2")
    raw.sendall(b"\x81\x02hi")
    while raw.recv(65536):
        pass
    raw.close()
    with stream(base, BINANCE) as client:
        assert frames(client, 1)


def test_clients_when_they_come_and_go_then_no_thread_stays(base: str) -> None:
    assert eventually(lambda: state(base)["open"] == 0)
    before, accepted = threading.active_count(), state(base)["accepted"]
    for number in range(60):
        if number % 3:
            with stream(base, BOTH) as client:
                client.recv(timeout=20)
        else:
            # Without a good-bye.
            raw = _raw(base, "/stream.binance.com:9443/ws/btcusdt@trade")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
    assert eventually(lambda: state(base)["open"] == 0)
    assert state(base)["accepted"] == accepted + 60
    assert eventually(lambda: threading.active_count() <= before + 2)


def test_client_when_it_does_not_read_then_others_do_not_wait_and_the_server_ends(base: str) -> None:
    with running(seed=5, tick_rate=200.0) as fast:
        lazy = _raw(fast, "/stream.binance.com:9443/stream?streams=" + "/".join(["btcusdt@trade", "ethusdt@trade"]))
        with stream(fast, BINANCE) as client:
            assert len(frames(client, 500)) == 500
        began = time.monotonic()
    assert time.monotonic() - began < 15
    lazy.close()


def test_server_when_it_ends_with_open_connections_then_clients_are_told() -> None:
    with running(seed=5) as url:
        clients = [stream(url, BINANCE) for _ in range(5)]
        entered = [client.__enter__() for client in clients]
        for client in entered:
            client.recv(timeout=20)
    for client in entered:
        with pytest.raises(ConnectionClosed) as ended:
            drain(client)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1001
    for context in clients:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_when_told_to_stop_with_open_connections_then_it_ends_well(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    rules = json.dumps([{"kind": "drop", "channel": "nothing"}])
    command = [sys.executable, "-m", "coinswarm.sandbox", "simulate", "--port", str(port), "--tick-rate", "3"]
    process = subprocess.Popen(
        [*command, "--stream-faults", rules], env=os.environ.copy(), stderr=subprocess.PIPE, text=True
    )
    try:
        assert eventually(lambda: process.poll() is not None or is_listening("127.0.0.1", port), 60)
        with stream(f"http://127.0.0.1:{port}", BINANCE) as client:
            frames(client, 3)
            process.send_signal(number)
            with pytest.raises(ConnectionClosed) as ended:
                frames(client, 10_000)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1001
    assert "Traceback" not in said


def test_command_when_the_rate_is_wrong_then_it_says_so() -> None:
    command = [sys.executable, "-m", "coinswarm.sandbox", "simulate", "--port", "0", "--tick-rate", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: tick rate")
