"""Trades, liquidations, books, and the minute bars made of trades; tickers and listings as REST bodies give them."""

from coinswarm.datasets._model import Column, Dataset, Domain, Kind, RowRule, amount, count, number, price, text

TRADES = Dataset(
    name="trades",
    domain=Domain.EXCHANGES,
    description="Executed trades, or aggregated ones where `trade_kind` says so. Raw keeps days, the lake all of them.",
    key=("trade_id",),
    columns=(
        text("trade_id", "The venue's id, unique per instrument and kind."),
        text("trade_kind", "`trade`, or `aggregate` of one taker order at one price.", allowed=("trade", "aggregate")),
        price("price", "Price, in quote currency."),
        amount("size_base", "Size, in base units."),
        text("side", "What the taker did.", allowed=("buy", "sell")),
        amount("size_native", "Size as the venue counts it (contracts); null if that is base units.", nullable=True),
        count("sequence", "First of the trades that an aggregate covers, or the venue's own number.", nullable=True),
        Column("is_liquidation", Kind.BOOLEAN, "A forced order took part; null where it is not said.", nullable=True),
    ),
    partition_every="day",
)

LIQUIDATIONS = Dataset(
    name="liquidations",
    domain=Domain.EXCHANGES,
    description="Forced orders. Where `is_sampled`, the venue publishes some of them only.",
    key=("event_at", "side", "price", "size_base"),
    columns=(
        text("side", "The position that was liquidated.", allowed=("long", "short")),
        price("price", "Price, in quote currency; `price_kind` says which."),
        amount("size_base", "Size, in base units."),
        amount("size_native", "Size as the venue counts it (contracts); null if that is base units.", nullable=True),
        text("price_kind", "What the price is.", allowed=("average", "bankruptcy", "order")),
        Column("is_sampled", Kind.BOOLEAN, "The venue does not publish all of them."),
    ),
)

ORDER_BOOKS = Dataset(
    name="order_books",
    domain=Domain.EXCHANGES,
    description="Order book snapshots; of a live book the last one of every minute, ten levels a side.",
    key=("event_at",),
    columns=(
        Column("bids", Kind.JSON, "Best first, `[[price, size], …]` as strings."),
        Column("asks", Kind.JSON, "Best first, `[[price, size], …]` as strings."),
        count("last_update_id", "The venue's sequence number of the snapshot.", nullable=True),
        number("spread_bps", "Best ask less best bid over their mean, in basis points.", nullable=True),
        number("imbalance", "Share of bids in the sizes less that of asks, from -1 to 1.", nullable=True),
        number("ofi", "Order flow imbalance since the snapshot before, in base units.", nullable=True),
        number("trade_imbalance", "Bought less sold volume over their sum, from -1 to 1.", nullable=True),
    ),
)

TRADE_BARS = Dataset(
    name="trade_bars",
    domain=Domain.EXCHANGES,
    description="One-minute bars made of `trades`; `event_at` is the open time. Later trades of a minute revise it.",
    key=("event_at",),
    columns=(
        price("open", "First trade price, in quote currency."),
        price("high", "Highest trade price, in quote currency."),
        price("low", "Lowest trade price, in quote currency."),
        price("close", "Last trade price, in quote currency."),
        price("vwap", "Volume-weighted mean price, 18 decimal places."),
        amount("volume_base", "Traded volume, in base units."),
        amount("volume_quote", "Sum of price times size, in quote units."),
        amount("buy_base", "Volume whose taker bought, in base units."),
        amount("sell_base", "Volume whose taker sold, in base units."),
        count("trade_count", "Number of trades (of aggregates where the venue aggregates)."),
        count("buy_count", "Trades whose taker bought."),
        Column(
            "largest_quote",
            Kind.JSON,
            "The largest trades in quote units, descending, exact text: 60, or a tenth if that is more.",
            nullable=True,
        ),
        text("first_id", "Id of the first trade.", nullable=True),
        text("last_id", "Id of the last trade.", nullable=True),
    ),
    rules=(
        RowRule("high_is_highest", "high >= greatest(open, close, low)", "The high is not below open, close or low."),
        RowRule("low_is_lowest", "low <= least(open, close, high)", "The low is not above open, close or high."),
        RowRule("sides_are_all", "buy_base + sell_base = volume_base", "Bought and sold volume are all of it."),
        RowRule("buys_within_count", "buy_count <= trade_count", "Purchases are part of the trades."),
    ),
    grid="1m",
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
