#!/usr/bin/env bash
# Make or update the virtual environment $1 from requirements-dev.txt: locked, with hashes, bytecode compiled.
set -euo pipefail

venv="$1"
root="$(cd "$(dirname "$0")/../.." && pwd)"
cd "$root"
uv="$(bash include/tools/uv.sh)"

if ! "$venv/bin/python" -c '' 2>/dev/null; then
  # A Python of this machine first; without one uv fetches it.
  for python in python3.11 python3.12 python3.13 python3; do
    if path="$(command -v "$python")" && "$path" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      break
    fi
    path=3.11
  done
  "$uv" venv --quiet --clear --python "$path" "$venv"
fi

echo "installing the locked requirements into $venv"
"$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode -r requirements-dev.txt
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps -e .
