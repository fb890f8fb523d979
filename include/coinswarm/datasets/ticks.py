"""Trades and books as REST bodies give them; their tables belong to the live feed."""

from coinswarm.datasets._model import Column, Dataset, Domain, Kind, amount, count, price, text

TRADES = Dataset(
    name="trades",
    domain=Domain.EXCHANGES,
    description="Executed trades, or aggregated ones where `trade_kind` says so.",
    key=("trade_id",),
    columns=(
        text("trade_id", "The venue's id, unique per instrument and kind."),
        text("trade_kind", "`trade`, or `aggregate` of one taker order at one price.", allowed=("trade", "aggregate")),
        price("price", "Price, in quote currency."),
        amount("size_base", "Size, in base units (contracts where the venue trades contracts)."),
        text("side", "What the taker did.", allowed=("buy", "sell")),
    ),
    stored=False,
)

ORDER_BOOKS = Dataset(
    name="order_books",
    domain=Domain.EXCHANGES,
    description="Order book snapshots.",
    key=("event_at",),
    columns=(
        Column("bids", Kind.JSON, "Best first, `[[price, size], …]` as strings."),
        Column("asks", Kind.JSON, "Best first, `[[price, size], …]` as strings."),
        count("last_update_id", "The venue's sequence number of the snapshot.", nullable=True),
    ),
    stored=False,
)

TICKERS = Dataset(
    name="tickers",
    domain=Domain.EXCHANGES,
    description="Rolling 24 h statistics and the top of the book.",
    key=("event_at",),
    columns=(
        price("last", "Last price, in quote currency.", nullable=True),
        price("bid", "Best bid, in quote currency.", nullable=True),
        amount("bid_size", "Size at the best bid, in base units.", nullable=True),
        price("ask", "Best ask, in quote currency.", nullable=True),
        amount("ask_size", "Size at the best ask, in base units.", nullable=True),
        price("open", "Price 24 h ago, in quote currency.", nullable=True),
        price("high", "Highest price of 24 h, in quote currency.", nullable=True),
        price("low", "Lowest price of 24 h, in quote currency.", nullable=True),
        amount("volume_base", "Volume of 24 h, in base units.", nullable=True),
        amount("volume_quote", "Volume of 24 h, in quote units.", nullable=True),
    ),
    stored=False,
)

INSTRUMENTS = Dataset(
    name="instruments",
    domain=Domain.EXCHANGES,
    description="A venue's own list of what it trades.",
    key=("venue_symbol",),
    columns=(
        text("venue_symbol", "The venue's name."),
        text("kind", "Kind of instrument.", allowed=("spot", "perpetual", "future", "option")),
        text("base", "Base asset."),
        text("quote", "Quote asset."),
        text("settle", "Settlement asset.", nullable=True),
        price("contract_size", "Size of one contract.", nullable=True),
        price("tick_size", "Smallest price step.", nullable=True),
        Column("expires_at", Kind.TIMESTAMP, "Expiry.", nullable=True),
    ),
    stored=False,
)
