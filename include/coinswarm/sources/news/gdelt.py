"""GDELT: what the world's news write, every 15 minutes, with themes and tone. Keyless bulk files, no throttled API.

Every quarter of an hour GDELT writes one Global Knowledge Graph file of English and one of translated articles, named
by a stamp at the *end* of its quarter (`20261123121500` holds what was seen up to 12:15). The window `[12:00, 12:15)`
therefore asks for the file stamped 12:15, and its articles carry `event_at` 12:15: the moment that GDELT itself gives.
The files are up some minutes before their stamp. One that is missing is asked for again for a day (`ABSENT_AFTER`);
after that it is one of GDELT's real holes, and counts as empty.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.registry import Instrument
from coinswarm.sources.news.assets import assets_in, is_about_crypto
from coinswarm.sources.reading import (
    MAX_BODY_BYTES,
    MAX_ROWS,
    decimal,
    each,
    read_json,
    rows_of,
    text,
    violation,
    whole,
)
from coinswarm.sources.spec import Cadence, Feed, Request, SourceSpec
from coinswarm.timeframes import Window, floor

HOST = "data.gdeltproject.org"
QUARTER = timedelta(minutes=15)
ABSENT_AFTER = timedelta(days=1)
MAX_UNZIPPED_BYTES = 256 * 1024 * 1024
_ZIP = b"PK\x03\x04"
_FILES = ("gkg.csv.zip", "translation.gkg.csv.zip")
_GKG_2_FIELDS = 27
_GKG_1_FIELDS = 11
_EVENT_FIELDS = 61
_MENTION_FIELDS = 16
_CUT = "the last line has no end: the body was cut"
_TITLE = re.compile(r"<PAGE_TITLE>(.*?)</PAGE_TITLE>", re.DOTALL)
_PUBLISHED = re.compile(r"<PAGE_PRECISEPUBTIMESTAMP>(\d{14})</PAGE_PRECISEPUBTIMESTAMP>")
_LANGUAGE = re.compile(r"srclc:([a-z]{3})")


def gkg_requests(_: Instrument | None, window: Window) -> Iterator[Request]:
    """The English and the translated file of every quarter that ends in `(start, end]`."""
    stamp = floor(window.start, QUARTER) + QUARTER
    while stamp <= window.end:
        for file in _FILES:
            yield Request(
                source="gdelt",
                dataset="articles",
                endpoint=f"https://{HOST}/gdeltv2/{stamp:%Y%m%d%H%M%S}.{file}",
                start=stamp - QUARTER,
                end=stamp,
            )
        stamp += QUARTER


def parse_articles(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Articles of a GKG 2.1 or 1.0 file (zipped or plain), or of a DOC 2.0 article list.

    A row of GKG 1.0 is a group of articles with the same names and tone: it becomes one record, under its first URL.
    Bytes that are not UTF-8 are replaced, since GDELT passes on what publishers send. An empty body is an absent file.
    """
    if not body:
        return iter(())
    if body.lstrip()[:1] in (b"{", b"["):
        answer = read_json(body, request)
        articles = answer.get("articles", []) if isinstance(answer, dict) else answer
        return each(rows_of(articles, request, "articles"), _listed_article)
    return each(_rows(body, request), _gkg_article)


