"""Coverage-guided fuzzing of every tick decoder: frames grow towards code that no frame has reached yet.

    make fuzz                                  a minute for each protocol
    make fuzz ARGS="okx kraken --seconds 600"

No test: it ends because time is over, not because nothing is left to find. It begins with the documented frames of
`tests/unit/ticks/decoders.py`, keeps what reached something new in `.coinswarm/fuzz/<protocol>`, and is judged like the
property-based tests. A frame that breaks a decoder is printed, and belongs into these tests. atheris comes beside
the environment, from `requirements.txt` here: nothing else needs it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.unit.ticks.decoders import GOOD

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".coinswarm" / "fuzz"
LIBRARIES = KEPT / "libraries"
_MOST_TOLD = 5_000


def main() -> int:
    """Fuzz the named protocols, or all; 1 if a decoder broke."""
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("protocols", nargs="*", help=f"of {', '.join(sorted(GOOD))}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each protocol, default 60")
    given = parser.parse_args()
    names = given.protocols or sorted(GOOD)
    if unknown := set(names) - set(GOOD):
        parser.error(f"no such protocol: {', '.join(sorted(unknown))}; there are {', '.join(sorted(GOOD))}")
    _install()
    broken = [name for name in names if not _outlives(name, given.seconds)]
    print(f"broken: {', '.join(broken)}" if broken else f"{len(names)} decoders held", flush=True)
    return 1 if broken else 0


def _install() -> None:
    requirements = Path(__file__).with_name("requirements.txt")
    stamp = LIBRARIES / "installed"
    if stamp.is_file() and stamp.read_bytes() == requirements.read_bytes():
        return
    tool = ROOT / "include" / "tools" / "uv.sh"
    uv = subprocess.run(["bash", str(tool)], capture_output=True, text=True, check=True).stdout.strip()
    install = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(LIBRARIES)]
    subprocess.run([*install, "--require-hashes", "-r", str(requirements)], check=True)
    stamp.write_bytes(requirements.read_bytes())


def _outlives(name: str, seconds: int) -> bool:
    """A process for each: libFuzzer ends the one that it runs in."""
    paths = [str(LIBRARIES), str(ROOT), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "tests.fuzz.one_decoder", name, str(seconds), str(KEPT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    # atheris tells of the exception, libFuzzer of the frame; the rest is progress.
    said = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("#", "INFO: ", "WARNING: "))
    ]
    held = done.returncode == 0
    told = "\n".join(said[-1:] if held else said)[-_MOST_TOLD:]
    print(f"{name:<18} {told or 'nothing was said'}", flush=True)
    return held


if __name__ == "__main__":
    raise SystemExit(main())
