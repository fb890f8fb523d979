"""The many-machines files, checked without a container engine: schema, cross-references, secrets, documentation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import ROOT

from coinswarm.local import airflow_settings, redis

pytestmark = pytest.mark.unit

BIN = Path(sys.executable).parent
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = airflow_settings.read(ROOT / "airflow_settings.yaml")
DOCUMENTED = set(re.findall(r"^#?(COINSWARM_[A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
OURS = [name for name, service in SERVICES.items() if "build" in service]


def _schema_check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_file_obeys_the_compose_schema() -> None:
    done = _schema_check(ROOT / "docker-compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_schema_check_when_a_key_is_misspelt_then_fails(tmp_path: Path) -> None:
    bad = tmp_path / "docker-compose.yaml"
    bad.write_text(COMPOSE_TEXT.replace("healthcheck:", "healtcheck:", 1))
    assert _schema_check(bad).returncode != 0


def test_dockerfile_has_no_lint() -> None:
    command = [BIN / "hadolint", "--failure-threshold", "warning", ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_dockerfile_copies_only_what_exists_and_ends_unprivileged() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    allowed = set((ROOT / ".dockerignore").read_text().split())
    for line in lines:
        if line.startswith("COPY"):
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in allowed, f"{source} is not let through by .dockerignore"
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] != "root"
    assert any("--require-hashes" in line and "--no-deps" in line for line in lines)


def test_image_has_the_airflow_of_the_lock() -> None:
    lock = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    image = re.search(r"^FROM apache/airflow:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert lock
    assert image
    assert image[1] == lock[1]


@pytest.mark.parametrize("name", SERVICES)
def test_service_refers_only_to_what_is_declared(name: str) -> None:
    service = SERVICES[name]
    for other, condition in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert other != name
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}, which has no check"
    for volume in service.get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"], volume
    for config in service.get("configs", []):
        assert config["source"] in COMPOSE["configs"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_service_that_stays_up_says_whether_it_is_healthy(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_image_of_others_is_pinned(name: str) -> None:
    image = re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", SERVICES[name]["image"])
    assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), image


def test_no_secret_has_a_default_and_every_variable_is_documented() -> None:
    variables = dict(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}", COMPOSE_TEXT))
    assert set(variables) <= DOCUMENTED, set(variables) - DOCUMENTED
    for name, rest in variables.items():
        if re.search("PASSWORD|SECRET|ACCESS_KEY|FERNET", name) and "INFLUXDB" not in name:
            assert rest == ":?", f"{name} must stop compose if it is unset"
    assert re.findall(r"(?i)password['\"]?:\s*['\"]?[a-z0-9]{4,}", COMPOSE_TEXT) == []


def test_owner_of_the_database_is_known_to_the_migration_job_alone() -> None:
    holders = {name for name, service in SERVICES.items() if "PG_OWNER_PASSWORD" in json.dumps(service)}
    assert holders == {"postgres", "migrate"}


@pytest.mark.parametrize("name", OURS)
def test_component_has_every_declared_connection(name: str) -> None:
    environment = SERVICES[name]["environment"]
    declared = {entry["conn_id"]: entry for entry in SETTINGS["connections"]}
    given = {
        key.removeprefix("AIRFLOW_CONN_").lower(): json.loads(re.sub(r"\$\{[^}]*\}", "secret", value))
        for key, value in environment.items()
        if key.startswith("AIRFLOW_CONN_")
    }
    assert set(given) == set(declared)
    for conn_id, fields in given.items():
        assert fields["conn_type"] == declared[conn_id]["conn_type"]
        for key in ("host", "port", "schema"):
            assert fields.get(key) == declared[conn_id].get(f"conn_{key}"), (conn_id, key)
        if conn_id.startswith("pg_"):
            assert fields["login"] == declared[conn_id]["conn_login"] == conn_id.removeprefix("pg_")


def test_ticks_have_a_triggerer_of_their_own_and_no_queue_is_without_one() -> None:
    queues = [
        service["command"][service["command"].index("--queues") + 1] if "--queues" in service["command"] else ""
        for name, service in SERVICES.items()
        if name.startswith("triggerer")
    ]
    assert sorted(queues) == ["", "default", "streams"]
    # A task that starts on a worker and then waits in a triggerer needs both on its queue.
    worker = SERVICES["worker"]["command"]
    assert set(worker[worker.index("--queues") + 1].split(",")) == {"default", "streams"}
    assert SERVICES["scheduler"]["environment"]["AIRFLOW__TRIGGERER__QUEUES_ENABLED"] == "True"


def test_committee_has_the_rights_that_it_has_on_one_machine() -> None:
    users = COMPOSE["configs"]["redis_users"]["content"]
    (committee,) = [line for line in users.splitlines() if line.startswith(f"user {redis.READER} ")]
    assert committee.split(" ", 4)[4] == redis.READER_RIGHTS


def test_optional_mirrors_start_only_when_asked_for() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "influxdb": ["influxdb"],
        "kafka": ["kafka"],
    }
