"""The command line: `coinswarm`, or `python -m coinswarm`."""

from __future__ import annotations

import sys

from coinswarm.cli import app
from coinswarm.errors import CoinswarmError


def main() -> None:
    """Run the command line; an expected error is one line on stderr and exit code 1."""
    try:
        app(standalone_mode=True)
    except CoinswarmError as error:
        print(f"coinswarm: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
