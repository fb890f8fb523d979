"""One demo platform for all tests of the folder: starting it takes minutes. `test_stop.py` ends it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from tests.e2e.browser import CHROMIUM, Screens, logged_in
from tests.e2e.platform import Demo

from coinswarm.local import ports, supervision


@pytest.fixture(scope="session")
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
    """A browser that is logged in; while it is open a loop runs in this thread, where other files run theirs."""
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
