"""From a Request to its bytes, whichever client carries it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from coinswarm.connections import Connection
from coinswarm.errors import Unavailable
from coinswarm.sources.ccxt_client import CcxtClient
from coinswarm.sources.http import Answer, Fetched, HttpClient
from coinswarm.sources.spec import Request, SourceSpec


class Fetcher:
    """Fetches requests of one source over one connection; keeps the socket and the venue's throttle between calls."""

    def __init__(self, spec: SourceSpec, connection: Connection) -> None:
        self._spec = spec
        self._has_key = bool(connection.password)
        self._http = HttpClient(spec, connection)
        self._ccxt = CcxtClient(spec, connection, self._http)

    def prepare(self, request: Request) -> Request:
        """The request that is really sent: where the connection has a key, a source may have a better question.

        Send this one, and keep this one beside its answer. It names no secret; preparing it twice changes nothing.
        """
        if self._has_key and self._spec.with_key is not None:
            return self._spec.with_key(request)
        return request

    def get(self, request: Request) -> Fetched:
        """The answer to `request`. It is sent once: who retries is decided by the error's class.

        Raises:
            SourceError: Unavailable, RateLimited, AccessDenied, Blocked or ContractViolation.
            UserError: the request cannot be sent at all.
        """
        if request.client:
            return self._ccxt.get(request)
        answer = self._http.send(request.endpoint, request.params, dataset=request.dataset)
        if answer.fetched.status == 404 and self._spec.absent_after is not None:
            return self._absent(request, answer)
        if not answer.ok:
            raise self._http.refused(answer, request.dataset)
        return answer.fetched

    def _absent(self, request: Request, answer: Answer) -> Fetched:
        deadline = self._spec.absent_after
        if deadline is None or request.end is None or datetime.now(UTC) < request.end + deadline:
            host = urlsplit(request.endpoint).hostname
            raise Unavailable(
                f"404 from {host}: {urlsplit(request.endpoint).path} is not there yet",
                source=request.source,
                dataset=request.dataset,
            )
        return replace(answer.fetched, body=b"")


def fetcher(spec: SourceSpec, connection: Connection) -> Fetcher:
    """A fetcher for a source; `connection` is the one called `spec.connection_id`."""
    return Fetcher(spec, connection)


__all__ = ["Fetched", "Fetcher", "fetcher"]
