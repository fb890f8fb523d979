"""Payload files: envelopes, compression, and which instrument they are about."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from coinswarm.errors import ContractViolation, UserError
from coinswarm.sources.envelopes import payloads
from coinswarm.sources.files import parse_file

pytestmark = pytest.mark.unit

BOOK = b'{"lastUpdateId":7,"bids":[["0.10","1"]],"asks":[["0.20","2.50"]]}'
LINE = b"https://api.binance.com/api/v3/depth?symbol=NKNUSDT&limit=1000 -> 1633998512.320639: " + BOOK
FUNDING = b'[{"symbol":"BTCUSDT","fundingTime":1773129600003,"fundingRate":"0.00010000"}]'


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_payloads_when_content_is_a_plain_body_then_it_stays_as_it_is() -> None:
    (payload,) = payloads(FUNDING)
    assert (payload.body, payload.url, payload.received_at) == (FUNDING, "", None)


def test_payloads_when_lines_carry_address_and_time_then_bodies_are_verbatim() -> None:
    first, second = payloads(LINE + b" header: {'x': 'y'}\n" + LINE + b"\nnot a line\n")
    assert first.body == second.body == BOOK
    assert first.venue_symbol == "NKNUSDT"
    assert first.endpoint == "https://api.binance.com/api/v3/depth"
    assert first.received_at is not None
    assert first.received_at.isoformat() == "2021-10-12T00:28:32.320639+00:00"


def test_payloads_when_json_lines_have_a_body_then_digits_survive() -> None:
    as_text = json.dumps({"url": "https://x.example/a?symbol=A", "body": BOOK.decode()}).encode()
    as_object = b'{"path": "/a", "body": {"price": 1.10, "more": 1.12345678901234567890123}}'
    first, second = payloads(as_text + b"\n" + as_object + b"\n")
    assert first.body == BOOK
    assert second.body == b'{"price": 1.10, "more": 1.12345678901234567890123}'


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda body: zstandard.ZstdCompressor().compress(body)])
def test_parse_file_when_compressed_then_the_records_are_the_same(tmp_path: Path, pack: object) -> None:
    path = _written(tmp_path, "body.json", pack(FUNDING))  # type: ignore[operator]
    (line,) = parse_file("binance", "funding_rates", path)
    assert line["symbol"] == "BTC-USDT-PERP"
    assert line["rate"] == "0.00010000"
    assert line["settled_at"] == "2026-03-10T08:00:00.003000+00:00"
    json.dumps(line)


def test_parse_file_when_the_address_names_an_unknown_market_then_it_keeps_the_venues_name(tmp_path: Path) -> None:
    (line,) = parse_file("binance", "order_books", _written(tmp_path, "books.txt.gz", gzip.compress(LINE)))
    assert line["symbol"] == "NKNUSDT"
    assert line["asks"] == [["0.20", "2.50"]]


def test_parse_file_when_the_address_names_a_listed_market_then_it_is_that_instrument(tmp_path: Path) -> None:
    content = LINE.replace(b"NKNUSDT", b"BTCUSDT").replace(b"api.binance.com/api/v3", b"fapi.binance.com/fapi/v1")
    (line,) = parse_file("binance", "order_books", _written(tmp_path, "books.txt", content))
    assert line["symbol"] == "BTC-USDT-PERP"


def test_parse_file_when_symbol_and_address_disagree_then_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NKNUSDT"):
        list(parse_file("binance", "order_books", _written(tmp_path, "b.txt", LINE), symbol="BTC-USDT"))


def test_parse_file_when_one_of_several_bodies_is_bad_then_the_others_are_read(tmp_path: Path) -> None:
    content = LINE + b"\n" + LINE.partition(b": {")[0] + b": <html>\n" + LINE
    lines = list(parse_file("binance", "order_books", _written(tmp_path, "b.txt", content)))
    assert ["rejected" in line for line in lines] == [False, True, False]


@pytest.mark.parametrize(
    ("source", "dataset", "symbol", "timeframe", "says"),
    [
        ("nowhere", "ohlcv", "", "", "unknown source"),
        ("binance", "nothing", "", "", "unknown dataset"),
        ("binance", "tvl", "", "", "has no dataset"),
        ("binance", "ohlcv", "BTC-USDT", "7m", "unknown timeframe"),
        ("binance", "ohlcv", "", "1h", "--symbol"),
        ("binance", "ohlcv", "BTC-USDT", "", "--timeframe"),
        ("binance", "trades", "../../etc", "", "not allowed"),
    ],
)
def test_parse_file_when_asked_for_nonsense_then_the_message_says_what_would_be_valid(
    tmp_path: Path, source: str, dataset: str, symbol: str, timeframe: str, says: str
) -> None:
    path = _written(tmp_path, "body.json", b"[]")
    with pytest.raises(UserError, match=says):
        list(parse_file(source, dataset, path, symbol=symbol, timeframe=timeframe))


@pytest.mark.parametrize("content", [gzip.compress(FUNDING)[:-9], b"\x28\xb5\x2f\xfdgarbage"], ids=("gzip", "zstd"))
def test_parse_file_when_the_archive_is_cut_then_the_error_names_the_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"body\.gz"):
        list(parse_file("binance", "funding_rates", _written(tmp_path, "body.gz", content)))


def test_parse_file_when_there_is_no_file_then_it_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        list(parse_file("binance", "funding_rates", tmp_path / "none.json"))


def test_parse_file_when_the_only_body_is_an_error_envelope_then_the_venues_words_are_shown(tmp_path: Path) -> None:
    path = _written(tmp_path, "e.json", b'{"code":-1121,"msg":"Invalid symbol."}')
    with pytest.raises(ContractViolation, match="Invalid symbol"):
        list(parse_file("binance", "funding_rates", path))
