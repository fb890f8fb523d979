"""The rival's own virtual environment: cryptofeed 3 needs Python 3.13, which need not be the one that runs us."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_ENVIRONMENT = _REPOSITORY / ".coinswarm" / "bench-cryptofeed"
_REQUIREMENTS = Path(__file__).with_name("cryptofeed.txt")
_VERSION = "import sys; raise SystemExit(sys.version_info[:2] != (3, 13))"


def interpreter() -> Path | None:
    """Python of the rival's environment, made at the first call; None if there is no Python 3.13 on this machine."""
    python = _ENVIRONMENT / "bin" / "python"
    stamp = _ENVIRONMENT / "installed"
    if stamp.is_file() and stamp.read_bytes() == _REQUIREMENTS.read_bytes():
        return python
    base = next(filter(_is_wanted, _candidates()), None)
    if base is None:
        return None
    uv = subprocess.run(
        ["bash", str(_REPOSITORY / "include" / "tools" / "uv.sh")], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", base, str(_ENVIRONMENT)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "--compile-bytecode"]
    subprocess.run([*install, "-r", str(_REQUIREMENTS)], check=True)
    stamp.write_bytes(_REQUIREMENTS.read_bytes())
    return python


def _candidates() -> list[str]:
    found = [shutil.which("python3.13"), shutil.which("python3")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [str(path) for path in (*found, *sorted(pyenv.glob("versions/3.13*/bin/python3.13"))) if path]


def _is_wanted(python: str) -> bool:
    # A version manager's stand-in may be on the path and still run nothing.
    return subprocess.run([python, "-c", _VERSION], capture_output=True, check=False).returncode == 0
