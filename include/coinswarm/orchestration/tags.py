"""The closed list of DAG tags. A test refuses any other."""

from __future__ import annotations

from enum import StrEnum


class Layer(StrEnum):
    """Where a DAG works."""

    RAW = "layer:raw"
    MARTS = "layer:marts"
    OPS = "layer:ops"


class Kind(StrEnum):
    """How a run is recovered: `now` asks again later, `interval` re-runs its interval, `stream` resumes."""

    NOW = "class:now"
    INTERVAL = "class:interval"
    STREAM = "class:stream"


class Tier(StrEnum):
    """Who is hurt by a failure: 1 planners within the hour, 2 planners within the day, 3 nobody soon."""

    ONE = "tier:1"
    TWO = "tier:2"
    THREE = "tier:3"


def source(slug: str) -> str:
    """Tag of a source."""
    return f"source:{slug}"


def family(domain: str) -> str:
    """Tag of a domain."""
    return f"family:{domain}"
