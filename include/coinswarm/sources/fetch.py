"""From a Request to its bytes, whichever client carries it."""

from __future__ import annotations

from coinswarm.connections import Connection
from coinswarm.sources.ccxt_client import CcxtClient
from coinswarm.sources.http import Fetched, HttpClient
from coinswarm.sources.spec import Request, SourceSpec


class Fetcher:
    """Fetches requests of one source over one connection; keeps the socket and the venue's throttle between calls."""

    def __init__(self, spec: SourceSpec, connection: Connection) -> None:
        self._http = HttpClient(spec, connection)
        self._ccxt = CcxtClient(spec, connection, self._http)

    def get(self, request: Request) -> Fetched:
        """The answer to `request`. It is sent once: who retries is decided by the error's class.

        Raises:
            SourceError: Unavailable, RateLimited, AccessDenied, Blocked or ContractViolation.
            UserError: the request cannot be sent at all.
        """
        if request.client:
            return self._ccxt.get(request)
        return self._http.get(request.endpoint, request.params, dataset=request.dataset)


def fetcher(spec: SourceSpec, connection: Connection) -> Fetcher:
    """A fetcher for a source; `connection` is the one called `spec.connection_id`."""
    return Fetcher(spec, connection)


__all__ = ["Fetched", "Fetcher", "fetcher"]
