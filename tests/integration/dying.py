"""Functions that end their process with SIGKILL before or after they have done their work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn


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
