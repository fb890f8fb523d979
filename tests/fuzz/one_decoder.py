"""The decoder of one protocol under atheris, in a process of its own: `one_decoder <protocol> <seconds> <folder>`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# What the fuzzer is to be guided by has to be imported under its eyes; a protocol's module is, when it is asked for.
with atheris.instrument_imports(include=["coinswarm.ticks"]):
    from tests.unit.ticks.decoders import GOOD, judge, venues

    CONNECTIONS = venues(sys.argv[1])

MEGABYTES = 1_000
LONGEST_FRAME = 4_096


def decode(data: bytes) -> None:
    """One frame, by every connection of the protocol."""
    for venue in CONNECTIONS:
        judge(venue, data)


def main(name: str, seconds: str, folder: str) -> None:
    """Fuzz until time is over or a frame breaks the decoder; never returns."""
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(GOOD[name]):
        (corpus / f"documented-{number}").write_bytes(frame)
    limits = (f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={LONGEST_FRAME}", "-timeout=5")
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/{name}-", str(corpus)], decode)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:4])
