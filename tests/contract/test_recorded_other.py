"""What GDELT, FRED and CoinGecko really sent, against the counts and values that the recordings' manifest states."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from tests.support import RECORDED, needs_recordings

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources import source_named
from coinswarm.sources.parsing import parse_payload, parser_for
from coinswarm.sources.spec import Request

pytestmark = [pytest.mark.contract, needs_recordings]


def _outcomes(source: str, dataset: str, body: bytes, **about: str) -> list[Record | Rejected]:
    request = Request(source=source, dataset=dataset, endpoint="", **about)
    return list(parse_payload(parser_for(source_named(source), dataset), body, request))


def _parse(source: str, dataset: str, file: str, **about: str) -> list[Record]:
    body = (RECORDED / file).read_bytes()
    outcomes = _outcomes(source, dataset, gzip.decompress(body) if file.endswith(".gz") else body, **about)
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert records == outcomes, "nothing of a real body is rejected"
    return records


def _article_list() -> list[Record | Rejected]:
    return _outcomes("gdelt", "articles", gzip.decompress((RECORDED / "gdelt__doc_artlist__1.json.gz").read_bytes()))


def test_gdelt_article_list_when_recorded_then_908_rows_with_814_addresses() -> None:
    # The file joins many answers: 94 articles are in it twice, word for word, and publishing keeps one of each.
    articles = [outcome for outcome in _article_list() if isinstance(outcome, Record)]
    assert len(articles) == len(_article_list()) == 908
    assert len({article.values["url"] for article in articles}) == 814
    assert len({article.values["domain"] for article in articles}) == 449
    assert min(article.event_at for article in articles) == datetime(2020, 3, 10, 8, 0, tzinfo=UTC)
    assert max(article.event_at for article in articles) == datetime(2020, 9, 1, 18, 15, tzinfo=UTC)
    assert articles[0].values["url"].endswith("/gund-supports-six-covid-19-research-projects")
    assert articles[-1].values["url"].startswith("https://civileats.com/2020/06/03/")


def test_gdelt_translated_graph_when_recorded_then_100_articles_with_exact_tone() -> None:
    articles = _parse("gdelt", "articles", "gdelt__gkg_translingual__1.csv.gz")
    assert len(articles) == 100
    assert articles[0].values["article_id"] == "20150218224500-T0"
    assert articles[-1].values["article_id"] == "20200318103000-T1605"
    assert articles[0].event_at == datetime(2015, 2, 18, 22, 45, tzinfo=UTC)
    assert articles[0].values["tone"] == Decimal("-7.95454545454545")
    assert articles[0].values["word_count"] == 158
    assert articles[-1].values["title"] == "Pohvalno: podatki o potrjenih okužbah tudi po občinah"
    assert {article.values["language"] for article in articles} >= {"ces", "slv"}
    assert all(a.published_at is None or a.published_at <= a.event_at for a in articles)


def test_gdelt_graph_1_when_recorded_then_95_groups_under_their_first_address() -> None:
    articles = _parse("gdelt", "articles", "gdelt__gkg_v1__1.csv.gz")
    assert len(articles) == len({article.values["article_id"] for article in articles}) == 95
    assert articles[0].event_at == datetime(2020, 7, 5, tzinfo=UTC)
    assert articles[-1].event_at == datetime(2013, 4, 1, tzinfo=UTC)
    assert articles[-1].values["tone"] == Decimal("-4.12371134020619")


def test_gdelt_events_when_recorded_then_100_rows() -> None:
    events = _parse("gdelt", "news_events", "gdelt__events__1.csv")
    assert len(events) == 100
    assert (events[0].values["event_id"], events[-1].values["event_id"]) == ("410412347", "913097148")
    assert events[0].event_at == datetime(2014, 2, 18, tzinfo=UTC)
    assert events[0].published_at == datetime(2015, 2, 18, 23, tzinfo=UTC)


def test_gdelt_mentions_when_recorded_then_100_rows() -> None:
    mentions = _parse("gdelt", "news_mentions", "gdelt__mentions_translingual__1.csv")
    assert len(mentions) == 100
    assert (mentions[0].values["event_id"], mentions[-1].values["event_id"]) == ("410108590", "913095762")
    assert mentions[0].values["event_seen_at"] == datetime(2015, 2, 18, tzinfo=UTC)


def test_gdelt_articles_when_no_crypto_in_them_then_none_is_kept() -> None:
    keep = source_named("gdelt").feeds[0].keep
    assert keep is not None
    articles = [outcome for outcome in _article_list() if isinstance(outcome, Record)]
    assert [article.values["title"] for article in articles if keep(article)] == []


def test_fred_xml_when_recorded_then_4_observations_of_a_cut_vintage() -> None:
    observations = _parse("fred", "series_observations", "fred__observations_xml__1.xml", symbol="SP500")
    assert [(o.event_at.date().isoformat(), str(o.values["value"])) for o in observations] == [
        ("2014-09-02", "2002.28"),
        ("2014-09-03", "2000.72"),
        ("2014-09-04", "1997.65"),
        ("2014-09-05", "2007.71"),
    ]
    # The file was asked for as of 2015-06-28: that is not when these values became public.
    assert {o.published_at for o in observations} == {None}


def test_fred_xml_when_the_series_is_not_given_then_asks_for_it() -> None:
    with pytest.raises(ContractViolation, match="give it as the symbol"):
        _parse("fred", "series_observations", "fred__observations_xml__1.xml")


def test_fred_csv_when_recorded_then_743_months() -> None:
    observations = _parse("fred", "series_observations", "fred__series_csv__1.csv.gz")
    assert len(observations) == 743
    assert {o.values["series_id"] for o in observations} == {"CPILFESL"}
    assert None not in {o.values["value"] for o in observations}
    first, last = observations[0], observations[-1]
    assert (first.event_at, str(first.values["value"])) == (datetime(1957, 1, 1, tzinfo=UTC), "28.5")
    assert (last.event_at, str(last.values["value"])) == (datetime(2018, 11, 1, tzinfo=UTC), "259.481")


def test_coingecko_global_when_recorded_then_total_and_ten_shares() -> None:
    records = _parse("coingecko", "market_caps", "coingecko__global__1.json")
    total, bitcoin = records[0], records[1]
    assert len(records) == 11
    assert {record.event_at for record in records} == {datetime.fromtimestamp(1744025333, UTC)}
    assert (total.symbol, total.values["market_cap_usd"]) == ("global", Decimal("2515268352188.766"))
    assert (bitcoin.symbol, bitcoin.values["dominance_pct"]) == ("BTC", Decimal("60.70858347681936"))
    expected = Decimal("2515268352188.766") * Decimal("60.70858347681936") / 100
    assert abs(bitcoin.values["market_cap_usd"] - expected) < Decimal("1e-12")


def test_coingecko_examples_when_they_hold_capitalisations_then_records_else_refusals() -> None:
    lines = (RECORDED / "coingecko__official_examples__1.jsonl").read_bytes().splitlines()
    examples = {}
    for line in lines:
        example = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        examples[msgspec.json.decode(example["path"])] = bytes(example["body"])
    assert len(examples) == 10
    counts = {}
    for path, body in examples.items():
        try:
            outcomes = _outcomes("coingecko", "market_caps", body, symbol="BTC")
        except ContractViolation:
            counts[path] = -1
        else:
            counts[path] = sum(isinstance(outcome, Record) for outcome in outcomes)
    assert counts == {
        "/global": 4,
        "/coins/markets": 1,
        "/coins/{id}/market_chart": 2,
        "/simple/price": 1,
        "/global/market_cap_chart": 2,
        "/global/decentralized_finance_defi": 0,
        "/coins/{id}/ohlc": 0,
        "/derivatives": 0,
        "/coins/{id}/history": -1,
        "/exchange_rates": -1,
    }
