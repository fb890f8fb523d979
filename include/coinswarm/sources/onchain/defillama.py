"""DefiLlama: value locked per chain and stablecoin supply, daily. Keyless.

The provider answers with its whole history only, and restates it when an adapter changes. A request reads all of it and
keeps the days of its window and of the `RESTATEMENT` days before, so that recent corrections become revisions; older
ones are found by a backfill of their range. A point is a snapshot at 00:00 UTC of its day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.registry import Instrument
from coinswarm.sources.reading import decimal, each, epoch_s, item, optional_decimal, read_json, rows_of
from coinswarm.sources.spec import Cadence, Feed, Request, SourceSpec
from coinswarm.timeframes import EPOCH, Window

RESTATEMENT = timedelta(days=7)
DAY = timedelta(days=1)
CHAINS = ("Ethereum", "Solana", "Tron", "BSC", "Bitcoin", "Base", "Arbitrum")
# The provider's id of each coin.
STABLECOINS = {"USDT": 1, "USDC": 2}
DOLLAR = "peggedUSD"
TVL_HOST = "api.llama.fi"
STABLECOIN_HOST = "stablecoins.llama.fi"


def tvl_requests(_: Instrument | None, window: Window) -> Iterator[Request]:
    """One request for all chains together and one for each of `CHAINS`; the chain is `venue_symbol`."""
    for chain in ("", *CHAINS):
        path = f"/v2/historicalChainTvl/{chain}" if chain else "/v2/historicalChainTvl"
        yield Request(
            source="defillama",
            dataset="tvl",
            endpoint=f"https://{TVL_HOST}{path}",
            venue_symbol=chain,
            start=window.start,
            end=window.end,
        )


def stablecoin_requests(_: Instrument | None, window: Window) -> Iterator[Request]:
    """One request for all dollar-pegged coins together and one for each of `STABLECOINS`."""
    coins: dict[str, dict[str, str | int]] = {"global": {}}
    coins |= {coin: {"stablecoin": number} for coin, number in STABLECOINS.items()}
    for coin, params in coins.items():
        yield Request(
            source="defillama",
            dataset="stablecoin_supply",
            endpoint=f"https://{STABLECOIN_HOST}/stablecoincharts/all",
            params=params,
            symbol=coin,
            start=window.start,
            end=window.end,
        )


def parse_tvl(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Daily value locked of one chain, or of all where the request names none."""
    scope = f"chain:{request.venue_symbol}" if request.venue_symbol else "all"

    def values(row: Any) -> dict[str, Any]:
        return {"scope": scope, "tvl_usd": decimal(row, "tvl")}

    return _daily(body, request, "global", values)


def parse_stablecoin_supply(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Daily supply of the request's coin; days before its first dollar have no row."""

    def values(row: Any) -> dict[str, Any] | None:
        circulating = item(row, "totalCirculating")
        if circulating == {}:
            return None
        return {
            "circulating": _dollars(circulating),
            "circulating_usd": optional_decimal(row.get("totalCirculatingUSD") or {}, DOLLAR),
        }

    return _daily(body, request, request.symbol, values)


def _daily(
    body: bytes, request: Request, symbol: str, values: Callable[[Any], dict[str, Any] | None]
) -> Iterator[Record | Rejected]:
    rows = rows_of(read_json(body, request), request)
    newest = max((at for at in map(_time_of, rows) if at is not None), default=None)

    def build(row: Any) -> Record | None:
        event_at = epoch_s(row, "date")
        if not _wanted(event_at, request):
            return None
        found = values(row)
        if found is None:
            return None
        # The newest point may be the running day's, stamped with the hour: it is replaced until the day is over.
        live = event_at == newest and (event_at - EPOCH) % DAY != timedelta(0)
        return Record(
            symbol=symbol,
            event_at=event_at,
            available_at=event_at + DAY,
            available_basis="assumed",
            values=found,
            final=not live,
        )

    return each(rows, build)


def _time_of(row: Any) -> datetime | None:
    try:
        return epoch_s(row, "date")
    except FieldError:
        return None


def _wanted(event_at: datetime, request: Request) -> bool:
    after = request.start is None or event_at >= request.start - RESTATEMENT
    return after and (request.end is None or event_at < request.end)


def _dollars(amounts: Any) -> Decimal:
    if not isinstance(amounts, dict):
        raise FieldError("totalCirculating", f"{type(amounts).__name__} instead of amounts per peg")
    return decimal(amounts, DOLLAR)


SPEC = SourceSpec(
    slug="defillama",
    title="DefiLlama",
    domain=Domain.ONCHAIN,
    docs_url="https://api-docs.defillama.com/",
    licence="Keyless API, no redistribution of the data as a service; see https://defillama.com/terms.",
    feeds=(
        Feed(
            dataset="tvl",
            cadence=Cadence.DAILY,
            requests=tvl_requests,
            parse=parse_tvl,
            freshness=timedelta(days=3),
        ),
        Feed(
            dataset="stablecoin_supply",
            cadence=Cadence.DAILY,
            requests=stablecoin_requests,
            parse=parse_stablecoin_supply,
            freshness=timedelta(days=3),
        ),
    ),
    requests_per_second=2,
    hosts=(TVL_HOST, STABLECOIN_HOST),
    tier=2,
)
