#!/usr/bin/env bash
# Print the path of a working uv; if there is none, install it for this checkout alone (.coinswarm/tools).
set -euo pipefail

tools="$(cd "$(dirname "$0")/../.." && pwd)/.coinswarm/tools"
for candidate in "$(command -v uv || true)" "$tools/bin/uv"; do
  if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done

for python in python3.11 python3.12 python3.13 python3 python; do
  if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 8) <= sys.version_info)' 2>/dev/null; then
    "$python" -m venv "$tools" >&2
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' >&2
    echo "$tools/bin/uv"
    exit 0
  fi
done

echo "neither uv nor a Python with venv is on this machine: install Python 3.11, 3.12 or 3.13 (Debian: python3-venv)" >&2
exit 1
