"""Where servers are, as their clients want it."""

from __future__ import annotations

import pytest

from coinswarm.connections import Connection
from coinswarm.local.redis import from_url

pytestmark = pytest.mark.unit


def test_redis_arguments_when_everything_is_given_then_nothing_of_it_is_left_out() -> None:
    assert from_url("rediss://ticks:a%40b@redis.example.com:6380/3").redis_arguments == {
        "host": "redis.example.com",
        "port": 6380,
        "username": "ticks",
        "password": "a@b",
        "db": 3,
        "ssl": True,
    }


def test_redis_arguments_when_only_the_host_is_given_then_they_are_those_of_a_server_without_login() -> None:
    # An empty name would be a login as nobody.
    assert Connection("redis_ticks", host="redis").redis_arguments == {
        "host": "redis",
        "port": 6379,
        "username": None,
        "password": None,
        "db": 0,
        "ssl": False,
    }
