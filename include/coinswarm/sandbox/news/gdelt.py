"""GDELT's bulk files: one Global Knowledge Graph archive of English and one of translated articles every quarter.

A quarter's stories about an asset have a tone that follows the asset's move in the quarter before the stamp, so that
sentiment and prices tell one story. Files appear ten minutes before their stamp, as GDELT's do.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np

from coinswarm.sandbox.market.model import MINUTE
from coinswarm.sandbox.protocol import Call, NotRecorded, Reply, Route, World, text_reply
from coinswarm.sandbox.randomness import key, normal, uniform

HOST = "data.gdeltproject.org"
_FIRST = datetime(2015, 2, 18, 23, 0, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
_LEAD = timedelta(minutes=10)
_SUFFIXES = {".gkg.csv.zip": False, ".translation.gkg.csv.zip": True}
_PUBLISHERS = (
    "newswire.example",
    "ledgerpost.example",
    "marketdaily.example",
    "citytimes.example",
    "chainreport.example",
)
_LANGUAGES = ("spa", "deu", "fra", "jpn", "por")
# (asset whose move sets the tone, headline, organisations, themes)
_STORIES = (
    (
        "BTC",
        "Bitcoin {move} as ETF flows {turn}",
        "securities and exchange commission",
        "ECON_BITCOIN;ECON_STOCKMARKET",
    ),
    ("BTC", "Miners {turn} while bitcoin {move}", "", "ECON_BITCOIN;ENV_MINING"),
    ("BTC", "BTC options traders position after the coin {move}", "deribit", "ECON_BITCOIN"),
    ("ETH", "Ethereum {move} ahead of network upgrade", "ethereum foundation", "ECON_BITCOIN;TECH_SOFTWARE"),
    ("ETH", "Staking demand {turn} as ether {move}", "lido", "ECON_BITCOIN"),
    ("SOL", "Solana {move} on record volumes", "solana labs", "ECON_BITCOIN"),
    ("BTC", "Stablecoin bill {turn} in committee", "federal reserve", "ECON_CRYPTOCURRENCY;LEGISLATION"),
    ("", "Council debates new bridge over the river", "city council", "GENERAL_GOVERNMENT;MANMADE"),
    ("", "Home side wins after late penalty", "football association", "SOC_SPORTS"),
    ("", "ETH Zurich opens a laboratory for glaciers", "eth zurich", "EDUCATION;SCIENCE"),
    ("", "Harvest festival draws thousands", "", "SOC_GENERAL"),
)


def file(call: Call, world: World) -> Reply:
    """One archive, or the storage's 404 where there is none (yet)."""
    if world.mode != "simulate":
        raise NotRecorded("the history has no news")
    name = call.captured["name"]
    stamp, suffix = name[:14], name[14:]
    if suffix not in _SUFFIXES or not (stamp.isascii() and stamp.isdigit()):
        return _missing(name)
    try:
        at = datetime.strptime(stamp, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return _missing(name)
    now = datetime.fromtimestamp(world.now() / 1000, UTC)
    if at < _FIRST or at - _LEAD > now or (at - _FIRST) % _QUARTER:
        return _missing(name)
    return Reply(
        _archive(name.removesuffix(".zip"), _rows(at, _SUFFIXES[suffix], world)), content_type="application/zip"
    )


def _missing(name: str) -> Reply:
    return text_reply(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code>"
        "<Message>The specified key does not exist.</Message>"
        f"<Details>No such object: data.gdeltproject.org/gdeltv2/{name[:80]}</Details></Error>",
        status=404,
        content_type="application/xml; charset=UTF-8",
    )


def _archive(member: str, rows: list[str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        # A fixed date: the same quarter is the same bytes.
        info = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
        archive.writestr(info, "".join(row + "\n" for row in rows), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _rows(at: datetime, translated: bool, world: World) -> list[str]:
    quarter = int(at.timestamp()) // int(_QUARTER.total_seconds())
    names = ("gdelt", "translated" if translated else "english")
    count = 8 + int(uniform(key(world.seed, *names, "count"), np.array([quarter]))[0] * 12)
    index = quarter * 64 + np.arange(count)
    stories = (uniform(key(world.seed, *names, "story"), index) * len(_STORIES)).astype(int).tolist()
    noise = normal(key(world.seed, *names, "tone"), index).tolist()
    share = uniform(key(world.seed, *names, "share"), index).tolist()
    moves = {asset: _move(asset, at, world) for asset in {_STORIES[story][0] for story in stories} - {""}}
    return [
        _row(at, number, translated, _STORIES[story], moves, noise[number], share[number])
        for number, story in enumerate(stories)
    ]


def _move(asset: str, at: datetime, world: World) -> float:
    listing = world.market.find("coinbase", "spot", f"{asset}-USD")
    if listing is None:
        return 0.0
    # The quarter that ended before the file was written, so that the bar is over.
    end = int((at - _QUARTER).timestamp() * 1000)
    bars = world.market.bars(listing, 15 * MINUTE, end - 15 * MINUTE, end)
    return float(bars[0].close) / float(bars[0].open) - 1 if bars else 0.0


def _row(
    at: datetime,
    number: int,
    translated: bool,
    story: tuple[str, str, str, str],
    moves: dict[str, float],
    noise: float,
    share: float,
) -> str:
    asset, headline, organisations, themes = story
    move = moves.get(asset, 0.0)
    title = headline.format(move="rises" if move >= 0 else "falls", turn="recover" if move >= 0 else "slow")
    stamp = f"{at:%Y%m%d%H%M%S}"
    publisher = _PUBLISHERS[int(share * len(_PUBLISHERS))]
    slug = title.lower().replace(" ", "-")
    tone = max(-20.0, min(20.0, 600 * move + 2.2 * noise))
    wider = 4 + 4 * share
    positive, negative = wider + max(tone, 0.0), wider + max(-tone, 0.0)
    words = 120 + int(share * 900)
    published = at - timedelta(minutes=16 + int(share * 240))
    fields = [""] * 27
    fields[0] = f"{stamp}-{'T' if translated else ''}{number}"
    fields[1] = stamp
    fields[2] = "1"
    fields[3] = publisher
    fields[4] = f"https://{publisher}/{published:%Y/%m/%d}/{slug}-{hashlib.sha256(fields[0].encode()).hexdigest()[:8]}"
    fields[7] = themes + ";"
    fields[13] = organisations
    # Tone is exactly positive minus negative, as GDELT defines it.
    rounded = [round(value, 6) for value in (positive, negative)]
    fields[15] = f"{rounded[0] - rounded[1]:.6f},{rounded[0]:.6f},{rounded[1]:.6f},{sum(rounded):.6f},22.5,0.8,{words}"
    fields[17] = f"wc:{words}"
    if translated:
        fields[25] = f"srclc:{_LANGUAGES[int(share * len(_LANGUAGES))]};eng:GT 1.0"
    fields[26] = (
        f"<PAGE_PRECISEPUBTIMESTAMP>{published:%Y%m%d%H%M00}</PAGE_PRECISEPUBTIMESTAMP><PAGE_TITLE>{title}</PAGE_TITLE>"
    )
    return "\t".join(fields)


ROUTES = (Route(HOST, "/gdeltv2/{name}", file),)
