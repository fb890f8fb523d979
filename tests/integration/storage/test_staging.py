"""Staging replaces what an earlier attempt staged; quarantine takes whatever a provider can send."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.integration.storage.batches import READ_AT, bar, new_batch, staged

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Rejected
from coinswarm.storage.staging import Incoming, Refusal, quarantine, stage

pytestmark = pytest.mark.integration


def test_stage_when_repeated_then_replaces_the_earlier_attempt(ingest):
    batch = staged(ingest, [bar("1"), bar("2", minute=1)])
    staged(ingest, [bar("3")], batch)
    rows = ingest.execute("SELECT row_no, close FROM staging.ohlcv WHERE batch_id = %s", [batch.batch_id]).fetchall()
    assert rows == [(0, Decimal(3))]
    steps = ingest.execute("SELECT detail FROM ops.batch_steps WHERE batch_id = %s ORDER BY at", [batch.batch_id])
    assert [detail for (detail,) in steps.fetchall()] == [{"rows": 2}, {"rows": 1}]


def test_stage_when_a_record_is_not_final_then_it_is_left_out(ingest):
    from dataclasses import replace

    batch = new_batch()
    rows = [Incoming(replace(bar("1"), final=False), READ_AT, "k"), Incoming(bar("2", minute=1), READ_AT, "k")]
    assert stage(ingest, dataset_named("ohlcv"), batch, rows) == 1


def test_stage_when_the_rows_break_off_then_nothing_is_staged(ingest):
    batch = new_batch()

    def broken():
        yield Incoming(bar("1"), READ_AT, "k")
        raise ValueError("parser fell over")

    with pytest.raises(ValueError, match="fell over"):
        stage(ingest, dataset_named("ohlcv"), batch, broken())
    assert ingest.execute("SELECT count(*) FROM staging.ohlcv WHERE batch_id = %s", [batch.batch_id]).fetchone() == (0,)
    assert staged(ingest, [bar("1")], batch) == batch


def _deep() -> list:
    value: list = []
    for _ in range(100_000):
        value = [value]
    return value


PAYLOADS = {
    "nothing": None,
    "nul and surrogate": {"a\x00": "\x00\ud800"},
    "nan": [float("nan"), float("inf")],
    "decimal": {"price": Decimal("1.10")},
    "not json": {1, 2},
    "bytes": b"\xff\x00",
    "deep": _deep(),
    "huge": "x" * 5_000_000,
    "backslash": "\\u0000 \\",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_quarantine_when_a_payload_is_hostile_then_it_is_kept_once(ingest, name):
    batch = new_batch()
    refusal = Refusal(Rejected(3, "pri\x00ce", "bad \ud800" + "y" * 50_000, PAYLOADS[name]), "landing/k", "BTC\x00")
    assert quarantine(ingest, batch, [refusal, refusal]) == 1
    assert quarantine(ingest, batch, [refusal]) == 0
    ((row_no, field, size),) = ingest.execute(
        "SELECT row_no, field, octet_length(payload::text) FROM quarantine.records WHERE batch_id = %s",
        [batch.batch_id],
    ).fetchall()
    assert (row_no, field) == (3, "pri\ufffdce")
    assert (size or 0) < 20_000
