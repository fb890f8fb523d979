"""`make demo` as a stranger meets it: the command, the runs, the screens, and that a second call changes nothing.

Screenshots are kept in pytest's temporary folder, for a person to look at.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import requests
from tests.e2e.browser import PATIENCE, Screens
from tests.e2e.platform import Demo

from coinswarm.clients.channels import VENUES
from coinswarm.local import supervision
from coinswarm.sources import SOURCES

pytestmark = pytest.mark.e2e

# Whether any canvas has a painted pixel.
DRAWN = """() => [...document.querySelectorAll("canvas")].some(c => c.width > 0 && c.getContext("2d")
    .getImageData(0, 0, c.width, c.height).data.some(value => value > 0))"""


def test_up_when_it_has_ended_then_has_printed_what_agents_see(demo: Demo) -> None:
    planner, committee, delta, liquidations = re.split(
        "What a committee agent sees|Volume delta|Largest liquidations", demo.printed
    )
    lines = [line for line in planner.splitlines() if re.search(r"\b(BTC|ETH)-USD\b", line)]
    assert len(lines) == 12
    assert all(re.search(r"\d\.\d\d .*%.*%.* [01]\.\d{3} ", line) for line in lines), demo.printed
    for venue in VENUES:
        assert re.search(rf"BTC-\S+ +│ {venue} +│ [\d,]+\.\d\d ", committee), demo.printed
    assert re.search(r"BTC-USD +│ binance +│ \d\d:00 +│ -?\d+", delta), demo.printed
    assert re.search(r"(BTC|ETH)-USD +│ (long|short) +│", liquidations), demo.printed


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
    assert {event["source_dag_id"].split("__")[0] for event in events} <= {
        "ingest",
        "backfill_history",
        "archive_ticks",
        "repair_gaps",
    }
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


def test_up_when_called_again_then_starts_and_fetches_nothing(demo: Demo) -> None:
    before = _by_hand(demo)
    again = demo.command("up", "--demo")
    assert again.returncode == 0, again.stderr
    assert "It was running already." in again.stdout
    assert "What a planner sees" in again.stdout
    assert _by_hand(demo) == before


def _by_hand(demo: Demo) -> dict[str, Any]:
    """What `up` starts and asks for; schedules and live ticks go on meanwhile."""
    return {
        "pids": {state.name: state.pid for state in supervision.states(demo.home)},
        "runs": {(run["dag_id"], run["dag_run_id"]) for run in demo.runs() if run["run_type"] == "manual"},
        "history": demo.query("select count(*) from ops.batches where dag_id = 'backfill_history'"),
        "requests": demo.query("select count(*) from ops.stream_gaps where reason = 'requested'"),
    }
