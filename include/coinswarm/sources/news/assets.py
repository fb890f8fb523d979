"""Which crypto assets a text is about: the one rule of all news sources.

A *name* stands for the asset wherever it appears as a whole word. A *short form* is also an everyday word or somebody's
initials (ETH is a university in Zurich, a tether holds a horse, ripples have effects), so it counts only in a text that
holds a name or a context word as well. Case does not matter; a word ends where ASCII letters and digits end, so that
`bitcoin-etf` and `比特币bitcoin` are found and `bitcoinist` is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NAMES: dict[str, tuple[str, ...]] = {
    "BTC": ("bitcoin", "bitcoins", "btc", "xbt"),
    "ETH": ("ethereum", "ether"),
    "SOL": ("solana",),
    "XRP": ("xrp",),
    "BNB": ("binance coin", "bnb chain"),
    "DOGE": ("dogecoin",),
    "ADA": ("cardano",),
    "LTC": ("litecoin",),
    "LINK": ("chainlink",),
    "AVAX": ("avax",),
    "USDT": ("usdt",),
    "USDC": ("usdc", "usd coin"),
}
SHORT_FORMS: dict[str, tuple[str, ...]] = {
    "ETH": ("eth",),
    "SOL": ("sol",),
    "XRP": ("ripple",),
    "BNB": ("bnb",),
    "DOGE": ("doge",),
    "ADA": ("ada",),
    "LTC": ("ltc",),
    "AVAX": ("avalanche",),
    "USDT": ("tether",),
}
CONTEXT: tuple[str, ...] = (
    "crypto",
    "cryptos",
    "cryptocurrency",
    "cryptocurrencies",
    "blockchain",
    "blockchains",
    "stablecoin",
    "stablecoins",
    "altcoin",
    "altcoins",
    "defi",
    "web3",
    "digital asset",
    "digital assets",
)
# GDELT's own themes. ECON_BITCOIN is given to texts about any cryptocurrency: context, not proof of Bitcoin.
CRYPTO_THEMES = frozenset({"ECON_BITCOIN", "ECON_BITCOINS", "ECON_CRYPTOCURRENCY"})


def _whole_words(words: Iterable[str]) -> re.Pattern[str]:
    # Longest first, or "bitcoin" would hide nothing here but "digital asset" would hide "digital assets".
    ordered = sorted(words, key=len, reverse=True)
    choices = "|".join(re.escape(word).replace(r"\ ", r"[\s_-]+") for word in ordered)
    return re.compile(rf"(?<![a-z0-9])(?:{choices})(?![a-z0-9])")


_NAMES = {asset: _whole_words(words) for asset, words in NAMES.items()}
_SHORT_FORMS = {asset: _whole_words(words) for asset, words in SHORT_FORMS.items()}
_CONTEXT = _whole_words(CONTEXT)


def assets_in(text: str, *, themes: Iterable[str] = ()) -> list[str]:
    """Assets that a text names, in the order of `NAMES`; themes of `CRYPTO_THEMES` count as context."""
    lower = text.lower()
    named = {asset for asset, pattern in _NAMES.items() if pattern.search(lower)}
    if named or _CONTEXT.search(lower) or not CRYPTO_THEMES.isdisjoint(themes):
        named |= {asset for asset, pattern in _SHORT_FORMS.items() if pattern.search(lower)}
    return [asset for asset in NAMES if asset in named]


def is_about_crypto(text: str, *, themes: Iterable[str] = ()) -> bool:
    """True if a text names an asset, holds a context word, or has one of `CRYPTO_THEMES`."""
    themes = tuple(themes)
    return (
        not CRYPTO_THEMES.isdisjoint(themes)
        or _CONTEXT.search(text.lower()) is not None
        or bool(assets_in(text, themes=themes))
    )
