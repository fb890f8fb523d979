"""Perpetuals and futures: funding, open interest and long/short ratios."""

from decimal import Decimal

from coinswarm.datasets._model import Dataset, Domain, RowRule, Severity, amount, moment, number, price, text

FUNDING_RATES = Dataset(
    name="funding_rates",
    domain=Domain.EXCHANGES,
    description="Funding per interval, settled and predicted, with the interval that the venue stated for that time.",
    key=("event_at", "kind"),
    columns=(
        text(
            "kind", "`settled` was paid; `predicted` is the venue's running estimate.", allowed=("settled", "predicted")
        ),
        number("rate", "Relative rate for one interval; positive: longs pay.", minimum=Decimal(-1), maximum=Decimal(1)),
        number("interval_hours", "Length of the funding interval, in hours.", above=Decimal(0), maximum=Decimal(24)),
        moment("settled_at", "Exact time by the venue; `event_at` is it rounded to the interval.", nullable=True),
        price("mark_price", "Mark price that the payment used, in quote currency.", nullable=True),
    ),
    rules=(
        RowRule(
            "rate_is_plausible", "abs(rate) <= 0.05", "A rate above 5 % per interval is suspicious.", Severity.WARN
        ),
    ),
)

OPEN_INTEREST = Dataset(
    name="open_interest",
    domain=Domain.EXCHANGES,
    description="Open contracts counted on one side.",
    key=("event_at",),
    columns=(
        amount("open_interest_base", "Open interest in base units, single-sided."),
        amount(
            "open_interest_usd", "Open interest at mark price, in US dollars or the dollar stablecoin.", nullable=True
        ),
        amount("open_interest_native", "As the venue counts it (contracts, base or dollars).", nullable=True),
    ),
)

LONG_SHORT_RATIOS = Dataset(
    name="long_short_ratios",
    domain=Domain.EXCHANGES,
    description="Long against short, by the venue's own definition; kinds are never averaged with one another.",
    key=("event_at", "ratio_kind"),
    columns=(
        text(
            "ratio_kind",
            "What is counted: all accounts, top traders' accounts or positions, or taker volume.",
            allowed=("global_accounts", "top_accounts", "top_positions", "taker_volume"),
        ),
        text("period", "Averaging period stated by the venue.", allowed=("5m", "15m", "30m", "1h", "4h", "1d")),
        amount("ratio", "Long divided by short."),
        amount("long_share", "Long share in [0, 1]; for taker volume, buy volume in base units.", nullable=True),
        amount("short_share", "Short share in [0, 1]; for taker volume, sell volume in base units.", nullable=True),
    ),
)
