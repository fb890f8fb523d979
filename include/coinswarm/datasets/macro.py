"""Economic series with vintages, and market capitalisations."""

from decimal import Decimal

from coinswarm.datasets._model import Dataset, Domain, amount, number, price, text

SERIES_OBSERVATIONS = Dataset(
    name="series_observations",
    domain=Domain.MACRO,
    description=(
        "Observations of economic series by vintage; `published_at` is null where the provider gives no vintage. "
        "`symbol` is `global`."
    ),
    key=("series_id", "event_at", "published_at"),
    columns=(
        text("series_id", "The provider's series, `DGS10`."),
        number("value", "Value in the series' own unit; null where the provider says missing.", nullable=True),
    ),
)

MARKET_CAPS = Dataset(
    name="market_caps",
    domain=Domain.MACRO,
    description="Market capitalisation by the provider's universe; `symbol` is the asset or `global` for the total.",
    key=("event_at",),
    columns=(
        amount("market_cap_usd", "Capitalisation, in US dollars."),
        amount("volume_24h_usd", "Volume of the last 24 h, in US dollars.", nullable=True),
        price("price_usd", "Price, in US dollars; null for `global`.", nullable=True),
        number(
            "dominance_pct", "Share of the total, in percent.", nullable=True, minimum=Decimal(0), maximum=Decimal(100)
        ),
    ),
)
