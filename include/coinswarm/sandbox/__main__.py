"""`python -m coinswarm.sandbox simulate|replay`: the sandbox as a process of its own."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from coinswarm.sandbox.fault_rules import rule_from_json
from coinswarm.sandbox.faults import Fault
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import DEFAULT_PORT, DEFAULT_SEED, MODES, serve
from coinswarm.sandbox.streams.faults import StreamFault


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; faults and revisions also come from `COINSWARM_SANDBOX_FAULTS` and `…_REVISIONS`."""
    parser = argparse.ArgumentParser(prog="python -m coinswarm.sandbox", description=__doc__)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--replay-csv", type=Path, help="history of 8-hour bars and funding (.csv or .csv.gz)")
    parser.add_argument("--bodies", type=Path, help="folder with bodies.json and recorded bodies")
    parser.add_argument("--now", help="moment at which the clock stands, ISO 8601 with zone; default: the wall clock")
    parser.add_argument("--faults", default=os.environ.get("COINSWARM_SANDBOX_FAULTS", ""), help="JSON list of rules")
    parser.add_argument(
        "--revisions", default=os.environ.get("COINSWARM_SANDBOX_REVISIONS", ""), help="JSON list of restated bars"
    )
    parser.add_argument(
        "--stream-faults", default=os.environ.get("COINSWARM_SANDBOX_STREAM_FAULTS", ""), help="JSON list of rules"
    )
    parser.add_argument(
        "--tick-rate",
        type=float,
        default=float(os.environ.get("COINSWARM_SANDBOX_TICK_RATE") or 1.0),
        help="factor on the trades and book changes of a second, not on volumes",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # A supervisor's stop ends it as Ctrl-C does; a shell's background job does not hear Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        now = datetime.fromisoformat(options.now) if options.now else None
        if now is not None and now.tzinfo is None:
            raise ValueError("--now needs a time zone")
        serve(
            options.mode,
            host=options.host,
            port=options.port,
            seed=options.seed,
            replay_csv=options.replay_csv,
            bodies=options.bodies,
            clock=Clock(now),
            faults=[rule_from_json(Fault, rule) for rule in _objects(options.faults, "--faults")],
            revisions=_objects(options.revisions, "--revisions"),
            stream_faults=[
                rule_from_json(StreamFault, rule) for rule in _objects(options.stream_faults, "--stream-faults")
            ],
            tick_rate=options.tick_rate,
        )
    except KeyboardInterrupt:
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _objects(text: str, option: str) -> list[dict[str, Any]]:
    value = json.loads(text) if text else []
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{option} is not a JSON list of objects")
    return entries


if __name__ == "__main__":
    raise SystemExit(main())
