"""The stand-ins of GDELT, DefiLlama, FRED and CoinGecko: the same question at the same time has the same answer."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from coinswarm.sandbox.protocol import Call, Clock, Reply
from coinswarm.sandbox.server import build
from coinswarm.sources import source_named
from coinswarm.timeframes import Window, floor

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 17, 12, 7, tzinfo=UTC)


def _ask(url: str, query: dict[str, str] | None = None, *, now: datetime = NOW, seed: int = 7) -> Reply:
    parts = urlsplit(url)
    sandbox = build("simulate", seed=seed, clock=Clock(now))
    reply, _ = sandbox.answer(Call(parts.hostname or "", parts.path, query or {}))
    return reply


def _file(stamp: datetime, kind: str = "gkg") -> str:
    return f"https://data.gdeltproject.org/gdeltv2/{stamp:%Y%m%d%H%M%S}.{kind}.csv.zip"


@pytest.mark.parametrize("slug", ["gdelt", "defillama", "fred", "coingecko"])
def test_stand_in_when_asked_twice_then_the_same_bytes_and_another_seed_gives_others(slug: str) -> None:
    for feed in source_named(slug).feeds:
        end = floor(NOW, feed.cadence.period)
        for request in feed.requests(None, Window(end - feed.cadence.period, end)):
            query = {name: str(value) for name, value in request.params.items()}
            first = _ask(request.endpoint, query)
            assert first.status == 200
            assert first.body == _ask(request.endpoint, query).body
            assert first.body != _ask(request.endpoint, query, seed=8).body


def test_gdelt_when_its_stamp_is_ahead_then_the_file_appears_ten_minutes_before() -> None:
    stamp = datetime(2026, 6, 17, 12, 15, tzinfo=UTC)
    assert _ask(_file(stamp), now=stamp - timedelta(minutes=11)).status == 404
    published = _ask(_file(stamp), now=stamp - timedelta(minutes=10))
    assert published.status == 200
    assert published.body == _ask(_file(stamp), now=stamp + timedelta(days=300)).body
    with zipfile.ZipFile(io.BytesIO(published.body)) as archive:
        assert archive.namelist() == ["20260617121500.gkg.csv"]


@pytest.mark.parametrize(
    "name", ["20260617121400.gkg.csv.zip", "20261399000000.gkg.csv.zip", "x.zip", "20260617120000.zip"]
)
def test_gdelt_when_there_is_no_such_file_then_404(name: str) -> None:
    reply = _ask(f"https://data.gdeltproject.org/gdeltv2/{name}")
    assert (reply.status, b"NoSuchKey" in reply.body) == (404, True)


def test_fred_when_key_is_missing_or_series_unknown_then_its_own_error() -> None:
    url = "https://api.stlouisfed.org/fred/series/observations"
    for query in ({"series_id": "DGS10"}, {"series_id": "NOPE", "api_key": "k"}):
        reply = _ask(url, query)
        assert reply.status == 400
        assert json.loads(reply.body)["error_code"] == 400


def test_fred_when_release_has_not_come_then_value_is_not_shown() -> None:
    query = {"id": "CPIAUCSL", "cosd": "2026-01-01", "coed": "2026-06-17"}
    url = "https://fred.stlouisfed.org/graph/fredgraph.csv"
    # May's figure is out twelve days after the month, a Saturday, so on Monday at 13:31 UTC.
    before = _ask(url, query, now=datetime(2026, 6, 15, 13, 30, tzinfo=UTC)).body
    after = _ask(url, query, now=datetime(2026, 6, 15, 13, 32, tzinfo=UTC)).body
    assert b"2026-05-01" not in before
    assert b"2026-05-01" in after


def test_fred_when_too_many_vintages_are_asked_for_then_refused() -> None:
    query = {"series_id": "DFF", "api_key": "k", "realtime_start": "2010-01-01", "observation_start": "2010-01-01"}
    reply = _ask("https://api.stlouisfed.org/fred/series/observations", query)
    assert reply.status == 400
    assert b"vintage dates" in reply.body


def test_coingecko_when_asked_then_shares_follow_from_prices_and_supplies() -> None:
    totals = json.loads(_ask("https://api.coingecko.com/api/v3/global").body)["data"]
    query = {"vs_currency": "usd", "ids": "bitcoin,ethereum"}
    coins = json.loads(_ask("https://api.coingecko.com/api/v3/coins/markets", query).body)
    assert [coin["id"] for coin in coins] == ["bitcoin", "ethereum"]
    for coin in coins:
        assert coin["market_cap"] == coin["current_price"] * coin["circulating_supply"]
        share = 100 * coin["market_cap"] / totals["total_market_cap"]["usd"]
        assert totals["market_cap_percentage"][coin["symbol"]] == pytest.approx(share)
    assert sum(totals["market_cap_percentage"].values()) < 100


def test_defillama_when_id_or_chain_is_unknown_then_refused() -> None:
    assert _ask("https://stablecoins.llama.fi/stablecoincharts/all", {"stablecoin": "999"}).status == 400
    assert _ask("https://api.llama.fi/v2/historicalChainTvl/Nowhere").status == 400


def test_defillama_when_all_chains_are_asked_then_the_sum_of_each() -> None:
    chains = ["Ethereum", "Solana", "Tron", "BSC", "Bitcoin", "Base", "Arbitrum", "Others"]
    newest = [
        json.loads(_ask(f"https://api.llama.fi/v2/historicalChainTvl/{chain}").body)[-1]["tvl"] for chain in chains
    ]
    total = json.loads(_ask("https://api.llama.fi/v2/historicalChainTvl").body)[-1]["tvl"]
    assert total == pytest.approx(sum(newest))
