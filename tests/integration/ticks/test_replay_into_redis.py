"""`coinswarm ticks replay --redis`: a recording goes through feeds, books and writer into a database of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from tests.integration.ticks.pumps import client
from tests.support import RECORDED, needs_recordings
from typer.testing import CliRunner

from coinswarm.cli import app
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.local.ports import free_ports

pytestmark = pytest.mark.integration

STREAM = '{{"stream":"btcusdt@{0}","data":{1}}}'


def _trade(number: int) -> str:
    data = {"s": "BTCUSDT", "t": number, "p": "70000.10", "q": "0.50", "T": 1770000000000 + number, "m": True}
    return STREAM.format("trade", json.dumps(data))


def _depth(first: int, last: int, bid: str) -> str:
    data = {"E": 1770000000000 + last, "s": "BTCUSDT", "U": first, "u": last, "b": [[bid, "2"]], "a": []}
    return STREAM.format("depth@100ms", json.dumps(data))


SNAPSHOT = '{"lastUpdateId":102,"bids":[["69999.00","1"]],"asks":[["70001.00","3"]]}'


@pytest.fixture
def replayed(empty_redis: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """The database that replays go to; the command line finds the live one beside it."""
    live = int(empty_redis.schema or 0)
    monkeypatch.setenv("AIRFLOW_CONN_REDIS_TICKS", json.dumps(_fields(empty_redis)))
    with client(replace(empty_redis, schema=str(live + 1))) as other:
        for key in other.scan_iter():
            other.delete(key)
        yield other


def _fields(connection: Connection) -> dict[str, Any]:
    names = ("host", "port", "login", "password", "schema")
    return {name: getattr(connection, name) for name in names}


def _run(connection: Connection, venue: str, path: Path, *more: str) -> dict[str, Any]:
    database = str(int(connection.schema or 0) + 1)
    done = CliRunner().invoke(app, ["ticks", "replay", venue, str(path), "--redis", "--database", database, *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def _lines(folder: Path, *frames: str) -> Path:
    path = folder / "frames.txt"
    path.write_text("".join(f"{1770000000 + at}.5: {frame}\n" for at, frame in enumerate(frames)))
    return path


def test_replay_when_it_goes_to_redis_then_entries_are_those_of_a_pump_and_the_live_database_stays_empty(
    empty_redis: Connection, replayed: Redis, tmp_path: Path
) -> None:
    path = _lines(
        tmp_path,
        _depth(99, 101, "69998.00"),
        _trade(10),
        _depth(102, 103, "69999.50"),
        SNAPSHOT,
        _trade(11),
        _trade(11),
        _trade(14),
        _depth(104, 104, "70000.00"),
    )
    found = _run(empty_redis, "binance_spot", path)
    assert found["redis"]["entries"] == {
        "trades:BTCUSDT": 3,
        "orderbook:BTCUSDT:snapshot": len(replayed.xrange("orderbook:BTCUSDT:snapshot")),
    }
    assert found["redis"]["gaps"] == 1
    trades = [fields for _, fields in replayed.xrange("trades:BTCUSDT")]
    assert [trade["id"] for trade in trades] == ["10", "11", "14"]
    assert trades[0] == {
        "venue": "binance",
        "price": "70000.10",
        "size": "0.50",
        "side": "sell",
        "ts": "1770000000010",
        "id": "10",
        "recv": "1770000001500",
    }
    (_, book) = replayed.xrevrange("orderbook:BTCUSDT:snapshot", count=1)[0]
    assert json.loads(book["bids"])[:2] == [["70000.00", "2"], ["69999.50", "2"]], "with what came before the snapshot"
    assert replayed.hget("latest:trades:binance:BTCUSDT", "id") == "14"
    assert replayed.smembers("ticks:streams") == {"trades:BTCUSDT", "orderbook:BTCUSDT:snapshot"}
    with client(empty_redis) as live:
        assert live.dbsize() == 0


def test_replay_when_done_again_then_streams_hold_it_once(
    empty_redis: Connection, replayed: Redis, tmp_path: Path
) -> None:
    path = _lines(tmp_path, *map(_trade, range(50)))
    for _ in range(2):
        assert _run(empty_redis, "binance_spot", path)["redis"]["entries"] == {"trades:BTCUSDT": 50}
    assert replayed.xlen("trades:BTCUSDT") == 50


def test_replay_when_it_would_go_among_live_ticks_then_it_refuses(
    empty_redis: Connection, replayed: Redis, tmp_path: Path
) -> None:
    path = _lines(tmp_path, _trade(1))
    with pytest.raises(UserError, match="holds the live ticks"):
        _run(empty_redis, "binance_spot", path, "--database", empty_redis.schema or "0")
    assert replayed.dbsize() == 0


def test_replay_when_redis_is_away_then_it_says_so(
    empty_redis: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    away = replace(empty_redis, port=port)
    monkeypatch.setenv("AIRFLOW_CONN_REDIS_TICKS", json.dumps(_fields(away)))
    with pytest.raises(StoreUnavailable, match=str(port)):
        _run(away, "binance_spot", _lines(tmp_path, _trade(1)))


@needs_recordings
def test_replay_of_a_recording_when_read_back_then_each_trade_is_there_and_the_book_ends_as_the_manifest_says(
    empty_redis: Connection, replayed: Redis
) -> None:
    path = RECORDED / "binance_spot__ws_capture__3.txt.gz"
    found = _run(empty_redis, "binance_spot", path)
    assert found["redis"]["entries"]["trades:ETHUSDT"] == found["channels"]["trade"] == 6106
    entries = replayed.xrange("trades:ETHUSDT")
    assert (entries[0][1]["id"], entries[-1][1]["id"]) == ("1520538925", "1520545030")
    assert len({fields["id"] for _, fields in entries}) == 6106
    (_, book) = replayed.xrevrange("orderbook:ETHUSDT:snapshot", count=1)[0]
    assert json.loads(book["bids"])[0] == ["2682.50000000", "3.31680000"]
    assert json.loads(book["asks"])[0] == ["2682.51000000", "48.97390000"]


@needs_recordings
def test_replay_of_books_with_checksums_when_read_back_then_all_of_them_end_as_the_manifest_says(
    empty_redis: Connection, replayed: Redis
) -> None:
    found = _run(empty_redis, "kraken_v1", RECORDED / "kraken__ws_capture__1.txt.gz")
    assert found["checksums"] == {"matching": 2035, "failing": 0}
    assert found["redis"]["gaps"] == 0
    for symbol, best in found["best"].items():
        (_, book) = replayed.xrevrange(f"orderbook:{symbol}:snapshot", count=1)[0]
        assert [json.loads(book["bids"])[0], json.loads(book["asks"])[0]] == [list(best["bid"]), list(best["ask"])]
    assert len(found["best"]) == 5
