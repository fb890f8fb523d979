"""Option quotes and volatility indices."""

from decimal import Decimal

from coinswarm.datasets._model import Dataset, Domain, RowRule, amount, moment, number, price, text

_PERCENT = "in percent per year"

OPTION_QUOTES = Dataset(
    name="option_quotes",
    domain=Domain.EXCHANGES,
    description="One quote per option and snapshot, with the venue's own implied volatilities.",
    key=("event_at",),
    columns=(
        text("underlying", "Base asset, `BTC`."),
        moment("expires_at", "Expiry."),
        price("strike", "Strike, in US dollars."),
        text("option_type", "Call or put.", allowed=("call", "put")),
        amount("mark_iv_pct", f"Implied volatility at the mark, {_PERCENT}.", nullable=True),
        amount("bid_iv_pct", f"Implied volatility at the bid, {_PERCENT}.", nullable=True),
        amount("ask_iv_pct", f"Implied volatility at the ask, {_PERCENT}.", nullable=True),
        amount("mark_price", "Mark price, in the venue's premium currency.", nullable=True),
        amount("bid_price", "Best bid, in the venue's premium currency.", nullable=True),
        amount("ask_price", "Best ask, in the venue's premium currency.", nullable=True),
        price("underlying_price", "Forward of that expiry as the venue states it, in US dollars.", nullable=True),
        number("delta", "Delta as the venue states it.", nullable=True, minimum=Decimal(-1), maximum=Decimal(1)),
        amount("open_interest_base", "Open interest in base units.", nullable=True),
        amount("volume_24h_base", "Volume of the last 24 h, in base units.", nullable=True),
    ),
    rules=(RowRule("not_expired", "expires_at >= event_at", "A quote is of an option that lives."),),
)

VOLATILITY_INDICES = Dataset(
    name="volatility_indices",
    domain=Domain.EXCHANGES,
    description="A venue's 30-day implied volatility index (DVOL) as hourly bars; `symbol` is the asset.",
    key=("event_at",),
    columns=(
        price("open_pct", f"First value of the hour, {_PERCENT}."),
        price("high_pct", f"Highest value of the hour, {_PERCENT}."),
        price("low_pct", f"Lowest value of the hour, {_PERCENT}."),
        price("close_pct", f"Last value of the hour, {_PERCENT}."),
    ),
    rules=(
        RowRule("high_is_highest", "high_pct >= greatest(open_pct, close_pct, low_pct)", "The high is the highest."),
        RowRule("low_is_lowest", "low_pct <= least(open_pct, close_pct, high_pct)", "The low is the lowest."),
    ),
    grid="1h",
)
