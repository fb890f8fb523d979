"""What one installation is: its folder, ports, secrets and servers. Everything else is rendered from this."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import dotenv

import coinswarm
from coinswarm.connections import Connection
from coinswarm.errors import UserError
from coinswarm.local import postgres, redis, s3
from coinswarm.local.files import write_private

REPOSITORY = Path(coinswarm.__file__).resolve().parents[2]
PROFILES: Mapping[str, int] = {"live": 20_400, "demo": 20_500}
ROLES = ("ingest", "transform", "planner", "auditor")

_API_KEY = re.compile(r"COINSWARM_API_KEY_([A-Z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of an installation, at fixed distances from a base."""

    base: int

    @property
    def api(self) -> int:
        """Airflow's UI and API."""
        return self.base

    @property
    def sandbox(self) -> int:
        """The stand-in providers (demo only)."""
        return self.base + 8

    @property
    def postgres(self) -> int:
        """PostgreSQL."""
        return self.base + 32

    @property
    def redis(self) -> int:
        """Redis."""
        return self.base + 79

    @property
    def s3(self) -> s3.S3Ports:
        """SeaweedFS."""
        return s3.S3Ports(
            s3=self.base + 33,
            master=self.base + 10,
            volume=self.base + 11,
            filer=self.base + 12,
            admin=self.base + 13,
        )


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Generated once per installation, kept in `secrets.json` (0600)."""

    postgres_superuser: str
    postgres_airflow: str
    postgres_ingest: str
    postgres_transform: str
    postgres_planner: str
    postgres_auditor: str
    redis: str
    redis_committee: str
    s3_access_key: str
    s3_secret_key: str
    airflow_admin: str
    airflow_fernet_key: str
    airflow_jwt: str
    airflow_session: str


@dataclass(frozen=True, slots=True)
class Given:
    """Servers named by the environment, used instead of the embedded ones (live profile only)."""

    postgres: Connection | None = None
    redis: Connection | None = None
    s3: Connection | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """One data folder with everything in it."""

    profile: str
    home: Path
    ports: Ports
    secrets: Secrets
    given: Given
    api_keys: Mapping[str, str]

    @property
    def owner(self) -> Connection:
        """PostgreSQL's superuser: migrations and passwords only."""
        return self.given.postgres or postgres.superuser(self.ports.postgres, self.secrets.postgres_superuser)

    @property
    def airflow_database(self) -> Connection:
        """Airflow's own database and role."""
        server = self.owner
        password = self.secrets.postgres_airflow
        return Connection(
            "airflow", host=server.host, port=server.port, login="airflow", password=password, schema="airflow"
        )

    @property
    def servers(self) -> dict[str, Connection]:
        """Connections to the servers, by the ids that components use."""
        server = self.owner
        found = {
            f"pg_{role}": Connection(
                f"pg_{role}",
                host=server.host,
                port=server.port,
                login=role,
                password=getattr(self.secrets, f"postgres_{role}"),
                schema="warehouse",
            )
            for role in ROLES
        }
        found["redis_ticks"] = self.given.redis or redis.connection(self.ports.redis, self.secrets.redis)
        # A given server has the users that it has: committee members come as whom the URL names.
        found["redis_committee"] = (
            replace(self.given.redis, conn_id="redis_committee")
            if self.given.redis
            else redis.reader_connection(self.ports.redis, self.secrets.redis_committee)
        )
        found["s3_lake"] = self.given.s3 or s3.connection(
            self.ports.s3.s3, self.secrets.s3_access_key, self.secrets.s3_secret_key
        )
        return found

    @property
    def embedded_ports(self) -> dict[str, int]:
        """Every port that this installation opens, by what it is for."""
        found = {"Airflow UI and API": self.ports.api}
        if self.profile == "demo":
            found["sandbox providers"] = self.ports.sandbox
        if not self.given.postgres:
            found["PostgreSQL"] = self.ports.postgres
        if not self.given.redis:
            found["Redis"] = self.ports.redis
        if not self.given.s3:
            for part in fields(s3.S3Ports):
                port = getattr(self.ports.s3, part.name)
                found |= {f"S3 {part.name}": port, f"S3 {part.name}, gRPC": port + 10_000}
        return found

    @property
    def url(self) -> str:
        """Airflow's UI."""
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def airflow_home(self) -> Path:
        """`AIRFLOW_HOME` of every component."""
        return self.home / "airflow"

    @property
    def logs(self) -> Path:
        """One file per program, and Airflow's task logs below `tasks`."""
        return self.home / "logs"

    @property
    def connections_file(self) -> Path:
        """What tasks, the command line and clients read (0600)."""
        return self.home / "connections.json"

    @property
    def pg_service_file(self) -> Path:
        """`PGSERVICEFILE` with services `planner` and `auditor` (0600)."""
        return self.home / "pg_service.conf"


