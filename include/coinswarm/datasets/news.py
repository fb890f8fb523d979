"""News articles."""

from decimal import Decimal

from coinswarm.datasets._model import Column, Dataset, Domain, Kind, amount, count, number, text

ARTICLES = Dataset(
    name="articles",
    domain=Domain.NEWS,
    description="Articles as a news monitor saw them; `event_at` is when it saw them, `symbol` is `global`.",
    key=("article_id",),
    columns=(
        text("article_id", "The provider's id, else the sha-256 of the URL."),
        text("url", "Address of the article."),
        text("domain", "Publisher's domain.", nullable=True),
        text("title", "Headline.", nullable=True),
        text("language", "Language code or name as given.", nullable=True),
        Column("assets", Kind.JSON, 'Assets that the article names, a JSON array such as `["BTC"]`.'),
        Column("themes", Kind.JSON, "The provider's themes, a JSON array.", nullable=True),
        number(
            "tone",
            "Average tone, -100 to 100, positive is good.",
            nullable=True,
            minimum=Decimal(-100),
            maximum=Decimal(100),
        ),
        amount("positive_pct", "Share of positive words, in percent.", nullable=True),
        amount("negative_pct", "Share of negative words, in percent.", nullable=True),
        count("word_count", "Length in words.", nullable=True),
    ),
    partition_by="received_at",
)
