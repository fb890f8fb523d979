"""`make demo` as a stranger meets it: the command, the runs, the screens, and that a second call changes nothing.

One platform for all tests of the file. Screenshots are kept in pytest's temporary folder, for a person to look at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import pytest_socket
import requests
from tests.e2e.browser import CHROMIUM, PATIENCE, Screens, logged_in

from coinswarm.connections import from_fields
from coinswarm.local import ports, supervision
from coinswarm.sources import SOURCES

pytestmark = pytest.mark.e2e

UP_PATIENCE = 900  # seconds; a quiet machine of two cores needs three minutes
ATTEMPTS = 4
# Whether any canvas has a painted pixel.
DRAWN = """() => [...document.querySelectorAll("canvas")].some(c => c.width > 0 && c.getContext("2d")
    .getImageData(0, 0, c.width, c.height).data.some(value => value > 0))"""


@dataclass(frozen=True)
class Demo:
    """A platform that `up --demo` has started, and what it printed."""

    home: Path
    environment: dict[str, str]
    printed: str

    @property
    def url(self) -> str:
        return self._printed(r"Airflow UI\s+(\S+)")

    @property
    def password(self) -> str:
        return self._printed(r"login\s+admin / (\S+)")

    @property
    def psql(self) -> str:
        return self._printed(r"SQL\s+(\S.*)")

    def _printed(self, pattern: str) -> str:
        found = re.search(pattern, self.printed)
        assert found, self.printed
        return found.group(1).strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "coinswarm", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_PATIENCE,
            check=False,
        )

    def get(self, path: str, **parameters: Any) -> Any:
        answer = requests.get(
            f"{self.url}/api/v2/{path}",
            params=parameters,
            headers={"Authorization": f"Bearer {self.token()}"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json()

    def token(self) -> str:
        answer = requests.post(
            f"{self.url}/auth/token", json={"username": "admin", "password": self.password}, timeout=60
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def runs(self, dag_id: str = "~", **parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"dags/{dag_id}/dagRuns", limit=100, offset=len(found), order_by="id", **parameters)
            found += page["dag_runs"]
            if len(found) >= page["total_entries"] or not page["dag_runs"]:
                return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        fields = json.loads((self.home / "connections.json").read_text())["pg_auditor"]
        with psycopg.connect(from_fields("pg_auditor", fields).dsn) as session:
            return session.execute(sql).fetchall()

    def row_counts(self, schema: str) -> dict[str, int]:
        tables = self.query(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            f" where n.nspname = '{schema}' and c.relkind in ('r', 'p') and not c.relispartition"
        )
        assert tables
        union = " union all ".join(f"select '{t}', count(*) from {schema}.{t}" for (t,) in tables)
        return dict(self.query(union))

    def processes(self) -> list[psutil.Process]:
        leader = supervision.supervisor_process(self.home)
        assert leader
        return [leader, *leader.children(recursive=True)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The demo platform in a data folder of its own, on free ports; stopped at the end whatever happened."""
    pytest_socket.enable_socket()
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-demo-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user if we are root
    home = folder / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COINSWARM_", "AIRFLOW_", "PYTEST_"))}
    environment |= {
        "COINSWARM_HOME": str(home),
        "COINSWARM_PORT_BASE": str(_free_port_base()),
        "COINSWARM_CONNECTIONS": str(home / "connections.json"),
        "COLUMNS": "160",
    }
    found = Demo(home, environment, "")
    try:
        done = found.command("up", "--demo")
        print(done.stdout, done.stderr)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{found.command('logs', '--demo').stdout}"
        yield Demo(home, environment, done.stdout)
    finally:
        supervision.stop_all(home)
        subprocess.run(["rm", "-rf", str(folder)], check=False)


