"""Value locked in protocols, and stablecoin supply."""

from coinswarm.datasets._model import Dataset, Domain, amount, text

TVL = Dataset(
    name="tvl",
    domain=Domain.ONCHAIN,
    description="Value locked, daily, restated by the provider now and then; `symbol` is `global`.",
    key=("scope", "event_at"),
    columns=(
        text("scope", "`all`, `chain:<name>` or `protocol:<slug>`."),
        amount("tvl_usd", "Value locked, in US dollars."),
    ),
)

STABLECOIN_SUPPLY = Dataset(
    name="stablecoin_supply",
    domain=Domain.ONCHAIN,
    description="Circulating supply, daily; `symbol` is the coin (`USDT`) or `global` for all dollar-pegged coins.",
    key=("event_at",),
    columns=(
        amount("circulating", "Coins in circulation, in units of the peg."),
        amount("circulating_usd", "The same at market price, in US dollars.", nullable=True),
    ),
)
