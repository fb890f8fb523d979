"""Optional mirror: reads the tick streams as consumer group `kafka` and produces each entry to a Kafka topic.

An entry is acknowledged in Redis once all in-sync replicas have it, so each arrives at least once, and waits in Redis
while Kafka is away: trades, liquidations and books for an hour, the other kinds for 15 minutes. What was dropped unread
is counted. Why a mirror and not a second sink of the pump: decision 0010.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib import import_module
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.positions import START, Cause, Loss, StreamState, reckon, state_of

GROUP = "kafka"
# One mirror at a time: whoever starts takes over what the one before had in its hands.
CONSUMER = "mirror"
LISTED = "ticks:streams"
KINDS = ("trades", "orderbook", "liquidations", "funding", "open_interest", "volatility", "arbitrage", "cross_venue")
_COUNT = 1_000
_BLOCK_MS = 1_000
_LOOK_SECONDS = 10.0
_LONGEST_PAUSE = 5.0
_UNFIT = re.compile(r"[^a-z0-9._-]", re.ASCII)
_RAW = ("XINFO STREAM", "XINFO GROUPS", "XREADGROUP")
_ENCODER = msgspec.json.Encoder()
# What makes `acknowledged` mean something; a connection cannot change these.
_PROMISED = {"acks": "all", "enable.idempotence": True}
_DEFAULTS = {"linger.ms": 5, "compression.type": "lz4", "message.timeout.ms": 30_000}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MirrorCounters:
    """What a mirror did since it was made."""

    delivered: int = 0
    refused: int = 0
    """Deliveries that failed; each is tried again."""
    missed: int = 0
    """Entries that Redis trimmed before they were read: a mirror that was away for longer than the retention."""
    interruptions: int = 0
    topics: int = 0


def settings_of(connection: Connection) -> dict[str, Any]:
    """Properties of librdkafka from connection `kafka_ticks`: host and port, login by SASL, the rest in `extra`."""
    settings: dict[str, Any] = {**_DEFAULTS, **connection.extra}
    if connection.host:
        # Several brokers may be named in `host`, each with its port.
        port = f":{connection.port}" if connection.port and ":" not in connection.host else ""
        settings["bootstrap.servers"] = connection.host + port
    if not settings.get("bootstrap.servers"):
        raise UserError(f"connection {connection.conn_id!r} names no Kafka broker: give host and port")
    if connection.login:
        settings.setdefault("sasl.mechanism", "SCRAM-SHA-512")
        settings.setdefault("security.protocol", "SASL_SSL")
        settings |= {"sasl.username": connection.login, "sasl.password": connection.password}
    return settings | _PROMISED


class KafkaMirror:
    """Mirrors every tick stream until it is told to stop."""

    def __init__(self, source: Connection, target: Connection, kinds: Iterable[str] = KINDS) -> None:
        """From Redis (`redis_ticks`) to Kafka (`kafka_ticks`).

        Raises:
            UserError: there is no such kind of stream, no broker is named, or confluent-kafka is not installed.
        """
        self._kinds = tuple(kinds)
        unknown = [kind for kind in self._kinds if kind not in KINDS]
        if unknown:
            raise UserError(f"unknown kind {str(unknown[0])[:40]!r}; there are {', '.join(KINDS)}")
        self._settings = settings_of(target)
        try:
            self._kafka: Any = import_module("confluent_kafka")
            self._admin: Any = import_module("confluent_kafka.admin")
        except ImportError:
            raise UserError("the mirror to Kafka needs confluent-kafka: pip install 'coinswarm[kafka]'") from None
        self._redis = _client(source)
        self._where = source.conn_id
        self._producer: Any = None
        self._topics: set[str] = set()
        self._keys: list[str] = []
        self._counted: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._looked = float("-inf")
        self._recovering = True
        self._outcome: dict[str, list[str]] = {}
        self._outstanding = 0
        self._failures: list[str] = []
        self.counters = MirrorCounters()

    def run(self, stop: threading.Event) -> None:
        """Mirror until `stop` is set; Redis and Kafka may come and go.

        Raises:
            StoreUnavailable: Redis refuses the login or a command.
        """
        attempts = 0
        try:
            while not stop.is_set():
                try:
                    self.turn()
                except (redis.AuthenticationError, redis.ResponseError) as error:
                    raise StoreUnavailable(f"{self._where}: {str(error)[:300]}") from None
                except (redis.RedisError, Undelivered) as error:
                    attempts += 1
                    self.counters.interruptions += 1
                    log.warning("mirror: %s", error)
                    self._recovering, self._looked = True, float("-inf")
                    pause = min(0.1 * 2 ** min(attempts, 10), _LONGEST_PAUSE)
                    stop.wait(pause * random.uniform(0.5, 1.0))
                else:
                    attempts = 0
        finally:
            self.close()

    def turn(self) -> int:
        """Read once, deliver, acknowledge; returns how many entries that were. Waits a moment if there are none.

        Raises:
            Undelivered: Kafka did not take all of them; what it took is acknowledged.
            redis.RedisError: Redis does not answer, or refuses.
        """
        try:
            return self._turn()
        except redis.ResponseError as error:
            if not any(text in str(error) for text in ("NOGROUP", "no such key")):
                raise
            # Redis has lost its data, or somebody has removed the group: look for the streams anew.
            self._keys, self._looked = [], float("-inf")
            return 0

    def _turn(self) -> int:
        looking = time.monotonic() - self._looked > _LOOK_SECONDS
        if looking:
            started = time.monotonic()
            self._find_streams()
            if not self._keys:
                time.sleep(_BLOCK_MS / 1000)
                return 0
        if self._recovering and (recovered := self._recover()):
            return recovered
        if looking:
            entries = self._look()
        else:
            entries = self._entries("BLOCK", _BLOCK_MS, ids=[">"] * len(self._keys), keys=self._keys)
        if looking:
            self._looked = started
        self._deliver(entries)
        return sum(map(len, entries.values()))

    def forget(self) -> int:
        """Remove the group from every stream, so that Redis keeps nothing for a mirror that is no more.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        try:
            keys = sorted(self._redis.smembers(LISTED))
            return sum(int(self._redis.xgroup_destroy(key, GROUP)) for key in keys if self._redis.exists(key))
        except redis.RedisError as error:
            raise StoreUnavailable(f"{self._where}: {str(error)[:300]}") from None

    def close(self) -> None:
        """Disconnect; what is not acknowledged stays in Redis."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1)
        self._redis.close()

    # From Redis

    def _find_streams(self) -> None:
        prefixes = tuple(f"{kind}:" for kind in self._kinds)
        listed = sorted(key for key in self._redis.smembers(LISTED) if key.startswith(prefixes))
        # A group that exists is left as it is; Redis may have lost any of them, so they are all asked for.
        for key in listed:
            try:
                state = state_of(self._redis.execute_command("XINFO STREAM", key))
                self._redis.execute_command("XGROUP", "CREATE", key, GROUP, START, "ENTRIESREAD", state.removed)
            except redis.ResponseError as error:
                if "no such key" in str(error) or "requires the key" in str(error):
                    continue
                if "BUSYGROUP" not in str(error):
                    raise
            if key not in self._keys:
                self._keys.append(key)
                self._recovering = True

    def _look(self) -> dict[str, list[Any]]:
        """Read, and see at the same moment whether anything was trimmed unread."""
        pipe = self._redis.pipeline(transaction=True)
        for key in self._keys:
            pipe.execute_command("XINFO STREAM", key)
            pipe.execute_command("XINFO GROUPS", key)
        new = [">"] * len(self._keys)
        pipe.execute_command("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", _COUNT, "STREAMS", *self._keys, *new)
        *looked, reply = pipe.execute()
        entries = dict(reply or ())
        for number, key in enumerate(self._keys):
            state = state_of(looked[2 * number])
            group = next(one for one in map(_pairs, looked[2 * number + 1]) if one["name"] == GROUP)
            self._reckon(key, state, group, len(entries.get(key, ())))
        return entries

    def _reckon(self, key: str, state: StreamState, group: Mapping[str, Any], read: int) -> None:
        position, count = str(group["last-delivered-id"]), group["entries-read"]
        known = None if count is None else max(int(count), self._counted.get(key, 0))
        if known is not None and known > state.added:
            known = int(count)
        loss, after = reckon(state, position, known, read, whole=read < _COUNT)
        if loss is None or (loss.entries is None and self._told.get(key) == position):
            return
        self._told[key] = position
        if after is not None:
            self._counted[key] = after
        self._lost(key, loss)

    def _lost(self, key: str, loss: Loss) -> None:
        self.counters.missed += loss.entries or 0
        number = "an unknown number of" if loss.entries is None else str(loss.entries)
        log.warning("mirror: %s entries of %s were %s before they were read", number, key, loss.cause.value)

    def _recover(self) -> int:
        """Deliver what was read and not acknowledged, of this process or of the one before."""
        total = 0
        for key in self._keys:
            start = START
            while True:
                entries = self._entries(ids=[start], keys=[key]).get(key, [])
                gone = [entry_id for entry_id, flat in entries if flat is None]
                if gone:
                    self._lost(key, Loss(Cause.TRIMMED, len(gone)))
                    self._redis.xack(key, GROUP, *gone)
                self._deliver({key: [one for one in entries if one[1] is not None]})
                total += len(entries)
                if len(entries) < _COUNT:
                    break
                start = entries[-1][0]
        self._recovering = False
        return total

    def _entries(self, *options: str | int, ids: Sequence[str], keys: Sequence[str]) -> dict[str, list[Any]]:
        given = ("GROUP", GROUP, CONSUMER, "COUNT", _COUNT, *options)
        return dict(self._redis.execute_command("XREADGROUP", *given, "STREAMS", *keys, *ids) or ())

    # To Kafka

    def _deliver(self, entries: Mapping[str, Sequence[Any]]) -> None:
        self._outcome, self._failures = {}, []
        try:
            for key, listed in entries.items():
                kind, symbol = split(key)
                for entry_id, flat in listed:
                    fields = dict(zip(flat[::2], flat[1::2], strict=False))
                    topic = topic_of(kind, fields.get("venue", ""), symbol)
                    self._produce(topic, symbol, key, entry_id, fields)
            while self._outstanding:
                self._producer.flush(1)
        finally:
            # What Kafka has, is acknowledged, whatever became of the rest.
            for key, ids in self._outcome.items():
                self._redis.xack(key, GROUP, *ids)
                self.counters.delivered += len(ids)
        if self._failures:
            self.counters.refused += len(self._failures)
            self._abandon()
            raise Undelivered(f"Kafka did not take {len(self._failures)} entries: {self._failures[0]}")

    def _produce(self, topic: str, symbol: str, key: str, entry_id: str, fields: Mapping[str, str]) -> None:
        if self._producer is None:
            self._producer = self._kafka.Producer(self._settings, logger=log)
        if topic not in self._topics:
            self._create(topic)
        try:
            while True:
                try:
                    self._producer.produce(
                        topic,
                        key=symbol,
                        value=_ENCODER.encode(fields),
                        headers=[("entry", entry_id.encode())],
                        timestamp=int(entry_id.partition("-")[0]),
                        on_delivery=partial(self._delivered, key, entry_id),
                    )
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
        except self._kafka.KafkaException as error:
            # A producer that has failed for good takes nothing any more.
            self._failures.append(f"{topic}: {str(error)[:200]}")
            return
        self._outstanding += 1
        self._producer.poll(0)

    def _delivered(self, key: str, entry_id: str, error: Any, message: Any) -> None:
        self._outstanding -= 1
        if error is None:
            self._outcome.setdefault(key, []).append(entry_id)
        else:
            self._failures.append(f"{message.topic()}: {str(error)[:200]}")

    def _create(self, topic: str) -> None:
        """With the broker's own number of partitions and replicas; where it does not let us, somebody else has to."""
        admin = self._admin.AdminClient({**self._settings, "log_level": 2})
        asked = admin.create_topics([self._admin.NewTopic(topic, -1, -1)], request_timeout=10)
        try:
            asked[topic].result(15)
        except self._kafka.KafkaException as error:
            refusal = error.args[0]
            if refusal.retriable() or refusal.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN:
                return
            if refusal.code() != self._kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                log.warning("mirror: topic %s: %s", topic, refusal.str())
        self._topics.add(topic)
        self.counters.topics = len(self._topics)

    def _abandon(self) -> None:
        """A producer whose sequence of messages broke cannot go on; the next one begins a new sequence."""
        producer, self._producer = self._producer, None
        self._topics.clear()
        if producer is not None:
            producer.purge()
            producer.flush(1)
        self._outstanding = 0


