"""The supervised platform, with real processes: what starts, what ends, and what is left alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from coinswarm.connections import from_fields
from coinswarm.errors import UserError
from coinswarm.local import platform, ports, postgres, rendering, settings, supervision
from coinswarm.local.programs import NotReady, Program

pytestmark = pytest.mark.integration


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty data folder that another system user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-platform-"))
    folder.chmod(0o711)
    yield folder / "home"
    if (folder / "home" / "profile").exists():
        platform.clean("live", home=folder / "home")
    else:
        supervision.stop_all(folder / "home")
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
def port_base(monkeypatch: pytest.MonkeyPatch) -> int:
    """A base whose whole block is free."""
    for name in ("COINSWARM_HOME", "COINSWARM_PG_DSN", "COINSWARM_REDIS_URL", "COINSWARM_S3_URL"):
        monkeypatch.delenv(name, raising=False)
    while True:
        (base,) = ports.free_ports(1)
        if all(ports.is_free(p) for offset in range(100) for p in (base + offset, base + offset + ports.GRPC_OFFSET)):
            monkeypatch.setenv("COINSWARM_PORT_BASE", str(base))
            return base


@pytest.fixture
def no_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow without work: nothing asks a provider."""
    for name in ("dags", "plugins"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(rendering, "REPOSITORY", tmp_path)


def _supervise(home: Path, *programs: Program) -> None:
    (home / "logs").mkdir(parents=True, exist_ok=True)
    install = settings.Installation("live", home, settings.Ports(20_000), None, settings.Given(), {})  # type: ignore[arg-type]
    configuration = home / "supervisord.conf"
    configuration.write_text(rendering.supervisor_conf(install, programs, supervision.socket_path(home)))
    supervision.start(home, configuration, os.environ)
    supervision.start_programs(home, [program.name for program in programs])


def _sleeper(home: Path, name: str, order: int = 5) -> Program:
    # A child of its own, as Airflow's components have.
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    return Program(name, (sys.executable, "-c", code), home, home / "logs" / f"{name}.log", order=order)


def _family(home: Path) -> list[psutil.Process]:
    leader = supervision.supervisor_process(home)
    assert leader
    deadline = time.monotonic() + 20
    while len(found := leader.children(recursive=True)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [leader, *found]


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_stop_all_when_running_then_ends_every_descendant_and_no_other_process(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        _supervise(home, _sleeper(home, "one"), _sleeper(home, "two", order=6))
        family = _family(home)
        assert sorted(supervision.stop_all(home)[:2]) == ["one", "two"]
        assert _alive(family) == []
        assert supervision.stop_all(home) == []
        assert stranger.poll() is None
        stranger.kill()


def test_stop_all_when_the_supervisor_was_killed_then_ends_what_it_left_behind(home: Path) -> None:
    _supervise(home, _sleeper(home, "one"), _sleeper(home, "two"))
    leader, *children = _family(home)
    leader.kill()
    psutil.wait_procs([leader], timeout=10)
    assert supervision.supervisor_process(home) is None
    assert {p.pid for p in supervision.orphans(home)} == {p.pid for p in _alive(children)} != set()
    supervision.stop_all(home)
    assert _alive(children) == []


def test_supervisor_process_when_its_pid_was_reused_then_is_nobody(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        identity = {"pid": stranger.pid, "created": 1.0, "boot": psutil.boot_time()}
        (home / "supervisord.json").write_text(json.dumps(identity))
        assert supervision.supervisor_process(home) is None
        assert supervision.orphans(home) == []
        supervision.stop_all(home)
        assert stranger.poll() is None
        stranger.kill()


def test_program_when_it_dies_then_is_started_again(home: Path) -> None:
    _supervise(home, _sleeper(home, "one"), _sleeper(home, "two"))
    _family(home)
    deadline = time.monotonic() + 20
    while not all(state.running for state in supervision.states(home)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = {state.name: state.pid for state in supervision.states(home)}
    os.kill(before["one"], signal.SIGKILL)
    while (after := {s.name: s.pid for s in supervision.states(home) if s.running}).keys() != before.keys() or (
        after["one"] == before["one"]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert after["two"] == before["two"]


def test_up_when_a_port_is_taken_then_says_which_and_by_what_and_starts_nothing(home: Path, port_base: int) -> None:
    with socket.create_server((ports.LOOPBACK, port_base + 32)), pytest.raises(UserError) as caught:
        platform.up("live", home=home, say=lambda _: None)
    assert f"port {port_base + 32} (PostgreSQL) is taken by" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert not platform.status("live", home=home).programs


@pytest.mark.usefixtures("no_dags")
def test_up_when_a_server_cannot_start_then_shows_its_log_and_leaves_nothing_running(
    home: Path, port_base: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres.wait_ready
    monkeypatch.setattr(postgres, "wait_ready", lambda owner, **kwargs: real(owner, **{**kwargs, "seconds": 3}))
    settings.installation("live", home)
    postgres.create_cluster(home / "postgres", "x")
    (home / "postgres" / "postgresql.conf").write_text("nonsense = here\n")
    with pytest.raises(NotReady, match="nonsense"):
        platform.up("live", home=home, say=lambda _: None)
    assert supervision.supervisor_process(home) is None
    assert ports.is_free(port_base + 79)


@pytest.mark.usefixtures("no_dags")
def test_platform_when_started_twice_and_stopped_then_serves_its_login_and_leaves_no_process(
    home: Path, port_base: int
) -> None:
    access = platform.up("live", home=home, say=lambda _: None)
    assert platform.status("live", home=home).running
    family = _family(home)

    assert _login(access.url, access.password) == 201
    assert _login(access.url, "wrong") == 401
    assert _status_of(f"{access.url}/api/v2/dags") == 401

    secrets = json.loads((home / "secrets.json").read_text())
    for process in family:
        assert not [name for name, value in secrets.items() if value in " ".join(process.cmdline())]
    for path in home.rglob("*"):
        if path.is_file() and path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077:
            text = path.read_bytes()
            assert not [name for name, value in secrets.items() if value.encode() in text], path

    connections = {k: from_fields(k, v) for k, v in json.loads(access.connections_file.read_text()).items()}
    for role in settings.ROLES:
        with psycopg.connect(connections[f"pg_{role}"].dsn) as conn:
            assert conn.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() == (False,)
    done = subprocess.run(
        [*access.psql.split()[1:], "--no-psqlrc", "-Atc", "select current_user"],
        env={"PGSERVICEFILE": str(home / "pg_service.conf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "auditor", done.stderr

    before = _fingerprint(home)
    again = platform.up("live", home=home, say=lambda _: None)
    assert again.started == ()
    assert (again.url, again.password) == (access.url, access.password)
    assert _fingerprint(home) == before
    assert {p.pid for p in _alive(family)} == {p.pid for p in family}

    ended = platform.down("live", home=home)
    assert {"postgres", "redis", "s3", "airflow-scheduler"} <= set(ended)
    assert _alive(family) == []
    assert platform.down("live", home=home) == []
    assert ports.is_free(port_base)
    assert platform.clean("live", home=home) == home
    assert not home.exists()


def _fingerprint(home: Path) -> dict[str, tuple[bytes, int]]:
    names = ("secrets.json", "connections.json", "supervisord.conf", "supervisord.json", "airflow/airflow.cfg")
    return {name: ((home / name).read_bytes(), (home / name).stat().st_mtime_ns) for name in names}


def _login(url: str, password: str) -> int:
    body = json.dumps({"username": "admin", "password": password}).encode()
    return _status_of(
        urllib.request.Request(f"{url}/auth/token", data=body, headers={"Content-Type": "application/json"})
    )


def _status_of(request: str | urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
