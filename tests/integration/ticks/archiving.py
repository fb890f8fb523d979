"""A process that archives the streams over and over until it is told to stop, as `archive_ticks` does."""

from __future__ import annotations

import logging
import signal
import threading

from coinswarm.connections import resolve
from coinswarm.errors import StoreUnavailable
from coinswarm.ingest.archive import archive


def main() -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    while not stopping.is_set():
        try:
            print(archive(resolve, seconds=5.0).to_json(), flush=True)
        except StoreUnavailable as error:
            print(f"not now: {error}", flush=True)
        stopping.wait(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