class Undelivered(StoreUnavailable):
    """Kafka did not take some entries: they stay in Redis, and are tried again."""


def split(key: str) -> tuple[str, str]:
    """Kind and symbol of a stream."""
    kind, _, rest = key.partition(":")
    return kind, rest.removesuffix(":snapshot")


@lru_cache(10_000)
def topic_of(kind: str, venue: str, symbol: str) -> str:
    """`trades.binance.btcusdt`: kind, venue, and the venue's own name of the instrument in lower case.

    Where two markets of a venue share a name, the derivative has its market behind it (`trades.binance.btcusdt.usdm`).
    What the registry does not list goes by its canonical name, an entry of no known venue to `<kind>.unknown.<symbol>`,
    and what is about several venues to `arbitrage.<symbol>` and `cross_venue.<symbol>`.
    """
    if kind in ("arbitrage", "cross_venue"):
        parts = [kind, symbol.lower()]
    elif venue not in _VENUES:
        parts = [kind, "unknown", symbol.lower()]
    else:
        parts = [kind, venue, _names(venue).get(symbol, symbol.lower())]
    return ".".join(_UNFIT.sub("_", part) for part in parts)[:249]


@cache
def _names(venue: str) -> dict[str, str]:
    listed = INSTRUMENTS.of(venue)
    names: dict[str, str] = {}
    for one in listed:
        name = one.venue_symbol.lower()
        shared = any(other.venue_symbol == one.venue_symbol and other is not one for other in listed)
        names[one.symbol] = f"{name}.{one.market}" if shared and one.market != "spot" else name
    return names


def _client(connection: Connection) -> Any:
    client: Any = redis.Redis(
        **connection.redis_arguments,
        protocol=2,
        decode_responses=True,
        encoding_errors="replace",
        socket_connect_timeout=5,
        socket_timeout=_BLOCK_MS / 1000 + 15,
        client_name="coinswarm-kafka",
        retry=Retry(NoBackoff(), 0),
    )
    for name in _RAW:
        client.response_callbacks.pop(name, None)
    return client


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


_VENUES = frozenset(one.source for one in INSTRUMENTS)
