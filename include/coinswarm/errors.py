"""Every error the project raises on purpose, and whether trying again can help.

`orchestration.retries` maps these classes to Airflow's retry policy once; nothing else decides about retries.
"""

from __future__ import annotations


class CoinswarmError(Exception):
    """Base of all expected errors: the command line prints these without a traceback."""


class UserError(CoinswarmError):
    """The caller asked for something that does not exist or cannot be: the message says what would be valid."""


class SourceError(CoinswarmError):
    """A provider did not give what was asked."""

    def __init__(self, message: str, *, source: str = "", dataset: str = "") -> None:
        """Prefix the message with the source and dataset that it is about."""
        where = "/".join(part for part in (source, dataset) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.source = source
        self.dataset = dataset


class Unavailable(SourceError):
    """5xx, time-out, reset or truncated body: try again with back-off."""


class RateLimited(SourceError):
    """429 or 418: try again, not before `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float, source: str = "", dataset: str = "") -> None:
        """Keep the provider's own waiting time, in seconds."""
        super().__init__(message, source=source, dataset=dataset)
        self.retry_after = retry_after


class AccessDenied(SourceError):
    """401 or 403: no retry helps, the message names the connection to mend."""


class Blocked(SourceError):
    """451 or a venue's regional refusal: the source is blocked here, which is not the same as stale."""


class ContractViolation(SourceError):
    """The body as a whole is not what the provider documents (not JSON, an error envelope, too large)."""


class GateFailed(CoinswarmError):
    """The quality gate refused a batch: nothing was published, bytes and quarantined rows are kept."""


class IntegrityError(CoinswarmError):
    """Stored data contradicts the hash chain or the ledger: the message names the batch."""


class StoreUnavailable(CoinswarmError):
    """PostgreSQL or the lake does not answer, or refuses the login: try again with back-off."""
