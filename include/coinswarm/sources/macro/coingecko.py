"""CoinGecko: total market capitalisation, shares of the total, and capitalisation per asset. Works without a key.

Only the present state is free, so each quarter of an hour records what is now; history is our own. The shares of
`/global` are of CoinGecko's whole universe, stablecoins included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Context
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.names import safe_name
from coinswarm.registry import Instrument
from coinswarm.sources.reading import (
    decimal,
    each,
    epoch_ms,
    epoch_s,
    iso_time,
    item,
    optional_decimal,
    read_json,
    rows_of,
    text,
    violation,
)
from coinswarm.sources.spec import ApiKey, Cadence, Feed, Mode, Request, SourceSpec
from coinswarm.timeframes import Window

HOST = "api.coingecko.com"
# CoinGecko's id of each asset that is asked for. A ticker is not unique there: hundreds of tokens call themselves BTC.
COINS = {
    "bitcoin": "BTC",
    "ethereum": "ETH",
    "tether": "USDT",
    "usd-coin": "USDC",
    "ripple": "XRP",
    "binancecoin": "BNB",
    "solana": "SOL",
    "dogecoin": "DOGE",
    "cardano": "ADA",
    "tron": "TRX",
}
_ASSETS = frozenset(COINS.values())
# A capitalisation times a share has more digits than Python's default of 28.
_EXACT = Context(prec=60)


def market_cap_requests(_: Instrument | None, window: Window) -> Iterator[Request]:
    """The total with its shares, and the assets of `COINS`: two requests, whatever the window."""
    yield Request(
        source="coingecko",
        dataset="market_caps",
        endpoint=f"https://{HOST}/api/v3/global",
        start=window.start,
        end=window.end,
    )
    yield Request(
        source="coingecko",
        dataset="market_caps",
        endpoint=f"https://{HOST}/api/v3/coins/markets",
        params={
            "vs_currency": "usd",
            "ids": ",".join(COINS),
            "order": "market_cap_desc",
            "per_page": 250,
            "page": 1,
            "precision": "full",
        },
        start=window.start,
        end=window.end,
    )


def parse_market_caps(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Records of any of the provider's shapes: `/global`, `/coins/markets`, `/simple/price`, and both charts.

    `/global` gives one record for the total and one per asset with its share; the asset's capitalisation there is the
    total times the share, exactly, which is what the share means. Charts need the asset in the request's symbol.

    Raises:
        ContractViolation: another shape, or the provider's error envelope.
    """
    answer = read_json(body, request)
    if isinstance(answer, list):
        return each(rows_of(answer, request), _coin)
    if isinstance(answer, dict):
        if isinstance(answer.get("data"), dict):
            return _global(answer["data"])
        if "market_cap_chart" in answer:
            chart = answer["market_cap_chart"]
            if isinstance(chart, dict):
                return _chart(chart, "market_cap", "volume", "global", request)
        if "market_caps" in answer:
            return _chart(answer, "market_caps", "total_volumes", request.symbol, request)
        if answer and all(isinstance(row, dict) and "usd_market_cap" in row for row in answer.values()):
            return each(answer.items(), _simple)
    raise violation(request, f"no market capitalisations in {body[:80]!r}")


def _global(data: Mapping[str, Any]) -> Iterator[Record | Rejected]:
    shares = data.get("market_cap_percentage")
    assets = list(shares) if isinstance(shares, dict) else []

    def build(asset: str) -> Record:
        event_at = epoch_s(data, "updated_at")
        total = decimal(item(data, "total_market_cap"), "usd")
        if not asset:
            volume = optional_decimal(data.get("total_volume") or {}, "usd")
            values = {"market_cap_usd": total, "volume_24h_usd": volume}
            return Record(symbol="global", event_at=event_at, values=values)
        share = decimal(shares, asset)
        # Limits first: the context would round what is absurdly long, and a rounded number is a wrong one.
        if len(share.as_tuple().digits) + len(total.as_tuple().digits) > _EXACT.prec or abs(share.adjusted()) > 30:
            raise FieldError("market_cap_percentage", f"too many digits for {asset[:40]!r}")
        values = {
            "market_cap_usd": _EXACT.multiply(total, share).scaleb(-2, _EXACT),
            "dominance_pct": share,
        }
        return Record(symbol=_symbol(asset), event_at=event_at, values=values)

    return each(["", *assets], build)


def _coin(row: Any) -> Record:
    return Record(
        symbol=_asset(text(row, "id"), text(row, "symbol")),
        event_at=iso_time(row, "last_updated"),
        values={
            "market_cap_usd": decimal(row, "market_cap"),
            "volume_24h_usd": optional_decimal(row, "total_volume"),
            "price_usd": optional_decimal(row, "current_price"),
        },
    )


def _simple(named: tuple[str, Any]) -> Record:
    coin, row = named
    if coin not in COINS:
        raise FieldError("id", f"{coin[:40]!r} has no symbol here; known: {', '.join(COINS)}")
    return Record(
        symbol=COINS[coin],
        event_at=epoch_s(row, "last_updated_at"),
        values={
            "market_cap_usd": decimal(row, "usd_market_cap"),
            "volume_24h_usd": optional_decimal(row, "usd_24h_vol"),
            "price_usd": optional_decimal(row, "usd"),
        },
    )


def _chart(
    chart: Mapping[str, Any], caps_name: str, volumes_name: str, symbol: str, request: Request
) -> Iterator[Record | Rejected]:
    caps = rows_of(chart.get(caps_name), request, caps_name)
    volumes = _by_time(chart.get(volumes_name))
    prices = _by_time(chart.get("prices"))

    def build(row: Any) -> Record:
        at = item(row, 0)
        return Record(
            symbol=symbol,
            event_at=epoch_ms(row, 0),
            values={
                "market_cap_usd": decimal(row, 1),
                "volume_24h_usd": optional_decimal(volumes.get(at, ()), 1),
                "price_usd": optional_decimal(prices.get(at, ()), 1),
            },
        )

    return each(caps, build)


def _by_time(points: Any) -> dict[Any, Any]:
    if not isinstance(points, list):
        return {}
    return {point[0]: point for point in points if isinstance(point, list) and point and isinstance(point[0], int)}


def _asset(coin: str, ticker: str) -> str:
    if coin in COINS:
        return COINS[coin]
    symbol = _symbol(ticker)
    if symbol in _ASSETS:
        raise FieldError("symbol", f"{coin[:40]!r} calls itself {symbol}, which is another coin")
    return symbol


def _symbol(ticker: str) -> str:
    try:
        return safe_name(ticker.upper(), what="symbol")
    except UserError as error:
        raise FieldError("symbol", str(error)) from None


SPEC = SourceSpec(
    slug="coingecko",
    title="CoinGecko",
    domain=Domain.MACRO,
    docs_url="https://docs.coingecko.com/",
    licence="Free public API with attribution ('Data provided by CoinGecko'); a demo key raises the limits.",
    feeds=(
        Feed(
            dataset="market_caps",
            cadence=Cadence.QUARTER_HOURLY,
            requests=market_cap_requests,
            parse=parse_market_caps,
            mode=Mode.NOW,
            freshness=timedelta(hours=1),
        ),
    ),
    # Keyless calls share a limit per address that the provider states as 5 to 15 a minute.
    requests_per_second=0.2,
    hosts=(HOST,),
    api_key=ApiKey(hosts=(HOST,), header="x-cg-demo-api-key"),
    tier=1,
)
