"""Everything about a pump that can be set. Plain values only, so that a trigger can be serialised with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from coinswarm.errors import UserError

# Taker fees of the lowest tier, in bps, of spot markets and of perpetuals. Venues change them: set your own.
SPOT_FEE_BPS = {"binance": 10.0, "coinbase": 60.0, "kraken": 40.0, "okx": 10.0, "bybit": 10.0}
PERPETUAL_FEE_BPS = {"binance": 5.0, "kraken": 5.0, "okx": 5.0, "bybit": 5.5, "deribit": 5.0}


@dataclass(frozen=True, slots=True)
class TickSettings:
    """Settings of one pump; `stream_ticks` lingers longer, else it has these defaults."""

    redis_connection: str = "redis_ticks"
    ledger_connection: str = "pg_ingest"
    """Empty: sessions, gaps and verdicts are only counted, for instance in a benchmark."""

    # Writing
    flush_entries: int = 2000
    buffer_flow_bytes: int = 8 << 20
    """While Redis answers, the sockets are not read above this, until the buffer is below `buffer_low_bytes`."""
    buffer_low_bytes: int = 4 << 20
    buffer_high_bytes: int = 64 << 20
    """The same while Redis is away, full or stuck."""
    redis_timeout_seconds: float = 15.0
    retry_longest_seconds: float = 5.0

    # Who writes
    lease_seconds: float = 10.0
    linger_seconds: float = 120.0
    """How long a session that is due waits for its successor before it ends anyway."""
    warm_up_seconds: float = 10.0
    """How long a successor listens at most before it asks for the lease."""
    held_events: int = 200_000
    """Events that a successor keeps until it may write; of more the oldest are dropped, which the owner writes."""

    # What stays in Redis
    retention_seconds: float = 900.0
    retention_limit_seconds: float = 3600.0
    """Entries that the archive has not acknowledged are dropped after this time, which opens a gap."""
    archive_group: str = "archive"
    """Consumer group made with each stream, so that nothing is trimmed before its first reader; empty for none."""
    latest_seconds: float = 1.0
    malformed_kept: int = 100

    # Books
    book_levels: int = 10
    book_seconds: float = 0.25
    imbalance_levels: int = 10
    option_seconds: float = 10.0
    """Each option's volatility is written at most this often."""

    # Connections
    socket_receive_bytes: int = 256 << 10
    """What the system keeps of a socket until it is read, and so the most that one reading takes: while that is worked
    through, nobody else on the loop has a turn. Over a distance of 100 ms it lets about 2 MB/s through."""
    connect_timeout_seconds: float = 10.0
    retry_first_seconds: float = 0.5
    reconnect_longest_seconds: float = 30.0
    lifetime_share: float = 0.9
    """A connection is replaced after this share of the venue's own limit."""
    liveness: bool = True
    ask_rest: bool = True
    """Ask the venue's REST interface for its last trade before a quiet stream is called frozen."""

    # Cross-venue
    stale_seconds: float = 3.0
    arbitrage_edge_bps: float = 2.0
    taker_fee_bps: Mapping[str, float] = field(default_factory=lambda: dict(SPOT_FEE_BPS))
    perpetual_taker_fee_bps: Mapping[str, float] = field(default_factory=lambda: dict(PERPETUAL_FEE_BPS))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TickSettings:
        """Settings from a trigger's arguments or a file.

        Raises:
            UserError: a name that is no setting.
        """
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"no such tick settings: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe form, for `from_mapping`."""
        return asdict(self)
