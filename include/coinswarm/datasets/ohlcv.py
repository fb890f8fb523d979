"""Bars: open, high, low, close and volume of one instrument and timeframe."""

from coinswarm.datasets._model import Dataset, Domain, RowRule, amount, count, price, text

OHLCV = Dataset(
    name="ohlcv",
    domain=Domain.EXCHANGES,
    description="Closed bars as the venue computed them; `event_at` is the open time.",
    key=("timeframe", "event_at"),
    columns=(
        text("timeframe", "Length of the bar.", allowed=("1m", "5m", "15m", "1h", "4h", "8h", "1d")),
        price("open", "First trade price, in quote currency."),
        price("high", "Highest trade price, in quote currency."),
        price("low", "Lowest trade price, in quote currency."),
        price("close", "Last trade price, in quote currency."),
        amount("volume_base", "Traded volume in base units (one side counted)."),
        amount("volume_quote", "Traded volume in quote units.", nullable=True),
        count("trade_count", "Number of trades.", nullable=True),
        amount("taker_buy_base", "Volume whose taker bought, in base units.", nullable=True),
        amount("taker_buy_quote", "Volume whose taker bought, in quote units.", nullable=True),
    ),
    rules=(
        RowRule("high_is_highest", "high >= greatest(open, close, low)", "The high is not below open, close or low."),
        RowRule("low_is_lowest", "low <= least(open, close, high)", "The low is not above open, close or high."),
        RowRule(
            "taker_within_volume",
            "taker_buy_base <= volume_base",
            "Taker purchases are part of the volume.",
        ),
    ),
    grid="timeframe",
    outlier_column="close",
    cross_venue_column="close",
)
