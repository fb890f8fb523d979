from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
import redis as redis_client

from coinswarm.connections import Connection
from coinswarm.local import redis, s3

pytestmark = pytest.mark.integration


def test_postgres_without_password_refuses_even_on_loopback(pg_server: Connection) -> None:
    with psycopg.connect(pg_server.dsn) as conn:
        assert conn.execute("show password_encryption").fetchone() == ("scram-sha-256",)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(replace(pg_server, password="").dsn)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(replace(pg_server, password="wrong").dsn)


def test_redis_without_password_refuses_and_cannot_be_administered(redis_connection: Connection) -> None:
    conn = redis_connection
    with (
        redis_client.Redis(host=conn.host, port=conn.port, retry=None) as anonymous,
        pytest.raises(redis_client.AuthenticationError),
    ):
        anonymous.ping()
    with redis_client.Redis(host=conn.host, port=conn.port, username=conn.login, password=conn.password) as client:
        client.xadd("trades:BTC-USD", {"p": "1"})
        client.vset().vadd("memory", [0.1, 0.2], "episode")
        assert client.vset().vsim("memory", [0.1, 0.2]) == [b"episode"]
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            client.config_get("requirepass")


def test_redis_reader_reads_live_ticks_and_nothing_else(redis_connection: Connection) -> None:
    port, password = redis_connection.port or 6379, redis_connection.password
    with redis_client.Redis(port=port, username=redis_connection.login, password=password) as writer:
        writer.xadd("trades:ETH-USD", {"price": "1"})
        writer.xgroup_create("trades:ETH-USD", "archive", id="0", mkstream=True)
        writer.sadd("ticks:streams", "trades:ETH-USD")
        writer.set("episode", "private")
    reader = redis.reader_connection(port, password)
    with redis_client.Redis(port=port, username=reader.login, password=password) as client:
        ((_, entries),) = client.xread({"trades:ETH-USD": "0"}, block=10)
        assert entries[0][1] == {b"price": b"1"}
        assert client.xrevrange("trades:ETH-USD", count=1)
        assert client.smembers("ticks:streams") == {b"trades:ETH-USD"}
        for forbidden in (
            lambda: client.xadd("trades:ETH-USD", {"price": "2"}),
            lambda: client.xreadgroup("archive", "me", {"trades:ETH-USD": ">"}),
            lambda: client.xack("trades:ETH-USD", "archive", entries[0][0]),
            lambda: client.delete("trades:ETH-USD"),
            lambda: client.get("episode"),
            lambda: client.eval("return redis.call('DEL', KEYS[1])", 1, "trades:ETH-USD"),
            client.flushdb,
        ):
            with pytest.raises(redis_client.exceptions.NoPermissionError):
                forbidden()


def test_s3_with_a_wrong_key_refuses(lake_connection: Connection) -> None:
    from botocore.exceptions import ClientError

    good = s3._client(lake_connection)
    good.put_object(Bucket=lake_connection.schema, Key="a/b", Body=b"x")
    assert good.get_object(Bucket=lake_connection.schema, Key="a/b")["Body"].read() == b"x"
    with pytest.raises(ClientError, match=r"Invalid|denied|SignatureDoesNotMatch"):
        s3._client(replace(lake_connection, password="wrong")).list_objects_v2(Bucket=lake_connection.schema)
