"""What the simulated venues list: the large assets, under each venue's own names and steps."""

from __future__ import annotations

from datetime import UTC, datetime

from coinswarm.sandbox.market.model import Listing

# Mean base volume a minute of all venues together; a venue's share multiplies it.
_ACTIVITY = {"BTC": 120.0, "ETH": 1800.0, "SOL": 9000.0}
_SHARE = {"binance": 0.45, "okx": 0.18, "bybit": 0.2, "coinbase": 0.1, "kraken": 0.03, "deribit": 0.04}

_COLUMNS = "venue market symbol base quote settle perpetual tick lot contract quiet since funding_hours"
_ROWS = """
binance spot BTCUSDT BTC USDT USDT 0 0.01 0.00001 1 0 2017-08-17 0
binance spot ETHUSDT ETH USDT USDT 0 0.01 0.0001 1 0 2017-08-17 0
binance spot SOLUSDT SOL USDT USDT 0 0.01 0.001 1 0 2020-08-11 0
binance spot ETHBTC ETH BTC BTC 0 0.00001 0.0001 1 0 2017-07-14 0
binance usdm BTCUSDT BTC USDT USDT 1 0.1 0.001 1 0 2019-09-08 8
binance usdm ETHUSDT ETH USDT USDT 1 0.01 0.001 1 0 2019-11-27 8
binance usdm SOLUSDT SOL USDT USDT 1 0.01 0.01 1 0 2020-09-14 8
binance coinm BTCUSD_PERP BTC USD BTC 1 0.1 1 100 0 2020-08-11 8
binance coinm ETHUSD_PERP ETH USD ETH 1 0.01 1 10 0 2020-08-11 8
coinbase spot BTC-USD BTC USD USD 0 0.01 0.00000001 1 0.01 2015-01-20 0
coinbase spot ETH-USD ETH USD USD 0 0.01 0.00000001 1 0.02 2016-05-18 0
coinbase spot SOL-USD SOL USD USD 0 0.01 0.00000001 1 0.05 2021-06-17 0
coinbase spot ETH-BTC ETH BTC BTC 0 0.00001 0.00000001 1 0.25 2016-05-18 0
kraken spot XXBTZUSD BTC USD USD 0 0.1 0.00000001 1 0.1 2013-10-06 0
kraken spot XETHZUSD ETH USD USD 0 0.01 0.00000001 1 0.2 2015-08-07 0
kraken spot SOLUSD SOL USD USD 0 0.01 0.00000001 1 0.3 2021-06-17 0
kraken spot XETHXXBT ETH BTC BTC 0 0.00001 0.00000001 1 0.4 2015-08-07 0
kraken futures PF_XBTUSD BTC USD USD 1 1 0.0001 1 0.05 2022-03-22 1
kraken futures PF_ETHUSD ETH USD USD 1 0.1 0.001 1 0.1 2022-03-22 1
kraken futures PF_SOLUSD SOL USD USD 1 0.01 0.01 1 0.2 2022-03-22 1
okx spot BTC-USDT BTC USDT USDT 0 0.1 0.00000001 1 0 2018-01-11 0
okx spot ETH-USDT ETH USDT USDT 0 0.01 0.000001 1 0 2018-01-11 0
okx spot SOL-USDT SOL USDT USDT 0 0.01 0.000001 1 0 2020-09-29 0
okx swap BTC-USDT-SWAP BTC USDT USDT 1 0.1 0.0001 0.01 0 2019-12-10 8
okx swap ETH-USDT-SWAP ETH USDT USDT 1 0.01 0.001 0.1 0 2019-12-10 8
okx swap SOL-USDT-SWAP SOL USDT USDT 1 0.01 0.01 1 0 2021-03-02 8
okx swap BTC-USD-SWAP BTC USD BTC 1 0.1 1 100 0 2018-12-10 8
okx swap ETH-USD-SWAP ETH USD ETH 1 0.01 1 10 0 2018-12-10 8
bybit spot BTCUSDT BTC USDT USDT 0 0.01 0.000001 1 0 2021-07-05 0
bybit spot ETHUSDT ETH USDT USDT 0 0.01 0.00001 1 0 2021-07-05 0
bybit spot SOLUSDT SOL USDT USDT 0 0.01 0.001 1 0 2021-10-14 0
bybit linear BTCUSDT BTC USDT USDT 1 0.1 0.001 1 0 2020-03-25 8
bybit linear ETHUSDT ETH USDT USDT 1 0.01 0.01 1 0 2020-10-21 8
bybit linear SOLUSDT SOL USDT USDT 1 0.01 0.1 1 0 2021-10-15 8
bybit inverse BTCUSD BTC USD BTC 1 0.5 1 1 0 2018-11-14 8
bybit inverse ETHUSD ETH USD ETH 1 0.05 1 1 0 2019-01-25 8
deribit perpetual BTC-PERPETUAL BTC USD BTC 1 0.5 1 10 0.05 2018-08-14 8
deribit perpetual ETH-PERPETUAL ETH USD ETH 1 0.05 1 1 0.1 2019-03-14 8
"""


def _listing(row: str) -> Listing:
    field = dict(zip(_COLUMNS.split(), row.split(), strict=True))
    perpetual = field["perpetual"] == "1"
    share = _SHARE[field["venue"]] * (2.5 if perpetual else 1.0)
    if field["quote"] == "BTC" or (perpetual and field["settle"] == field["base"]):
        share *= 0.08
    return Listing(
        venue=field["venue"],
        market=field["market"],
        symbol=field["symbol"],
        base=field["base"],
        quote=field["quote"],
        settle=field["settle"],
        perpetual=perpetual,
        tick=field["tick"],
        lot=field["lot"],
        contract=field["contract"],
        activity=_ACTIVITY[field["base"]] * share,
        quiet=float(field["quiet"]),
        since=int(datetime.fromisoformat(field["since"]).replace(tzinfo=UTC).timestamp() * 1000),
        funding_hours=int(field["funding_hours"]) or 8,
        # Kraken Futures says each level in a message of its own.
        book_ms=2_000 if field["market"] == "futures" else 500,
    )


LISTINGS: tuple[Listing, ...] = tuple(_listing(row) for row in _ROWS.strip().splitlines())
