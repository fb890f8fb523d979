"""Instruments, and which of them feed a planner symbol."""

from coinswarm.registry.instruments import (
    INSTRUMENTS,
    Instrument,
    InstrumentKind,
    InstrumentRegistry,
    canonical_symbol,
)
from coinswarm.registry.planner_symbols import PLANNER_SYMBOLS, Feeder, feeders

__all__ = [
    "INSTRUMENTS",
    "PLANNER_SYMBOLS",
    "Feeder",
    "Instrument",
    "InstrumentKind",
    "InstrumentRegistry",
    "canonical_symbol",
    "feeders",
]
