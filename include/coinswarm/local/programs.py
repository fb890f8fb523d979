"""One program of the platform: what to run and as whom. The supervisor and the tests start the same thing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinswarm.errors import CoinswarmError

_PR_SET_PDEATHSIG = 1


class NotReady(CoinswarmError):
    """A server did not become usable in time; the message carries the last error and the end of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """A foreground process. `env` adds to the environment; `user` is a system user, only ever set when we are root."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: int = 15
    order: int = 10


def wait_until(check: Callable[[], object], *, what: str, seconds: float, log: Path | None = None) -> None:
    """Call `check` until it returns without an exception.

    Raises:
        NotReady: `seconds` are over.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            check()
        except Exception as error:
            if time.monotonic() >= deadline:
                raise NotReady(f"{what} is not ready after {seconds:g} s: {error}{_end_of(log)}") from error
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def running(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a `with` block; on Linux it also ends if we are killed."""
    with program.log.open("ab") as log:
        identity: dict[str, Any] = (
            {"user": program.user, "group": _group(program.user), "extra_groups": []} if program.user else {}
        )
        process = subprocess.Popen(
            program.argv,
            cwd=program.folder,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_die_with_parent(program.stop_signal),
            **identity,
        )
    try:
        yield process
    finally:
        stop(process, program)


def stop(process: subprocess.Popen[bytes], program: Program) -> None:
    """Ask the program to end, and kill its process group if it has not after `stop_seconds`."""
    if process.poll() is not None:
        return
    process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_of_log(log: Path, characters: int = 1500) -> str:
    """The last lines of a log file, or an empty string."""
    if not log.is_file():
        return ""
    return log.read_bytes()[-characters:].decode(errors="replace").strip()


def _end_of(log: Path | None) -> str:
    text = end_of_log(log) if log else ""
    return f"\nend of {log}:\n{text}" if text else ""


def _group(user: str | None) -> int | None:
    import pwd

    return pwd.getpwnam(user).pw_gid if user else None


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def set_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)

    return set_signal
