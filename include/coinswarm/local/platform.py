"""The platform on one machine: up, down, status, logs, clean. Each is safe to call in any state."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from coinswarm.errors import UserError
from coinswarm.local import (
    airflow,
    airflow_settings,
    ports,
    postgres,
    redis,
    rendering,
    s3,
    settings,
    store,
    supervision,
)
from coinswarm.local.files import write_private
from coinswarm.local.programs import NotReady, Program, end_of_log, wait_until
from coinswarm.local.settings import REPOSITORY, Installation
from coinswarm.local.supervision import ProgramState

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a running platform. `started` names the programs that this call had to start."""

    profile: str
    home: Path
    url: str
    username: str
    password: str = field(repr=False)
    psql: str
    connections_file: Path
    started: tuple[str, ...]

    def text(self) -> str:
        """The lines to print for a person."""
        return "\n".join(
            (
                f"Coinswarm ({self.profile}) is up." + ("" if self.started else " It was running already."),
                f"  Airflow UI    {self.url}",
                f"  login         {self.username} / {self.password}",
                f"  SQL           {self.psql}",
                f"  data folder   {self.home}",
                f"  clients       export COINSWARM_CONNECTIONS={shlex.quote(str(self.connections_file))}",
                "  dbt docs and Data Docs are in the Airflow UI under Browse, after the first builds.",
            )
        )


@dataclass(frozen=True, slots=True)
class Status:
    """What runs. `health` is Airflow's own word about its components; empty if the API server does not answer."""

    profile: str
    home: Path
    url: str
    programs: tuple[ProgramState, ...]
    health: Mapping[str, str]

    @property
    def running(self) -> bool:
        """Whether every program is up and Airflow calls itself healthy."""
        return (
            bool(self.programs)
            and all(program.running for program in self.programs)
            and bool(self.health)
            and set(self.health.values()) == {"healthy"}
        )


def up(profile: str = "live", *, home: Path | None = None, say: Say = print) -> Access:
    """Start what does not run yet, and wait until everything answers.

    A first start makes secrets, databases and tables. If the start fails, what it started is stopped again.

    Raises:
        UserError: a port is taken (the message names port and process), or a setting is wrong.
        NotReady: a server did not become usable; the message has the end of its log.
    """
    install = settings.installation(profile, home)
    with _locked(install.home):
        running = supervision.supervisor_process(install.home) is not None
        programs = _write_settings(install)
        if running:
            started = _continue(install, programs, say)
        else:
            if supervision.orphans(install.home):
                say("stopping what an earlier supervisor left behind")
                supervision.stop_all(install.home)
            ports.require_free(install.embedded_ports, hint="Free it, or set COINSWARM_PORT_BASE to another base port.")
            try:
                started = _start(install, programs, say)
            except BaseException:
                supervision.stop_all(install.home)
                raise
    return _access(install, started)


def down(profile: str = "live", *, home: Path | None = None) -> list[str]:
    """Stop everything that `up` started for this data folder, and nothing else; returns the names of what ended."""
    home = home or settings.default_home(profile)
    if not (home / "profile").is_file():
        return []
    with _locked(home):
        return supervision.stop_all(home)


def status(profile: str = "live", *, home: Path | None = None) -> Status:
    """What of the platform runs now."""
    home = home or settings.default_home(profile)
    if supervision.supervisor_process(home) is None:
        return Status(profile=profile, home=home, url="", programs=(), health={})
    install = settings.installation(profile, home)
    health: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        health = airflow.health(install)
    return Status(profile=profile, home=home, url=install.url, programs=tuple(supervision.states(home)), health=health)


def logs(profile: str = "live", *, home: Path | None = None, program: str = "", lines: int = 40) -> Iterator[str]:
    """The last `lines` lines of each program's log, or of one program's.

    Raises:
        UserError: there is no log of that name; the message lists those that exist.
    """
    folder = (home or settings.default_home(profile)) / "logs"
    known = {path.stem: path for path in sorted(folder.glob("*.log"))} if folder.is_dir() else {}
    if program and program not in known:
        raise UserError(f"there is no log of {program!r}: {', '.join(known) or 'nothing has been started yet'}")
    for name, path in known.items():
        if program in {"", name}:
            yield f"==> {path} <=="
            yield from end_of_log(path, 200 * lines).splitlines()[-lines:]


def clean(profile: str = "live", *, home: Path | None = None) -> Path | None:
    """Stop the platform and delete its data folder, secrets and data included; returns the folder if there was one."""
    home = home or settings.default_home(profile)
    down(profile, home=home)
    if not (home / "profile").is_file():
        return None
    stand_in = postgres.data_folder(home / "postgres")
    if stand_in.parent != home:
        shutil.rmtree(stand_in.parent, ignore_errors=True)
    shutil.rmtree(home)
    return home


def restart(profile: str, programs: tuple[str, ...], *, home: Path | None = None) -> None:
    """Restart programs of a running platform, for instance `airflow-triggerer` after a change in plugins/.

    Raises:
        UserError: the platform does not run.
    """
    home = home or settings.default_home(profile)
    if supervision.supervisor_process(home) is None:
        raise UserError(f"the {profile} platform does not run")
    supervision.restart_programs(home, programs)


def environment(install: Installation) -> dict[str, str]:
    """Environment of every component. The owner's DSN, API keys and foreign Airflow settings are not in it."""
    hidden = ("AIRFLOW__", "COINSWARM_", *(("AIRFLOW_CONN_",) if install.profile == "demo" else ()))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # without .pyc files every process compiles Airflow again
    return inherited | {
        "AIRFLOW_HOME": str(install.airflow_home),
        "COINSWARM_HOME": str(install.home),
        "COINSWARM_CONNECTIONS": str(install.connections_file),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GX_ANALYTICS_ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS forbids forks of threaded programs otherwise
    }