def default_home(profile: str) -> Path:
    """Data folder of a profile: COINSWARM_HOME, else `.coinswarm/<profile>` in the repository.

    Raises:
        UserError: there is no such profile.
    """
    if profile not in PROFILES:
        raise UserError(f"there is no profile {profile!r}: {', '.join(PROFILES)}")
    given = _environment(profile).get("COINSWARM_HOME")
    return Path(given).expanduser().resolve() if given else REPOSITORY / ".coinswarm" / profile


def installation(profile: str, home: Path | None = None) -> Installation:
    """The installation in `home`; its secrets are generated at the first call and kept.

    Reads COINSWARM_* from the environment and, if live, from `.env` in the repository; the environment wins.

    Raises:
        UserError: the folder belongs to the other profile (live and sandbox data never share a store), or a variable
            has no meaning.
    """
    home = home or default_home(profile)
    environment = _environment(profile)
    _claim(home, profile)
    return Installation(
        profile=profile,
        home=home,
        ports=Ports(_port_base(profile, environment)),
        secrets=_load_secrets(home / "secrets.json"),
        given=_given(environment) if profile == "live" else Given(),
        api_keys=_api_keys(environment) if profile == "live" else {},
    )


def _claim(home: Path, profile: str) -> None:
    for parent in reversed(home.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755)
    if not home.exists():
        home.mkdir(mode=0o711)
    mark = home / "profile"
    if not mark.exists():
        if any(home.iterdir()):
            raise UserError(f"{home} is not empty and not a Coinswarm data folder: choose another COINSWARM_HOME")
        mark.write_text(profile + "\n")
    if mark.read_text().strip() != profile:
        raise UserError(f"{home} holds the {mark.read_text().strip()} profile: give {profile} its own COINSWARM_HOME")


def _load_secrets(path: Path) -> Secrets:
    known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    generated = Secrets(
        **{field.name: secrets.token_urlsafe(24) for field in fields(Secrets)}
        | {
            "s3_access_key": secrets.token_hex(10),
            "airflow_admin": secrets.token_urlsafe(12),
            "airflow_fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "airflow_jwt": secrets.token_urlsafe(64),
        }
    )
    found = Secrets(**{**asdict(generated), **known})
    write_private(path, json.dumps(asdict(found), indent=1))
    return found


def _port_base(profile: str, environment: Mapping[str, str]) -> int:
    text = environment.get("COINSWARM_PORT_BASE") or str(PROFILES[profile])
    if not text.isdecimal() or not 1024 <= int(text) <= 55_000:
        raise UserError(f"COINSWARM_PORT_BASE is {text[:20]!r}: give a port between 1024 and 55000")
    return int(text)


def _given(environment: Mapping[str, str]) -> Given:
    dsn, redis_url, s3_url = (environment.get(f"COINSWARM_{name}") for name in ("PG_DSN", "REDIS_URL", "S3_URL"))
    return Given(
        postgres=postgres.from_dsn(dsn) if dsn else None,
        redis=redis.from_url(redis_url) if redis_url else None,
        s3=s3.from_url(s3_url) if s3_url else None,
    )


def _api_keys(environment: Mapping[str, str]) -> dict[str, str]:
    matches = ((_API_KEY.fullmatch(name), value) for name, value in environment.items())
    return {match[1].lower(): value for match, value in matches if match and value}


def _environment(profile: str) -> dict[str, str]:
    file = dotenv.dotenv_values(REPOSITORY / ".env") if profile == "live" else {}
    return {**{name: value for name, value in file.items() if value}, **os.environ}
