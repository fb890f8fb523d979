"""Whatever is asked, a stand-in answers with a status of its own and does not fall over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.protocol import Call, Clock, Route
from coinswarm.sandbox.registry import ROUTES
from coinswarm.sandbox.server import build

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
VENUES = ("binance", "coinbase", "kraken", "okx", "bybit", "deribit")
EXCHANGE_ROUTES = [route for route in ROUTES if any(venue in route.host for venue in VENUES)]
NAMES = [
    *("symbol", "pair", "instId", "instrument_name", "interval", "bar", "period", "intervalTime", "resolution"),
    *("granularity", "category", "instType", "startTime", "endTime", "start", "end", "start_timestamp"),
    *("end_timestamp", "from", "to", "since", "before", "after", "begin", "limit", "cursor", "unit", "currency"),
    *("kind", "expired", "index_name", "assetVersion", "contractType", "fromId", "lastTime", "count", "type"),
    *("sorting", "start_seq", "end_seq"),
]
WORDS = [
    *(
        "BTCUSDT",
        "BTCUSD",
        "BTCUSD_PERP",
        "BTC-USD",
        "XBTUSD",
        "BTC-USDT-SWAP",
        "BTC-USDT",
        "BTC-PERPETUAL",
        "PF_XBTUSD",
    ),
    *(
        "1m",
        "1h",
        "1H",
        "5min",
        "60",
        "1D",
        "D",
        "ONE_DAY",
        "5m",
        "1w",
        "W",
        "480",
        "8H",
        "linear",
        "inverse",
        "spot",
        "SWAP",
    ),
    *(
        "BTC",
        "ETH",
        "option",
        "future",
        "btc_usd",
        "0",
        "1",
        "-1",
        "1e9",
        "9" * 30,
        "",
        "nan",
        "'; --",
        "../..",
        "\x00",
        "٣",
    ),
    *(str(NOW_MS - n * 3_600_000) for n in (0, 1, 30, 900)),
    *(str(NOW_MS // 1000 - n * 3600) for n in (0, 1, 30, 900)),
]
QUERIES = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.sampled_from(WORDS), st.text(max_size=12)), max_size=7)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, Sandbox]:
    history: Path = tmp_path_factory.mktemp("history") / "history.csv"
    history.write_text(
        "time,exchange,crypto,pair,contract,open,high,low,close,volume,funding rate\n"
        "2023-01-01 00:00:00,okx,bitcoin,BTCUSDT,perpetual,16541.77,16559.77,16499.01,16526.19,3.5,1e-05\n"
    )
    clock = Clock(NOW)
    return build("simulate", clock=clock), build("replay", replay_csv=history, clock=clock)


def path_of(route: Route, word: str) -> str:
    path = route.path
    while "{" in path:
        path = path[: path.index("{")] + (word.replace("/", "") or "x") + path[path.index("}") + 1 :]
    return path


@pytest.mark.parametrize("route", EXCHANGE_ROUTES, ids=lambda route: f"{route.host}{route.path}")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, word=st.sampled_from(WORDS))
def test_endpoint_when_the_query_is_anything_then_it_answers(
    sandboxes: tuple[Sandbox, Sandbox], route: Route, query: dict[str, str], word: str
) -> None:
    for sandbox in sandboxes:
        reply, _ = sandbox.answer(Call(route.host, path_of(route, word), query))
        assert reply.status in (200, 400, 404)
        assert reply.body