@pytest.fixture(scope="module")
def screens(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screens]:
    """A browser that is logged in."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    folder = tmp_path_factory.mktemp("screens")
    print(f"screenshots: {folder}")
    with logged_in(demo.url, "admin", demo.password, folder) as found:
        yield found


def _free_port_base() -> int:
    while True:
        (base,) = ports.free_ports(1)
        if base < 55_000 and all(
            ports.is_free(p) for offset in range(100) for p in (base + offset, base + offset + ports.GRPC_OFFSET)
        ):
            return base


def test_up_when_it_has_ended_then_has_printed_what_planners_see(demo: Demo) -> None:
    assert "What a planner sees" in demo.printed
    lines = [line for line in demo.printed.splitlines() if re.search(r"\b(BTC|ETH)-USD\b", line)]
    assert len(lines) == 12
    assert all(re.search(r"\d\.\d\d .*%.*%.* [01]\.\d{3} ", line) for line in lines), demo.printed


def test_runs_when_the_demo_is_up_then_each_ingest_dag_and_the_marts_are_green(demo: Demo) -> None:
    green = {(run["dag_id"], run["state"]) for run in demo.runs(state="success")}
    wanted = [
        f"ingest__{slug}__{cadence}" for slug, spec in SOURCES.items() if spec.enabled for cadence in spec.cadences
    ]
    assert {source.split("__")[1] for source in wanted} > {"binance", "bybit", "coinbase", "deribit", "kraken", "okx"}
    assert {(dag, "success") for dag in (*wanted, "build_planner_marts", "publish_docs", "backfill_history")} <= green
    assert [run["dag_run_id"] for run in demo.runs(state="failed")] == []
    assert demo.get("importErrors")["import_errors"] == []


def test_marts_when_raw_assets_change_then_their_run_was_triggered_by_ingest_dags(demo: Demo) -> None:
    linked = [run for run in demo.runs("build_planner_marts") if run["run_type"] == "asset_triggered"]
    assert linked
    events = [
        event
        for run in linked
        for event in demo.get(f"dags/build_planner_marts/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")[
            "asset_events"
        ]
    ]
    assert {event["source_dag_id"].split("__")[0] for event in events} <= {"ingest", "backfill_history"}
    assert any(event["source_dag_id"].startswith("ingest__") and event["name"].startswith("raw.") for event in events)


@pytest.mark.parametrize(
    "path",
    [
        "/documents/data_docs/index.html",
        "/documents/dbt_docs/static_index.html",
        "/documents/data_docs/static/data_docs.css",
        "/api/v2/dags",
        "/api/v2/connections",
    ],
)
def test_pages_when_anonymous_then_refuse_and_for_the_admin_answer(demo: Demo, path: str) -> None:
    assert requests.get(f"{demo.url}{path}", timeout=60).status_code == 401
    as_admin = requests.get(f"{demo.url}{path}", headers={"Authorization": f"Bearer {demo.token()}"}, timeout=60)
    assert as_admin.status_code == 200
    forged = requests.get(f"{demo.url}{path}", headers={"Authorization": "Bearer x.y.z"}, timeout=60)
    assert forged.status_code in (401, 403)


def test_documents_when_a_name_leads_outside_then_are_not_found(demo: Demo) -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {demo.token()}"
        for name in ("data_docs/%2e%2e/%2e%2e/secrets.json", "%2e%2e/secrets.json", "postgres/PG_VERSION"):
            assert session.get(f"{demo.url}/documents/{name}", timeout=60).status_code == 404


def test_sql_line_when_run_in_a_shell_then_reads_marts_but_no_secret(demo: Demo) -> None:
    sql = "select count(*) > 100, current_user from marts.market_aggregates_current"
    done = subprocess.run(
        f'{demo.psql} --no-psqlrc -Atc "{sql}"', shell=True, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "t|auditor", done.stderr


def test_verify_when_nothing_was_touched_then_passes(demo: Demo) -> None:
    done = demo.command("verify")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "The ledger agrees with raw" in done.stdout


def test_dag_pages_show_runs_and_tasks(screens: Screens) -> None:
    page = screens.page
    screens.open("/dags?limit=100")
    page.get_by_text("ingest__binance__15m", exact=True).first.wait_for(timeout=PATIENCE)
    page.get_by_text("build_planner_marts", exact=True).first.wait_for(timeout=PATIENCE)
    screens.keep("dag_list")
    screens.open("/dags/ingest__binance__15m")
    page.get_by_label("Show Graph").click(timeout=PATIENCE)
    page.locator(".react-flow__node", has_text="ohlcv_15m").first.wait_for(timeout=PATIENCE)
    page.get_by_label("Expand all task groups").click(timeout=PATIENCE)
    page.locator(".react-flow__node", has_text="land").first.wait_for(timeout=PATIENCE)
    screens.keep("dag_graph")
    assert screens.outside == []


def test_asset_pages_show_what_links_the_dags(demo: Demo, screens: Screens) -> None:
    page = screens.page
    screens.open("/assets")
    page.get_by_text("Producing Tasks").first.wait_for(timeout=PATIENCE)
    page.get_by_text(re.compile(r"^raw\.")).first.wait_for(timeout=PATIENCE)
    screens.keep("assets")
    (asset,) = demo.get("assets", name_pattern="marts.planner_features")["assets"]
    screens.open(f"/assets/{asset['id']}")
    page.locator(".react-flow__node", has_text="build_planner_marts").first.wait_for(timeout=PATIENCE)
    page.locator(".react-flow__node", has_text="marts.planner_features").first.wait_for(timeout=PATIENCE)
    screens.keep("asset_graph")
    assert screens.outside == []


def test_data_docs_pages_list_suites_and_lead_to_their_checks(screens: Screens) -> None:
    screens.open("/plugin/data-docs")
    index = screens.framed("/documents/data_docs/")
    link = index.get_by_role("link", name="binance.ohlcv_15m", exact=True)
    link.wait_for(timeout=PATIENCE)
    screens.keep("data_docs_index")
    link.click()
    index.get_by_text("close is above 0.").first.wait_for(timeout=PATIENCE)
    assert index.locator(".badge.passed").count() > 20
    screens.keep("data_docs_suite")
    assert screens.outside == []


def test_dbt_docs_pages_draw_the_lineage(screens: Screens) -> None:
    screens.open("/plugin/dbt-docs")
    docs = screens.framed("/documents/dbt_docs/")
    docs.get_by_role("heading", name="Coinswarm marts").wait_for(timeout=PATIENCE)
    screens.keep("dbt_docs")
    docs.get_by_title("View Lineage Graph").click(timeout=PATIENCE)
    docs.locator("canvas").first.wait_for(state="visible", timeout=PATIENCE)
    # It is drawn after it is laid out: a picture of the empty canvas would say nothing.
    docs.wait_for_function(DRAWN, timeout=PATIENCE)
    screens.keep("dbt_docs_lineage")
    assert screens.outside == []


def test_up_when_called_again_then_starts_and_changes_nothing(demo: Demo) -> None:
    for _ in range(ATTEMPTS):
        before = _quiet_state(demo)
        again = demo.command("up", "--demo")
        assert again.returncode == 0, again.stderr
        after = _state(demo)
        # On the quarter hour the schedule brings new runs, whoever calls what.
        if not {run for run in after["runs"] - before["runs"] if run[2] != "manual"}:
            break
    else:
        pytest.fail("no quiet moment between scheduled runs")
    assert "It was running already." in again.stdout
    assert "What a planner sees" in again.stdout
    assert after == before


def _quiet_state(demo: Demo) -> dict[str, Any]:
    deadline = time.monotonic() + UP_PATIENCE
    while any(demo.runs(state=["queued", "running"])):
        assert time.monotonic() < deadline
        time.sleep(1)
    return _state(demo)


def _state(demo: Demo) -> dict[str, Any]:
    return {
        "pids": {state.name: state.pid for state in supervision.states(demo.home)},
        "runs": {(run["dag_id"], run["dag_run_id"], run["run_type"]) for run in demo.runs()},
        "raw": demo.row_counts("raw"),
        "marts": demo.row_counts("marts"),
        "ledger": demo.query("select count(*), max(seq) from ops.batches"),
    }


def test_down_when_called_then_leaves_no_process_of_its_home(demo: Demo) -> None:
    family = demo.processes()
    assert len(family) > 8
    done = demo.command("down", "--demo")
    assert done.returncode == 0, done.stderr
    assert "airflow-scheduler" in done.stdout
    psutil.wait_procs(family, timeout=30)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert supervision.orphans(demo.home) == []
    named = [
        p.info for p in psutil.process_iter(["pid", "cmdline"]) if str(demo.home) in " ".join(p.info["cmdline"] or ())
    ]
    assert named == []
    assert "nothing was running" in demo.command("down", "--demo").stdout
