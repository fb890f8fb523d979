from __future__ import annotations

import configparser
import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from coinswarm.errors import UserError
from coinswarm.local import airflow, platform, rendering, settings
from coinswarm.local.programs import Program
from coinswarm.local.settings import Installation, Secrets

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "COINSWARM_HOME",
        "COINSWARM_PORT_BASE",
        "COINSWARM_PG_DSN",
        "COINSWARM_REDIS_URL",
        "COINSWARM_S3_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "REPOSITORY", tmp_path)  # no .env of the developer


@pytest.fixture
def install(tmp_path: Path) -> Installation:
    return settings.installation("live", tmp_path / "live")


def _secrets(install: Installation) -> dict[str, str]:
    return asdict(install.secrets)


def test_secrets_when_asked_again_then_are_the_same_and_private(install: Installation) -> None:
    path = install.home / "secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings.installation("live", install.home).secrets == install.secrets
    assert len(set(_secrets(install).values())) == len(fields(Secrets))
    assert len(install.secrets.airflow_jwt.encode()) >= 64


def test_secrets_of_two_installations_differ(install: Installation, tmp_path: Path) -> None:
    other = settings.installation("demo", tmp_path / "demo")
    assert not set(_secrets(install).values()) & set(_secrets(other).values())


def test_secrets_when_a_new_one_is_introduced_then_the_old_ones_stay(install: Installation) -> None:
    path = install.home / "secrets.json"
    known = json.loads(path.read_text())
    del known["redis"]
    path.write_text(json.dumps(known))
    again = settings.installation("live", install.home).secrets
    assert again.redis != install.secrets.redis
    assert again.airflow_fernet_key == install.secrets.airflow_fernet_key


def test_installation_when_the_folder_is_the_other_profiles_then_refuses(install: Installation) -> None:
    with pytest.raises(UserError, match="holds the live profile"):
        settings.installation("demo", install.home)


def test_installation_when_the_folder_has_other_files_then_refuses(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        settings.installation("live", tmp_path)


def test_clean_when_the_folder_is_not_ours_then_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    assert platform.clean("live", home=tmp_path) is None
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("base", ["80", "abc", "60000", "20400; rm"])
def test_port_base_when_unusable_then_is_named(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINSWARM_PORT_BASE", base)
    with pytest.raises(UserError, match="COINSWARM_PORT_BASE"):
        settings.installation("live", tmp_path / "x")


def test_ports_of_the_two_profiles_do_not_meet(install: Installation, tmp_path: Path) -> None:
    demo = settings.installation("demo", tmp_path / "demo")
    ports = [*install.embedded_ports.values(), *demo.embedded_ports.values()]
    assert len(set(ports)) == len(ports)


def test_given_servers_when_live_then_replace_the_embedded_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINSWARM_PG_DSN", "postgresql://boss:p%40ss@db.example.com:6000/postgres")
    monkeypatch.setenv("COINSWARM_REDIS_URL", "rediss://u:s@redis.example.com/3")
    monkeypatch.setenv("COINSWARM_S3_URL", "https://AK:S%2FK@s3.example.com/bucket?region=eu-central-1")
    live = settings.installation("live", tmp_path / "live")
    assert (live.owner.login, live.owner.password, live.owner.port) == ("boss", "p@ss", 6000)
    assert live.servers["pg_planner"].host == "db.example.com"
    assert live.servers["redis_ticks"].schema == "3"
    lake = live.servers["s3_lake"]
    assert (lake.host, lake.schema, lake.password) == ("https://s3.example.com", "bucket", "S/K")
    assert lake.extra == {"region": "eu-central-1"}
    assert set(live.embedded_ports) == {"Airflow UI and API"}
    assert set(settings.installation("demo", tmp_path / "demo").embedded_ports) > {"PostgreSQL", "Redis"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COINSWARM_PG_DSN", "mysql://secret@h/d"),
        ("COINSWARM_REDIS_URL", "http://:secret@h"),
        ("COINSWARM_S3_URL", "https://s3.example.com/secret"),
    ],
)
def test_given_server_when_its_url_is_wrong_then_it_is_named_and_not_shown(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=name) as caught:
        settings.installation("live", tmp_path / "live")
    assert "secret" not in str(caught.value)


def test_supervisor_conf_holds_no_secret_and_starts_nothing_by_itself(install: Installation, tmp_path: Path) -> None:
    odd = Program("odd", ("/bin/run", "100% of it", "a b"), tmp_path, tmp_path / "odd.log", env={"RATE": "5%"})
    text = rendering.supervisor_conf(install, [*airflow.programs(install), odd], tmp_path / "s.sock")
    assert [value for value in _secrets(install).values() if value in text] == []
    parsed = configparser.ConfigParser()
    parsed.read_string(text)
    assert parsed["program:odd"]["command"] == "/bin/run '100% of it' 'a b'"
    assert parsed["program:odd"]["environment"] == 'RATE="5%"'
    assert {parsed[s]["autostart"] for s in parsed.sections() if s.startswith("program:")} == {"False"}


def test_programs_have_no_secret_in_their_arguments(install: Installation) -> None:
    for program in airflow.programs(install):
        arguments = " ".join(program.argv) + json.dumps(dict(program.env))
        assert [value for value in _secrets(install).values() if value in arguments] == []


def test_airflow_cfg_listens_on_loopback_and_lets_nobody_in_without_the_login(install: Installation) -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(rendering.airflow_cfg(install))
    assert parsed["api"]["host"] == "127.0.0.1"
    assert parsed["core"]["simple_auth_manager_all_admins"] == "False"
    assert parsed["core"]["fernet_key"] == install.secrets.airflow_fernet_key
    assert json.loads(parsed["secrets"]["backend_kwargs"])["connections_file_path"] == str(install.connections_file)


def test_environment_of_components_has_no_owner_no_key_and_no_foreign_airflow(
    install: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINSWARM_PG_DSN", "postgresql://owner:secret@h/d")
    monkeypatch.setenv("COINSWARM_API_KEY_FRED", "secret")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "secret")
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_FRED", "mine")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    live = platform.environment(install)
    assert "secret" not in "".join(live.values())
    assert "PYTHONDONTWRITEBYTECODE" not in live
    assert live["AIRFLOW_CONN_HTTP_FRED"] == "mine"
    assert "AIRFLOW_CONN_HTTP_FRED" not in platform.environment(settings.installation("demo", tmp_path / "demo"))
