"""The lake: objects that are written once, under keys that cannot leave their prefix."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import boto3
import zstandard
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from coinswarm.connections import Connection
from coinswarm.datasets import Dataset
from coinswarm.errors import IntegrityError, StoreUnavailable, UserError
from coinswarm.names import safe_name, slug

PREFIXES = ("landing", "raw", "processed", "docs")
MAX_LANDED_BYTES = 256 * 1024 * 1024
MAX_METADATA = 1_500
_ABSENT = ("NoSuchKey", "404", "NotFound")
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class ObjectDiffers(IntegrityError):
    """The key holds another content already; objects are never overwritten."""


@dataclass(frozen=True, slots=True)
class LakeObject:
    """One stored object: its key, the sha-256 of its bytes as stored, and their number."""

    key: str
    sha256: bytes
    byte_count: int


def landing_key(source: str, at: datetime, run: str, request: str) -> str:
    """`landing/<source>/<yyyy>/<mm>/<dd>/<run>/<request>.json.zst` for the verbatim answer to one request.

    Raises:
        UserError: a part may not stand in a key.
    """
    return checked_key(f"landing/{slug(source, what='source')}/{at:%Y/%m/%d}/{_part(run)}/{_part(request)}.json.zst")


def parquet_key(dataset: Dataset, source: str, at: datetime, symbol: str, batch_id: UUID, *, variant: str = "") -> str:
    """`raw/<domain>/<source>/<yyyy>/<mm>/<dd>/<dataset>_<symbol>-<batch>.parquet`; `variant` follows the batch.

    Raises:
        UserError: a part may not stand in a key.
    """
    name = f"{dataset.name}_{_part(symbol.lower())}-{batch_id}{f'.{variant}' if variant else ''}.parquet"
    return checked_key(f"raw/{dataset.domain}/{slug(source, what='source')}/{at:%Y/%m/%d}/{name}")


def checked_key(key: str) -> str:
    """Return `key` if its first part is a known prefix and every part is a safe name.

    Raises:
        UserError: it could leave the prefix, or has characters that keys do not have here.
    """
    parts = key.split("/")
    if parts[0] not in PREFIXES or len(parts) < 2:
        raise UserError(f"lake key {key[:40]!r} is not under one of {', '.join(PREFIXES)}")
    for part in parts:
        safe_name(part, what="lake key part", limit=200)
    return key


def _part(text: str) -> str:
    return safe_name(text, what="lake key part")


class Lake:
    """The bucket that a connection names (`host` is the endpoint's URL, `schema` the bucket)."""

    def __init__(self, connection: Connection) -> None:
        self.bucket = connection.schema
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=connection.host or None,
            aws_access_key_id=connection.login or None,
            aws_secret_access_key=connection.password or None,
            region_name=connection.extra.get("region", "us-east-1"),
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 3},
                s3={"addressing_style": "path"},
            ),
        )

    def put(self, key: str, body: bytes, *, metadata: Mapping[str, str] | None = None) -> LakeObject:
        """Store `body` under `key`. Storing the same bytes again is a success and writes nothing.

        Raises:
            ObjectDiffers: the key holds other bytes.
            StoreUnavailable: the lake does not answer.
            UserError: the key is not allowed.
        """
        stored = LakeObject(checked_key(key), hashlib.sha256(body).digest(), len(body))
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*", Metadata=dict(metadata or {})
            )
        except ClientError as error:
            if _code(error) not in _TAKEN:
                raise StoreUnavailable(f"lake: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"lake: {error}") from error
        else:
            return stored
        if hashlib.sha256(self.get(key)).digest() != stored.sha256:
            raise ObjectDiffers(f"lake object {key} exists with another content")
        return stored

    def get(self, key: str) -> bytes:
        """Bytes of an object, as stored.

        Raises:
            UserError: there is no such object.
            StoreUnavailable: the lake does not answer.
        """
        try:
            return bytes(self._client.get_object(Bucket=self.bucket, Key=checked_key(key))["Body"].read())
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise UserError(f"the lake has no object {key}") from None
            raise StoreUnavailable(f"lake: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"lake: {error}") from error

    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`.

        Raises:
            StoreUnavailable: the lake does not answer.
        """
        try:
            self._client.head_object(Bucket=self.bucket, Key=checked_key(key))
        except ClientError as error:
            if _code(error) in _ABSENT:
                return False
            raise StoreUnavailable(f"lake: {error}") from error
        except BotoCoreError as error:
            raise StoreUnavailable(f"lake: {error}") from error
        return True

    def land(self, key: str, body: bytes, *, request: str = "") -> LakeObject:
        """Store a provider's verbatim bytes, compressed with zstd, with the request (JSON) as metadata `request`.

        A request longer than the metadata may be is left to `ops.lake_objects`.

        Raises:
            ObjectDiffers: another answer was landed under this key.
            StoreUnavailable: the lake does not answer.
        """
        metadata = {"request": request} if request and request.isascii() and len(request) <= MAX_METADATA else {}
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        try:
            return self.put(key, packed, metadata=metadata)
        except ObjectDiffers:
            # Another version of the library may pack the same bytes differently.
            there = self.get(key)
            if _unpack(there, key) != body:
                raise
            return LakeObject(key, hashlib.sha256(there).digest(), len(there))

    def landed(self, key: str) -> bytes:
        """The verbatim bytes that were landed under `key`.

        Raises:
            UserError: there is no such object.
            IntegrityError: it is not what was landed.
        """
        return _unpack(self.get(key), key)


def _unpack(packed: bytes, key: str) -> bytes:
    try:
        size = zstandard.frame_content_size(packed)
        if size > MAX_LANDED_BYTES:
            raise IntegrityError(f"lake object {key} unpacks to {size} bytes")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_LANDED_BYTES)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"lake object {key} is damaged: {error}") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
