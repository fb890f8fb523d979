"""Our supervisord: start it, ask it, end it with everything it started, and touch no other process."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from coinswarm.errors import CoinswarmError
from coinswarm.local.files import write_private
from coinswarm.local.programs import end_of_log, wait_until

# Linux allows 107 bytes for the path of a socket.
_LONGEST_SOCKET = 100


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What supervisord knows about a program; `state` is its word (RUNNING, STOPPED, BACKOFF, FATAL …)."""

    name: str
    state: str
    pid: int
    detail: str

    @property
    def running(self) -> bool:
        """Whether the process is up."""
        return self.state == "RUNNING"


def socket_path(home: Path) -> Path:
    """Supervisord's control socket: in the data folder, or in the temporary folder if that path is too long."""
    beside = home / "supervisor.sock"
    if len(os.fsencode(beside)) <= _LONGEST_SOCKET:
        return beside
    folder = Path(tempfile.gettempdir()) / f"coinswarm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise CoinswarmError(f"{folder} is not ours alone: remove it, or choose a shorter COINSWARM_HOME")
    return folder / f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"


def start(home: Path, configuration: Path, environment: Mapping[str, str]) -> None:
    """Start supervisord in a session of its own, and remember that session.

    Raises:
        CoinswarmError: it ended at once; the message has its output.
    """
    output = home / "logs" / "supervisord.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(configuration)],
            cwd=home,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = {
        "pid": process.pid,
        "created": psutil.Process(process.pid).create_time(),
        "boot": psutil.boot_time(),
    }
    write_private(_identity_file(home), json.dumps(identity))

    def answering() -> None:
        if process.poll() is None:
            _call(home, "getState")

    wait_until(answering, what="supervisord", seconds=20, log=output)
    if process.poll() is not None:
        raise CoinswarmError(f"supervisord ended at once: {end_of_log(output)}")


def supervisor_process(home: Path) -> psutil.Process | None:
    """The supervisord that we started for this folder, if it lives: a recycled pid is not taken for it."""
    identity = _identity(home)
    if identity is None:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(identity["pid"])
        if process.create_time() == identity["created"] and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def states(home: Path) -> list[ProgramState]:
    """Every program of a running supervisord, in start order."""
    return [
        ProgramState(name=info["name"], state=info["statename"], pid=info["pid"], detail=info["description"])
        for info in _call(home, "getAllProcessInfo")
    ]


def start_programs(home: Path, names: Iterable[str]) -> list[str]:
    """Start those of the named programs that are not up; returns their names."""
    up = {state.name for state in states(home) if state.state in {"RUNNING", "STARTING"}}
    started = [name for name in names if name not in up]
    for name in started:
        with _explained(name):
            _call(home, "startProcess", name, False)
    return started


def restart_programs(home: Path, names: Iterable[str]) -> None:
    """Stop and start programs, for instance the triggerer after a change of its plugins."""
    for name in names:
        with _explained(name):
            if any(state.name == name and state.running for state in states(home)):
                _call(home, "stopProcess", name, True)
            _call(home, "startProcess", name, False)


def stop_all(home: Path, *, seconds: float = 60) -> list[str]:
    """End supervisord and every process it started, also those that outlived it; returns the names of what ended."""
    survivors = _descendants(home)
    ended: list[str] = []
    process = supervisor_process(home)
    if process is not None:
        try:
            ended = [state.name for state in states(home) if state.pid]
            _stop_in_order(home, seconds)
            _call(home, "shutdown")
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            process.terminate()  # it stops its programs on SIGTERM, too
        psutil.wait_procs([process], timeout=seconds)
        survivors = {**survivors, **_descendants(home), process.pid: process}
    ended += _end(survivors.values())
    _identity_file(home).unlink(missing_ok=True)
    socket_path(home).unlink(missing_ok=True)
    return ended


def orphans(home: Path) -> list[psutil.Process]:
    """Processes of ours whose supervisord is gone (it was killed)."""
    return [] if supervisor_process(home) else list(_descendants(home).values())


def _stop_in_order(home: Path, seconds: float) -> None:
    # supervisord would stop one program after the other; those of one order can end side by side.
    configured: list[dict[str, Any]] = _call(home, "getAllConfigInfo")
    for order in sorted({program["process_prio"] for program in configured}, reverse=True):
        names = {program["name"] for program in configured if program["process_prio"] == order}
        for state in states(home):
            if state.name in names and state.state in {"RUNNING", "STARTING"}:
                _call(home, "stopProcess", state.name, False)
        deadline = time.monotonic() + seconds
        while any(s.name in names and s.state == "STOPPING" for s in states(home)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _descendants(home: Path) -> dict[int, psutil.Process]:
    identity = _identity(home)
    if identity is None or identity["boot"] != psutil.boot_time():
        return {}
    leader = identity["pid"]
    alive = supervisor_process(home)
    with contextlib.suppress(psutil.Error):
        if psutil.Process(leader).create_time() != identity["created"]:
            return {}  # the pid belongs to somebody else now, and so does the session of that number
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != leader
                and os.getsid(process.pid) == leader
                and process.create_time() >= identity["created"]
            ):
                found[process.pid] = process
    for root in [alive, *found.values()]:
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in (root.children(recursive=True) if root else [])}
    return found


def _end(processes: Iterable[psutil.Process]) -> list[str]:
    # psutil compares creation times before it signals: a recycled pid is never hit.
    alive = [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    names = []
    for process in alive:
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
            process.terminate()
    for process in psutil.wait_procs(alive, timeout=15)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return names


def _identity_file(home: Path) -> Path:
    return home / "supervisord.json"


def _identity(home: Path) -> dict[str, Any] | None:
    path = _identity_file(home)
    return json.loads(path.read_text()) if path.is_file() else None


def _call(home: Path, method: str, *arguments: object) -> Any:
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket_path(home)}")
    with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
        return getattr(server.supervisor, method)(*arguments)


@contextlib.contextmanager
def _explained(name: str) -> Any:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        raise CoinswarmError(f"supervisord could not start {name}: {fault.faultString}") from fault