def _write_settings(install: Installation) -> list[Program]:
    install.logs.mkdir(mode=0o700, exist_ok=True)
    section = airflow_settings.read(REPOSITORY / "airflow_settings.yaml")
    connections = airflow_settings.connections(
        section,
        install.servers,
        provider_host=f"http://{ports.LOOPBACK}:{install.ports.sandbox}" if install.profile == "demo" else "",
        api_keys=install.api_keys,
    )
    write_private(install.connections_file, json.dumps(connections, indent=1))
    write_private(install.pg_service_file, rendering.pg_service(install))
    airflow.write_settings(install, airflow_settings.pools(section))
    programs = [*_servers(install), *airflow.programs(install), *_sandbox(install)]
    socket = supervision.socket_path(install.home)
    write_private(install.home / "supervisord.conf", rendering.supervisor_conf(install, programs, socket))
    return programs


def _servers(install: Installation) -> list[Program]:
    secrets = install.secrets
    found = []
    if not install.given.postgres:
        folder = install.home / "postgres"
        postgres.create_cluster(folder, secrets.postgres_superuser)
        found.append(postgres.program(folder, install.ports.postgres, install.logs / "postgres.log"))
    if not install.given.redis:
        folder = install.home / "redis"
        redis.write_settings(folder, secrets.redis, reader_password=secrets.redis_committee)
        found.append(redis.program(folder, install.ports.redis, install.logs / "redis.log"))
    if not install.given.s3:
        folder = install.home / "s3"
        s3.write_settings(folder, secrets.s3_access_key, secrets.s3_secret_key)
        found.append(s3.program(folder, install.ports.s3, install.logs / "s3.log"))
    return found


def _sandbox(install: Installation) -> list[Program]:
    if install.profile != "demo":
        return []
    argv = (sys.executable, "-m", "coinswarm", "sandbox", "simulate", "--port", str(install.ports.sandbox))
    return [Program(name="sandbox", argv=argv, folder=install.home, log=install.logs / "sandbox.log", order=3)]


def _start(install: Installation, programs: list[Program], say: Say) -> tuple[str, ...]:
    variables = environment(install)
    say("starting PostgreSQL, Redis and S3")
    supervision.start(install.home, install.home / "supervisord.conf", variables)
    supervision.start_programs(install.home, [program.name for program in programs if program.order < 5])
    postgres.wait_ready(install.owner, log=install.logs / "postgres.log")
    postgres.ensure_role(install.owner, "airflow", install.secrets.postgres_airflow)
    new = postgres.ensure_database(install.owner, "airflow", role="airflow")
    postgres.ensure_database(install.owner, "warehouse")
    say("applying migrations")
    with ThreadPoolExecutor(3) as pool:
        airflow_ready = pool.submit(airflow.migrate, install, variables, new=new)
        redis_ready = pool.submit(redis.wait_ready, install.servers["redis_ticks"], log=install.logs / "redis.log")
        s3_ready = pool.submit(s3.wait_ready, install.servers["s3_lake"], log=install.logs / "s3.log")
        _migrate_store(install)
        for done in (redis_ready, s3_ready, airflow_ready):
            done.result()
    _wait_for_sandbox(install)
    say("starting Airflow")
    supervision.start_programs(install.home, [program.name for program in programs if program.order >= 5])
    airflow.import_pools(install, variables, new=new)
    _wait_for_airflow(install)
    return tuple(program.name for program in programs)


def _continue(install: Installation, programs: list[Program], say: Say) -> tuple[str, ...]:
    if store.stamp() != _applied_stamp(install):
        say("applying new migrations")
        _migrate_store(install)
    started = supervision.start_programs(install.home, [program.name for program in programs])
    if started:
        say(f"started again: {', '.join(started)}")
    _wait_for_airflow(install)
    return tuple(started)


def _migrate_store(install: Installation) -> None:
    store.prepare_store(install.owner, {role: getattr(install.secrets, f"postgres_{role}") for role in settings.ROLES})
    write_private(install.home / "store.stamp", store.stamp())


def _applied_stamp(install: Installation) -> str:
    path = install.home / "store.stamp"
    return path.read_text() if path.is_file() else ""


def _wait_for_sandbox(install: Installation) -> None:
    if install.profile == "demo":
        state = f"http://{ports.LOOPBACK}:{install.ports.sandbox}/_control/state"

        def answer() -> None:
            urllib.request.urlopen(state, timeout=3).close()

        wait_until(answer, what="the sandbox", seconds=30, log=install.logs / "sandbox.log")


def _wait_for_airflow(install: Installation) -> None:
    try:
        airflow.wait_ready(install)
    except NotReady as error:
        broken = [state for state in supervision.states(install.home) if not state.running]
        ends = "".join(
            f"\n{state.name} is {state.state}; end of its log:\n{end_of_log(install.logs / f'{state.name}.log')}"
            for state in broken
        )
        raise NotReady(f"{error}{ends}") from error


def _access(install: Installation, started: tuple[str, ...]) -> Access:
    service_file, psql = shlex.quote(str(install.pg_service_file)), "psql"
    if not install.given.postgres:
        psql = shlex.quote(str(postgres.psql_binary()))
    return Access(
        profile=install.profile,
        home=install.home,
        url=install.url,
        username="admin",
        password=install.secrets.airflow_admin,
        psql=f"PGSERVICEFILE={service_file} {psql} service=auditor",
        connections_file=install.connections_file,
        started=started,
    )


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another up or down is at work on {home}") from error
        yield
