"""Functions that end their process with SIGKILL before or after their work, and a wait for what a killed one held."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from coinswarm.connections import Connection
from coinswarm.storage import database


def die(*_: Any, **__: Any) -> NoReturn:
    """End this process as a crash would: nothing is closed, nothing is told."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # not reached


def before(function: Callable[..., Any], call: int = 1) -> Callable[..., Any]:
    """`function`, but the process ends instead of its n-th call."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return die() if calls == call else function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any], call: int = 1) -> Callable[..., Any]:
    """`function`, but its n-th call is the last thing the process does."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        own = calls  # other threads go on counting
        result = function(*args, **kwargs)
        return die() if own == call else result

    return wrapped


def wait_until_forgotten(auditor: Connection, seconds: float = 30) -> None:
    """Return when the server has no session of a writer any more: a killed one's locks live until it sees the end."""
    writers = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ingest' AND datname = current_database()"
    deadline = time.monotonic() + seconds
    with database.connect(auditor, autocommit=True) as connection:
        while connection.execute(writers).fetchone() != (0,):
            assert time.monotonic() < deadline, "the killed process's session is still there"
            time.sleep(0.02)
