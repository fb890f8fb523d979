"""GDELT: which files a window is, and what a parser makes of archives that are not what they should be."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources.news import gdelt
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

REQUEST = Request(source="gdelt", dataset="articles", endpoint="https://data.gdeltproject.org/x")
STAMP = "20261123121500"


def _row(number: int = 0, **fields: str) -> str:
    row = [""] * 27
    row[0], row[1], row[4] = f"{STAMP}-{number}", STAMP, "https://newswire.example/a"
    for name, value in fields.items():
        row[int(name.removeprefix("f"))] = value
    return "\t".join(row) + "\n"


def _zip(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return packed.getvalue()


def _parse(body: bytes, request: Request = REQUEST) -> list[Record | Rejected]:
    return list(parse_payload(gdelt.parse_articles, body, request))


def _window(start: str, end: str) -> Window:
    return Window(datetime.fromisoformat(start).replace(tzinfo=UTC), datetime.fromisoformat(end).replace(tzinfo=UTC))


def test_requests_when_window_is_a_quarter_then_the_two_files_stamped_at_its_end() -> None:
    requests = list(gdelt.gkg_requests(None, _window("2026-11-23T12:00", "2026-11-23T12:15")))
    assert [request.endpoint.rsplit("/", 1)[1] for request in requests] == [
        "20261123121500.gkg.csv.zip",
        "20261123121500.translation.gkg.csv.zip",
    ]


def test_requests_when_windows_follow_each_other_then_every_file_once() -> None:
    whole = list(gdelt.gkg_requests(None, _window("2026-11-23T00:00", "2026-11-24T00:00")))
    parts = [
        request
        for part in _window("2026-11-23T00:00", "2026-11-24T00:00").slices(timedelta(minutes=40))
        for request in gdelt.gkg_requests(None, part)
    ]
    assert len(whole) == 2 * 96
    assert [request.endpoint for request in parts] == [request.endpoint for request in whole]


def test_parse_when_zipped_or_plain_then_the_same_records() -> None:
    plain = (_row(0) + _row(1)).encode()
    assert _parse(_zip((f"{STAMP}.gkg.csv", plain))) == _parse(plain)
    assert len(_parse(plain)) == 2


def test_parse_when_the_file_was_absent_then_no_rows() -> None:
    assert _parse(b"") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_zip(), "not tab-separated"),
        (_zip(("a.csv", b"x\ty"), ("b.csv", b"x\ty")), "2 members"),
        (_zip(("a.csv", b"x\ty" * 1000))[:-30], "not a readable zip"),
        (b"PK\x03\x04rubbish", "not a readable zip"),
        (b"<html>Too many requests</html>", "not tab-separated"),
        (b"Your query was too short or too long.", "not tab-separated"),
        (b'{"articles": 5}', "not a list"),
        (b'{"articles": [', "not JSON"),
    ],
)
def test_parse_when_body_is_unusable_then_contract_violation_names_why(body: bytes, reason: str) -> None:
    with pytest.raises(ContractViolation, match=f"gdelt/articles: .*{reason}"):
        _parse(body)


def test_parse_when_a_member_byte_is_changed_then_the_checksum_refuses_all_of_it() -> None:
    body = bytearray(_zip(("a.csv", _row().encode()), compression=zipfile.ZIP_STORED))
    position = body.index(b"newswire")
    body[position] ^= 1
    with pytest.raises(ContractViolation, match="CRC"):
        _parse(bytes(body))


def test_parse_when_archive_is_broken_then_the_error_does_not_carry_its_bytes() -> None:
    body = bytearray(_zip(("a" * 5000, b"x\ty\n")))
    body[30:5030] = b"\x00" * 5000
    with pytest.raises(ContractViolation) as refused:
        _parse(bytes(body))
    assert len(str(refused.value)) < 400
    assert "\x00" not in str(refused.value)


def test_parse_when_archive_is_a_bomb_then_refused_without_unpacking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdelt, "MAX_UNZIPPED_BYTES", 1_000_000)
    with pytest.raises(ContractViolation, match="unpacks to more than 1000000"):
        _parse(_zip(("a.csv", b"\t" * 5_000_000)))


def test_parse_when_a_header_lies_about_the_size_then_what_comes_out_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytearray(_zip(("a.csv", b"\t" * 2_000_000)))
    size = (2_000_000).to_bytes(4, "little")
    assert body.count(size) == 2
    monkeypatch.setattr(gdelt, "MAX_UNZIPPED_BYTES", 1_000_000)
    with pytest.raises(ContractViolation):
        _parse(bytes(body).replace(size, (100).to_bytes(4, "little")))


def test_parse_when_one_row_is_bad_then_the_others_stay() -> None:
    rows = [
        _row(0),
        "short\trow\n",
        _row(1, f15="1,nan,2,3,4,5,6"),
        _row(2, f1="20261399999999"),
        _row(3, f4=""),
        _row(4),
    ]
    outcomes = _parse("".join(rows).encode())
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected, Rejected, Rejected, Rejected, Record]
    assert [o.field for o in outcomes if isinstance(o, Rejected)] == ["row", "TONE", "DATE", "DOCUMENTIDENTIFIER"]


def test_parse_when_the_last_line_has_no_end_then_only_it_is_rejected() -> None:
    outcomes = _parse((_row(0) + _row(1)).encode().removesuffix(b"\n"))
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected]
    assert "was cut" in next(o.reason for o in outcomes if isinstance(o, Rejected))


def test_parse_when_bytes_are_not_utf8_or_nul_then_replaced() -> None:
    row = _row(0, f4="https://x.example/AB").encode().replace(b"AB", b"\xe1\x00")
    (record,) = _parse(row)
    assert isinstance(record, Record)
    assert record.values["url"] == "https://x.example/\ufffd\ufffd"


def test_parse_when_publisher_dates_page_after_it_was_seen_then_published_at_is_unknown() -> None:
    extras = "<PAGE_PRECISEPUBTIMESTAMP>{}</PAGE_PRECISEPUBTIMESTAMP>"
    stamps = ["20261123120000", "20261123121501", "20269999999999", "00010101000000"]
    records = _parse("".join(_row(i, f26=extras.format(stamp)) for i, stamp in enumerate(stamps)).encode())
    assert [record.published_at for record in records if isinstance(record, Record)] == [
        datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
        None,
        None,
        None,
    ]


def test_keep_when_only_the_publishers_name_is_crypto_then_dropped() -> None:
    rows = [
        _row(0, f4="https://bitcoin.example/football-results"),
        _row(1, f4="https://x.example/why-bitcoin-fell"),
        _row(2, f7="ECON_BITCOIN;"),
        _row(3, f23="Solana,12"),
        _row(4, f26="<PAGE_TITLE>New blockchain law</PAGE_TITLE>"),
    ]
    records = [record for record in _parse("".join(rows).encode()) if isinstance(record, Record)]
    assert [gdelt.keep_crypto(record) for record in records] == [False, True, True, True, True]


@given(st.binary(max_size=400))
def test_parse_when_bytes_are_arbitrary_then_rows_rejections_or_a_violation(body: bytes) -> None:
    for dataset, parse in (
        ("articles", gdelt.parse_articles),
        ("news_events", gdelt.parse_events),
        ("news_mentions", gdelt.parse_mentions),
    ):
        try:
            outcomes = list(parse_payload(parse, body, Request("gdelt", dataset, "")))
        except ContractViolation:
            continue
        assert all(isinstance(outcome, Record | Rejected) for outcome in outcomes)


@given(
    st.lists(st.lists(st.text(max_size=30), min_size=27, max_size=27).map(lambda fields: "\t".join(fields)), max_size=3)
)
def test_parse_when_fields_are_arbitrary_then_no_other_error(rows: list[str]) -> None:
    try:
        outcomes = _parse("".join(row + "\n" for row in rows).encode("utf-8", errors="surrogatepass"))
    except ContractViolation:
        return
    for outcome in outcomes:
        if isinstance(outcome, Record):
            assert outcome.values["article_id"]
            assert outcome.values["url"]
