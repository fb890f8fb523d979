"""Names of Kafka's topics, and what a connection becomes."""

from __future__ import annotations

from typing import Any

import pytest

from coinswarm.connections import Connection
from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.kafka import KINDS, settings_of, split, topic_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "venue", "topic"),
    [
        ("trades:BTC-USDT", "binance", "trades.binance.btcusdt"),
        ("trades:BTC-USDT-PERP", "binance", "trades.binance.btcusdt.usdm"),
        ("trades:BTC-USD-PERP", "binance", "trades.binance.btcusd_perp"),
        ("orderbook:BTC-USD:snapshot", "coinbase", "orderbook.coinbase.btc-usd"),
        ("funding:BTC-USDT-PERP", "okx", "funding.okx.btc-usdt-swap"),
        ("volatility:BTC", "deribit", "volatility.deribit.btc"),
        ("trades:BTC-27MAR26-100000-C", "deribit", "trades.deribit.btc-27mar26-100000-c"),
        ("arbitrage:BTC-USDT", "", "arbitrage.btc-usdt"),
        ("cross_venue:BTC-USDT", "", "cross_venue.btc-usdt"),
        ("trades:BTC-USDT", "mt gox/../é", "trades.unknown.btc-usdt"),
        ("trades:B T/C" + "x" * 300, "binance", ("trades.binance.b_t_c" + "x" * 300)[:249]),
    ],
)
def test_topic_when_an_entry_is_of_a_stream_then_is_named_by_kind_venue_and_its_own_symbol(
    key: str, venue: str, topic: str
) -> None:
    kind, symbol = split(key)
    assert topic_of(kind, venue, symbol) == topic


def test_topic_when_all_instruments_are_named_then_no_two_share_one() -> None:
    named = [topic_of(kind, one.source, one.symbol) for kind in KINDS[:5] for one in INSTRUMENTS]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"host": "127.0.0.1", "port": 9092}, {"bootstrap.servers": "127.0.0.1:9092"}),
        ({"host": "a:1,b:2", "port": 9092}, {"bootstrap.servers": "a:1,b:2"}),
        ({"extra": {"bootstrap.servers": "c:3", "linger.ms": 50}}, {"bootstrap.servers": "c:3", "linger.ms": 50}),
        (
            {"host": "a", "port": 1, "login": "me", "password": "secret"},
            {"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", "sasl.password": "secret"},
        ),
        (
            {"host": "a", "port": 1, "login": "me", "extra": {"security.protocol": "SASL_PLAINTEXT"}},
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"},
        ),
        # What the mirror promises is not up to a connection.
        ({"host": "a", "port": 1, "extra": {"acks": "0", "enable.idempotence": False}}, {"acks": "all"}),
    ],
)  # fmt: skip
def test_settings_when_a_connection_is_given_then_are_those_of_the_client(
    given: dict[str, Any], settings: dict[str, Any]
) -> None:
    found = settings_of(Connection("kafka_ticks", **given))
    assert {name: found[name] for name in settings} == settings
    assert (found["acks"], found["enable.idempotence"]) == ("all", True)


def test_settings_when_no_broker_is_named_then_says_so() -> None:
    with pytest.raises(UserError, match="kafka_ticks"):
        settings_of(Connection("kafka_ticks"))
