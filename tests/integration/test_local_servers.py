from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
import redis as redis_client

from coinswarm.connections import Connection
from coinswarm.local import s3

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


def test_s3_with_a_wrong_key_refuses(lake_connection: Connection) -> None:
    from botocore.exceptions import ClientError

    good = s3._client(lake_connection)
    good.put_object(Bucket=lake_connection.schema, Key="a/b", Body=b"x")
    assert good.get_object(Bucket=lake_connection.schema, Key="a/b")["Body"].read() == b"x"
    with pytest.raises(ClientError, match=r"Invalid|denied|SignatureDoesNotMatch"):
        s3._client(replace(lake_connection, password="wrong")).list_objects_v2(Bucket=lake_connection.schema)