def parse_events(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Events of an Events 2.0 file, zipped or plain."""
    return each(_rows(body, request), _event)


def parse_mentions(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Mentions of a Mentions 2.0 file, zipped or plain."""
    return each(_rows(body, request), _mention)


def keep_crypto(record: Record) -> bool:
    """True for articles that name an asset, or are about crypto by address, title or theme."""
    values = record.values
    about = f"{_words_of_url(values['url'])} {values.get('title') or ''}"
    return bool(values["assets"]) or is_about_crypto(about, themes=values.get("themes") or ())


def _rows(body: bytes, request: Request) -> Iterator[list[str]]:
    plain = _unzip(body, request) if body.startswith(_ZIP) else body
    if len(plain) > MAX_UNZIPPED_BYTES:
        raise violation(request, f"{len(plain)} bytes are more than {MAX_UNZIPPED_BYTES}")
    count = 0
    for line in io.BytesIO(plain):
        if not line.strip():
            continue
        if count == 0 and b"\t" not in line:
            raise violation(request, f"not tab-separated, starts with {line[:60]!r}")
        count += 1
        if count > MAX_ROWS:
            raise violation(request, f"more than {MAX_ROWS} rows")
        if count == 1 and line.startswith((b"DATE\t", b"GKGRECORDID\t", b"GLOBALEVENTID\t")):
            continue
        text_line = line.decode("utf-8", errors="replace").replace("\x00", "\ufffd")
        fields = text_line.rstrip("\r\n").split("\t")
        # Half a field is a field too: a line without its end is marked, and refused with its reason.
        yield fields if text_line.endswith("\n") else [*fields, _CUT]


def _unzip(body: bytes, request: Request) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise violation(request, f"archive of {len(body)} bytes is larger than {MAX_BODY_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise violation(request, f"archive has {len(members)} members, not one")
            with archive.open(members[0]) as member:
                # The size in the header is the sender's word; what counts is what comes out.
                plain = member.read(MAX_UNZIPPED_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise violation(request, f"not a readable zip archive ({str(error)[:200]!r})") from None
    if len(plain) > MAX_UNZIPPED_BYTES:
        raise violation(request, f"archive unpacks to more than {MAX_UNZIPPED_BYTES} bytes")
    return plain


def _stamp(row: list[str], index: int, name: str) -> datetime:
    value = row[index]
    if not (value.isascii() and value.isdigit() and len(value) in (8, 14)):
        raise FieldError(name, f"{value[:40]!r} is not YYYYMMDD or YYYYMMDDHHMMSS")
    return _moment(value, name)


def _moment(digits: str, name: str) -> datetime:
    try:
        return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise FieldError(name, f"{digits[:40]!r} is not a time") from None


def _gkg_article(row: list[str]) -> Record:
    if len(row) == _GKG_1_FIELDS and row[-1] is not _CUT:
        return _gkg_1_article(row)
    _expect(row, _GKG_2_FIELDS, "GKG 2.1")
    return _gkg_2_article(row)


def _gkg_2_article(row: list[str]) -> Record:
    seen_at = _stamp(row, 1, "DATE")
    url = row[4]
    title = _TITLE.search(row[26])
    headline = html.unescape(title[1]).strip() if title else None
    themes = _list(row[7])
    language = _LANGUAGE.search(row[25])
    names = " ; ".join((_words_of_url(url), headline or "", row[13], row[23]))
    return Record(
        symbol="global",
        event_at=seen_at,
        published_at=_published(row[26], seen_at),
        available_at=seen_at,
        available_basis="documented",
        values={
            "article_id": _required(row[0], "GKGRECORDID"),
            "url": _required(url, "DOCUMENTIDENTIFIER"),
            "domain": row[3] or None,
            "title": headline or None,
            "language": language[1] if language else "eng",
            "assets": assets_in(names, themes=themes),
            "themes": themes,
            **_tone(row[15]),
        },
    )


def _gkg_1_article(row: list[str]) -> Record:
    day = _stamp(row, 0, "DATE")
    addresses = _required(row[10], "SOURCEURLS")
    url = addresses.split("<UDIV>")[0]
    themes = _list(row[3])
    return Record(
        symbol="global",
        event_at=day,
        available_at=day + timedelta(days=1),
        available_basis="documented",
        values={
            "article_id": _digest(f"{row[0]} {addresses}"),
            "url": url,
            "domain": row[9].split(";")[0] or None,
            "assets": assets_in(f"{_words_of_url(url)} ; {row[6]}", themes=themes),
            "themes": themes,
            **_tone(row[7]),
        },
    )


def _listed_article(row: Any) -> Record:
    url = _required(text(row, "url"), "url")
    seen = text(row, "seendate")
    if not re.fullmatch(r"\d{8}T\d{6}Z", seen, re.ASCII):
        raise FieldError("seendate", f"{seen[:40]!r} is not YYYYMMDDTHHMMSSZ")
    seen_at = _moment(seen[:8] + seen[9:15], "seendate")
    title = row.get("title")
    return Record(
        symbol="global",
        event_at=seen_at,
        available_at=seen_at,
        available_basis="documented",
        values={
            "article_id": _digest(url),
            "url": url,
            "domain": row.get("domain") or None,
            "title": title or None,
            "language": row.get("language") or None,
            "assets": assets_in(f"{_words_of_url(url)} ; {title or ''}"),
        },
    )


def _event(row: list[str]) -> Record:
    _expect(row, _EVENT_FIELDS, "Events 2.0")
    return Record(
        symbol="global",
        event_at=_stamp(row, 1, "SQLDATE"),
        published_at=_stamp(row, 59, "DATEADDED"),
        values={
            "event_id": _required(row[0], "GLOBALEVENTID"),
            "actor_1": row[6] or None,
            "actor_2": row[16] or None,
            "event_code": row[26],
            "quad_class": _count(row, 29, "QuadClass"),
            "goldstein": _number(row[30], "GoldsteinScale") if row[30] else None,
            "mention_count": _count(row, 31, "NumMentions"),
            "source_count": _count(row, 32, "NumSources"),
            "article_count": _count(row, 33, "NumArticles"),
            "tone": _number(row[34], "AvgTone"),
            "url": row[60] or None,
        },
    )


def _mention(row: list[str]) -> Record:
    _expect(row, _MENTION_FIELDS, "Mentions 2.0")
    return Record(
        symbol="global",
        event_at=_stamp(row, 2, "MentionTimeDate"),
        values={
            "mention_id": _digest("\t".join(row)),
            "event_id": _required(row[0], "GLOBALEVENTID"),
            "event_seen_at": _stamp(row, 1, "EventTimeDate"),
            "mention_type": _count(row, 3, "MentionType"),
            "publisher": row[4] or None,
            "url": _required(row[5], "MentionIdentifier"),
            "confidence_pct": _count(row, 11, "Confidence"),
            "document_length": _count(row, 12, "MentionDocLen") if row[12] else None,
            "tone": _number(row[13], "MentionDocTone"),
            "translation": row[14] or None,
        },
    )


def _tone(field: str) -> dict[str, Decimal | int | None]:
    if not field:
        return {}
    parts = field.split(",")
    if len(parts) < 6:
        raise FieldError("TONE", f"{len(parts)} numbers, not 6 or 7")
    return {
        "tone": _number(parts[0], "TONE"),
        "positive_pct": _number(parts[1], "TONE"),
        "negative_pct": _number(parts[2], "TONE"),
        "word_count": _count(parts, 6, "TONE") if len(parts) > 6 and parts[6] else None,
    }


def _published(extras: str, seen_at: datetime) -> datetime | None:
    # Publishers' pages say this; a time after GDELT saw the page, or no time at all, is no information.
    found = _PUBLISHED.search(extras)
    if found is None:
        return None
    try:
        published = _moment(found[1], "PAGE_PRECISEPUBTIMESTAMP")
    except FieldError:
        return None
    return published if published.year >= 1990 and published <= seen_at else None


def _number(value: str, name: str) -> Decimal:
    try:
        return decimal({name: value}, name)
    except FieldError as error:
        raise FieldError(name, error.reason) from None


def _count(row: list[str], index: int, name: str) -> int:
    return whole({name: row[index]}, name)


def _expect(row: list[str], fields: int, name: str) -> None:
    if row[-1] is _CUT:
        raise FieldError("row", _CUT)
    if len(row) != fields:
        raise FieldError("row", f"{len(row)} fields, not {fields} ({name})")


def _required(value: str, name: str) -> str:
    if not value:
        raise FieldError(name, "missing")
    return value


def _list(field: str) -> list[str]:
    return list(dict.fromkeys(part for part in field.split(";") if part))


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", errors="replace")).hexdigest()


def _words_of_url(url: str) -> str:
    # The publisher's name is no subject: a football page of bitcoin.example is not about Bitcoin.
    path = url.split("://", 1)[-1].partition("/")[2]
    return re.sub(r"[-_/+.%=&?]+", " ", path)


SPEC = SourceSpec(
    slug="gdelt",
    title="GDELT Global Knowledge Graph",
    domain=Domain.NEWS,
    docs_url="https://www.gdeltproject.org/data.html",
    licence="Open for any use with citation of and a link to the GDELT Project.",
    feeds=(
        Feed(
            dataset="articles",
            cadence=Cadence.QUARTER_HOURLY,
            requests=gkg_requests,
            parse=parse_articles,
            freshness=timedelta(hours=1),
            keep=keep_crypto,
        ),
    ),
    requests_per_second=2,
    hosts=(HOST,),
    parsers={"news_events": parse_events, "news_mentions": parse_mentions},
    absent_after=ABSENT_AFTER,
    tier=2,
)
