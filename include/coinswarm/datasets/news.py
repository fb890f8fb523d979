"""News articles, and the event tables of the same monitor."""

from decimal import Decimal

from coinswarm.datasets._model import Column, Dataset, Domain, Kind, amount, count, moment, number, text

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

# Parsed from files (the monitor publishes them beside its articles); no table until a mart needs one.
NEWS_EVENTS = Dataset(
    name="news_events",
    domain=Domain.NEWS,
    description="Events that a news monitor read in articles; `event_at` is the day, `published_at` the first sight.",
    key=("event_id",),
    columns=(
        text("event_id", "The monitor's id."),
        text("actor_1", "Name of the first actor.", nullable=True),
        text("actor_2", "Name of the second actor.", nullable=True),
        text("event_code", "CAMEO code of what happened."),
        count("quad_class", "1 verbal or 2 material cooperation, 3 verbal or 4 material conflict."),
        number(
            "goldstein",
            "Goldstein scale, -10 (conflict) to 10 (cooperation).",
            nullable=True,
            minimum=Decimal(-10),
            maximum=Decimal(10),
        ),
        count("mention_count", "Mentions in the first 15 minutes."),
        count("source_count", "Publishers in the first 15 minutes."),
        count("article_count", "Articles in the first 15 minutes."),
        number("tone", "Average tone, -100 to 100.", minimum=Decimal(-100), maximum=Decimal(100)),
        text("url", "Address of the first article.", nullable=True),
    ),
    stored=False,
    partition_by="received_at",
)

NEWS_MENTIONS = Dataset(
    name="news_mentions",
    domain=Domain.NEWS,
    description="Mentions of events in articles; `event_at` is when the monitor saw the mention.",
    key=("mention_id",),
    columns=(
        text("mention_id", "sha-256 of the row: an article may mention an event several times."),
        text("event_id", "The monitor's id of the event."),
        moment("event_seen_at", "When the event was first seen."),
        count("mention_type", "1 web, 2 citation, 3 core, 4 DTIC, 5 JSTOR, 6 non-textual."),
        text("publisher", "Publisher, mostly its domain.", nullable=True),
        text("url", "Address or citation of the article."),
        count("confidence_pct", "How sure the monitor is, in percent."),
        count("document_length", "Length of the article in characters, after translation.", nullable=True),
        number("tone", "Tone of the article, -100 to 100.", minimum=Decimal(-100), maximum=Decimal(100)),
        text("translation", "How it was translated, as given.", nullable=True),
    ),
    stored=False,
    partition_by="received_at",
)
