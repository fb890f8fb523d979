"""Objects are written once; landed bytes come back as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import zstandard
from tests.integration.storage.batches import bar, new_batch, staged

from coinswarm.errors import IntegrityError, StoreUnavailable, UserError
from coinswarm.storage import manifest
from coinswarm.storage.lake import Lake, LakeObject, ObjectDiffers
from coinswarm.storage.publish import publish

pytestmark = pytest.mark.integration


def test_put_when_repeated_then_success_and_other_bytes_are_refused(lake):
    first = lake.put("landing/okx/a.bin", b"one")
    assert lake.put("landing/okx/a.bin", b"one") == first
    with pytest.raises(ObjectDiffers, match=r"landing/okx/a\.bin"):
        lake.put("landing/okx/a.bin", b"two")
    assert lake.get("landing/okx/a.bin") == b"one"
    assert lake.exists("landing/okx/a.bin")
    assert not lake.exists("landing/okx/b.bin")


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 40_000], ids=["empty", "json", "10 MB"])
def test_land_when_read_back_then_bytes_are_verbatim_with_their_request(lake, body):
    key = f"landing/okx/{len(body)}.json.zst"
    request = json.dumps({"symbol": "BTC", "n": len(body)})
    stored = lake.land(key, body, request=request)
    assert lake.landed(key) == body
    assert lake.land(key, body, request=request) == stored
    assert lake._client.head_object(Bucket=lake.bucket, Key=key)["Metadata"]["request"] == request
    with pytest.raises(ObjectDiffers):
        lake.land(key, body + b"x")


def test_land_when_an_older_library_packed_the_same_bytes_then_success(lake):
    body = b"the same answer" * 1000
    other = zstandard.ZstdCompressor(level=19).compress(body)
    lake.put("landing/okx/level.json.zst", other)
    assert lake.land("landing/okx/level.json.zst", body).byte_count == len(other)


@pytest.mark.parametrize("packed", [b"not zstd", zstandard.ZstdCompressor().compress(b"x" * 999)[:-4], b""])
def test_landed_when_the_object_is_damaged_then_says_so(lake, packed):
    key = f"landing/okx/damaged-{len(packed)}.json.zst"
    lake.put(key, packed)
    with pytest.raises(IntegrityError, match="damaged"):
        lake.landed(key)


def test_get_when_there_is_no_object_then_says_so(lake):
    with pytest.raises(UserError, match="no object"):
        lake.get("raw/nothing.parquet")


def test_lake_when_the_login_is_wrong_then_unavailable_and_no_secret_in_the_message(lake_connection):
    wrong = Lake(replace(lake_connection, login="nobody", password="sesame-open"))
    with pytest.raises(StoreUnavailable) as refused:
        wrong.put("raw/x", b"")
    assert "sesame-open" not in str(refused.value)


def test_manifest_when_an_object_is_listed_with_other_bytes_then_refused(ingest):
    batch = new_batch()
    one = LakeObject("landing/okx/listed", b"1" * 32, 1)
    for _ in range(2):
        manifest.record(ingest, batch, [manifest.Entry(one, request='{"a": 1}')])
    assert manifest.landed_objects(ingest, batch) == [("landing/okx/listed", '{"a": 1}')]
    with pytest.raises(IntegrityError, match=str(batch.batch_id)):
        manifest.record(ingest, batch, [manifest.Entry(replace(one, sha256=b"2" * 32))])
    with pytest.raises(IntegrityError):
        manifest.record(ingest, new_batch(), [manifest.Entry(one)])


def test_publish_when_a_dead_attempt_left_another_file_then_both_stay_and_one_is_listed(ingest, lake, monkeypatch):
    from coinswarm.storage import publish as module

    batch = staged(ingest, [bar("1", symbol="LEFT")])
    with monkeypatch.context() as patch:
        patch.setattr(module.manifest, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish(ingest, lake, batch)
    staged(ingest, [bar("2", symbol="LEFT")], batch)
    publish(ingest, lake, batch)
    (objects,) = ingest.execute("SELECT objects FROM ops.batches WHERE batch_id = %s", [batch.batch_id]).fetchone()
    assert len(objects) == 1
    orphan = objects[0]["key"].rsplit(".", 2)[0] + ".parquet"
    assert lake.exists(orphan)
    assert orphan != objects[0]["key"]
    assert batch.window.end - batch.window.start == timedelta(hours=1)
