"""The configuration files of an installation, as text: pure functions, secrets only in files that are written 0600."""

from __future__ import annotations

import configparser
import io
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from coinswarm.local.programs import Program
from coinswarm.local.settings import REPOSITORY, Installation

AIRFLOW_LOCAL_SETTINGS = """# LocalExecutor forks the scheduler: what is imported here is free in every task.

import sys

if sys.argv[1:2] == ["scheduler"]:
    from coinswarm.local.preload import preload

    preload()
"""


def airflow_cfg(install: Installation) -> str:
    """Airflow's configuration for one machine: LocalExecutor, loopback, one generated admin login."""
    database = install.airflow_database
    conn = f"{database.login}:{quote(database.password, safe='')}@{database.host}:{database.port}/{database.schema}"
    backend = {"connections_file_path": str(install.connections_file)}
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": REPOSITORY / "dags",
            "plugins_folder": REPOSITORY / "plugins",
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "dags_are_paused_at_creation": False,
            "fernet_key": install.secrets.airflow_fernet_key,
            "execution_api_server_url": f"{install.url}/execution/",
            "simple_auth_manager_all_admins": False,
            "simple_auth_manager_users": "admin:admin",
            "simple_auth_manager_passwords_file": install.airflow_home / "passwords.json",
            "default_timezone": "utc",
        },
        "database": {"sql_alchemy_conn": f"postgresql+psycopg2://{conn}"},
        "secrets": {
            "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "backend_kwargs": json.dumps(backend),
        },
        "api": {
            "host": "127.0.0.1",
            "port": install.ports.api,
            "base_url": install.url,
            "workers": 1,
            "secret_key": install.secrets.airflow_session,
            "expose_config": False,
        },
        "api_auth": {"jwt_secret": install.secrets.airflow_jwt},
        "scheduler": {"scheduler_idle_sleep_time": 0.2},  # default 1 s: a chain of tasks takes 4 times as long
        "workers": {"min_heartbeat_interval": 1},  # default 5 s: short tasks are randomly reported that much later
        "triggerer": {"triggerer_health_check_threshold": 10, "job_heartbeat_sec": 2},
        "dag_processor": {"refresh_interval": 30, "min_file_process_interval": 60},
        "logging": {
            "base_log_folder": install.logs / "tasks",
            "dag_processor_child_process_log_directory": install.logs / "dag-processor",
        },
        "usage_data_collection": {"enabled": False},
    }
    return _ini(sections)


def supervisor_conf(install: Installation, programs: Iterable[Program], socket: Path) -> str:
    """Supervisord's configuration; nothing starts by itself, because databases must be migrated in between."""
    sections: dict[str, dict[str, object]] = {
        "unix_http_server": {"file": socket, "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
        "supervisord": {
            "logfile": install.logs / "supervisord.log",
            "logfile_maxbytes": "10MB",
            "logfile_backups": 2,
            "pidfile": install.home / "supervisord.pid",
            "directory": install.home,
            "umask": "077",
            "identifier": f"coinswarm-{install.profile}",
            **({"user": "root"} if os.geteuid() == 0 else {}),
        },
        "supervisorctl": {"serverurl": f"unix://{socket}"},
    }
    for program in programs:
        environment = ",".join(f'{name}="{value}"' for name, value in sorted(program.env.items()))
        sections[f"program:{program.name}"] = {
            "command": shlex.join(program.argv),
            "directory": program.folder,
            "autostart": False,
            "autorestart": True,
            "startsecs": 1,
            "startretries": 5,
            "priority": program.order,
            "stopsignal": program.stop_signal.name.removeprefix("SIG"),
            "stopwaitsecs": program.stop_seconds,
            "killasgroup": True,
            "redirect_stderr": True,
            "stdout_logfile": program.log,
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": 3,
            **({"user": program.user} if program.user else {}),
            **({"environment": environment} if environment else {}),
        }
    return _ini(sections)


def pg_service(install: Installation) -> str:
    """Libpq's service file for people: `psql service=auditor` without a password on the command line."""
    sections: dict[str, dict[str, object]] = {}
    for role in ("planner", "auditor"):
        conn = install.servers[f"pg_{role}"]
        sections[role] = {
            "host": conn.host,
            "port": conn.port,
            "dbname": conn.schema,
            "user": conn.login,
            "password": conn.password,
        }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def _ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for name, section in sections.items():
        # Both readers interpolate with `%`.
        parser[name] = {key: str(value).replace("%", "%%") for key, value in section.items()}
    buffer = io.StringIO()
    parser.write(buffer)
    return buffer.getvalue()
