"""The rule that says which assets a text is about."""

import pytest

from coinswarm.sources.news.assets import NAMES, SHORT_FORMS, assets_in, is_about_crypto

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Bitcoin falls", ["BTC"]),
        ("BTC/USD at a high", ["BTC"]),
        ("bitcoin-etf and 比特币bitcoin比特币", ["BTC"]),
        ("A bitcoinist's diary", []),
        ("Ether slides, Ethereum upgrade near", ["ETH"]),
        ("Ethernet cables", []),
        ("ETH Zurich opens a laboratory", []),
        ("ETH and crypto markets rise", ["ETH"]),
        ("The ripple effect of tariffs", []),
        ("Ripple wins; bitcoin steady", ["BTC", "XRP"]),
        ("He was at the end of his tether", []),
        ("Tether's stablecoin grows", ["USDT"]),
        ("Sol y playa en Mallorca", []),
        ("SOL overtakes BNB on blockchain fees", ["SOL", "BNB"]),
        ("USD Coin and usd-coin", ["USDC"]),
        ("", []),
    ],
)
def test_assets_in_when_text_given_then_whole_words_only_and_short_forms_in_context(
    text: str, assets: list[str]
) -> None:
    assert assets_in(text) == assets


def test_assets_in_when_theme_is_crypto_then_short_forms_count_but_bitcoin_is_not_assumed() -> None:
    assert assets_in("ETH rallies", themes=["ECON_BITCOIN"]) == ["ETH"]
    assert assets_in("Market wrap", themes=["ECON_BITCOIN"]) == []


@pytest.mark.parametrize(
    ("text", "themes", "about"),
    [
        ("Digital assets bill passes", (), True),
        ("Market wrap", ("ECON_BITCOIN",), True),
        ("Dogecoin jumps", (), True),
        ("Home side wins", ("SOC_SPORTS",), False),
        ("ETH Zurich", (), False),
    ],
)
def test_is_about_crypto_when_asked_then_name_context_or_theme_decides(
    text: str, themes: tuple[str, ...], about: bool
) -> None:
    assert is_about_crypto(text, themes=themes) is about


def test_words_when_declared_then_lower_case_and_of_known_assets() -> None:
    words = [word for group in (NAMES, SHORT_FORMS) for words in group.values() for word in words]
    assert words == [word.lower() for word in words]
    assert set(SHORT_FORMS) <= set(NAMES)
