"""Which ports are free, and who holds those that are not."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

import psutil  # type: ignore[import-untyped]

from coinswarm.errors import UserError

LOOPBACK = "127.0.0.1"

# SeaweedFS opens a gRPC port at this distance above each of its HTTP ports.
GRPC_OFFSET = 10_000

# Below Linux's ephemeral range, also with the offset, so that no outgoing connection can take a chosen port.
_CHOICES = range(12_000, 20_000)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` of `host` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that are free now, each with its gRPC twin."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_CHOICES, len(_CHOICES)):
        if is_free(port) and is_free(port + GRPC_OFFSET):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise UserError(f"fewer than {count} free ports between {_CHOICES.start} and {_CHOICES.stop} on {LOOPBACK}")


def listener_of(port: int) -> str:
    """The process that listens on `port`, as `name (pid 123)`; without the right to see it, that is said."""
    for process in psutil.process_iter(["pid", "name"]):
        try:
            sockets = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port for s in sockets):
            return f"{process.info['name']} (pid {process.info['pid']})"
    return "a process of another user"


def require_free(ports: Mapping[str, int], *, hint: str = "") -> None:
    """Check that every named port is free.

    Raises:
        UserError: at least one is taken; the message names each port, what it is for, and the process that holds it.
    """
    taken = [
        f"port {port} ({what}) is taken by {listener_of(port)}" for what, port in ports.items() if not is_free(port)
    ]
    if taken:
        raise UserError("; ".join(taken) + (f". {hint}" if hint else ""))


def with_grpc(ports: Iterable[int]) -> tuple[int, ...]:
    """The ports and their gRPC twins."""
    return tuple(p for port in ports for p in (port, port + GRPC_OFFSET))
