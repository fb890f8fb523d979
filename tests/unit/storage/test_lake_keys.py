"""Nothing that a provider or a user names leaves the lake's prefixes."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets import dataset_named
from coinswarm.errors import UserError
from coinswarm.storage.lake import checked_key, landing_key, parquet_key

pytestmark = pytest.mark.unit

DAY = datetime(2025, 10, 31, 23, 59, tzinfo=UTC)
BATCH = UUID("12345678-1234-5678-1234-567812345678")
HOSTILE = (
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "x" * 10_000,
    "a b",
    "a\x00",
    "'; DROP",
    "%2e%2e",
    "é",
    "a..b",
    "-a",
    "~",
)


def test_parquet_key_when_built_then_has_the_layout_of_the_lake():
    assert parquet_key(dataset_named("ohlcv"), "binance", DAY, "BTC-USDT", BATCH) == (
        f"raw/exchanges/binance/2025/10/31/ohlcv_btc-usdt-{BATCH}.parquet"
    )


def test_landing_key_when_built_then_has_the_layout_of_the_lake():
    assert landing_key("okx", DAY, "scheduled__2025-10-31T23:45:00+00:00", "funding-1") == (
        "landing/okx/2025/10/31/scheduled__2025-10-31T23:45:00+00:00/funding-1.json.zst"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_keys_when_a_part_is_hostile_then_refused_in_a_short_message(text):
    builders = (
        lambda: landing_key(text, DAY, "run", "request"),
        lambda: landing_key("okx", DAY, text, "request"),
        lambda: landing_key("okx", DAY, "run", text),
        lambda: parquet_key(dataset_named("ohlcv"), "okx", DAY, text, BATCH),
        lambda: checked_key(f"raw/{text}" if text != "a/b" else "elsewhere/b"),
    )
    for build in builders:
        with pytest.raises(UserError) as refused:
            build()
        assert len(str(refused.value)) < 250


@given(st.text(max_size=60))
def test_checked_key_when_any_text_is_accepted_then_it_stays_below_its_prefix(text):
    try:
        key = checked_key(text)
    except UserError:
        return
    parts = key.split("/")
    assert parts[0] in ("landing", "raw", "processed", "docs")
    assert all(part and ".." not in part and part.isascii() for part in parts)
