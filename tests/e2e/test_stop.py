"""The end of the demo; it has to be the last file of the folder."""

from __future__ import annotations

import psutil
import pytest
from tests.e2e.platform import Demo

from coinswarm.local import supervision

pytestmark = pytest.mark.e2e


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
