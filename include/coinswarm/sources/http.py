"""The one HTTP client: time-outs, error classes, size cap, rate budget and secrets. It never retries by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from coinswarm import __version__
from coinswarm.connections import Connection
from coinswarm.errors import (
    AccessDenied,
    Blocked,
    ContractViolation,
    RateLimited,
    SourceError,
    Unavailable,
    UserError,
)
from coinswarm.sources.reading import MAX_BODY_BYTES
from coinswarm.sources.spec import SourceSpec

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS = (10.0, 30.0)
DEADLINE_SECONDS = 300.0
DEFAULT_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3600.0
_Error = TypeVar("_Error", bound=SourceError)
_secrets: set[str] = set()
_CHUNK_BYTES = 64 * 1024
_SHOWN_BYTES = 200
# What content networks and venues write when they refuse a country with a 403.
_REGIONAL_REFUSALS = ("block access from your country", "restricted location", "not available in your region")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: the body as it came (after transfer and content encoding), and the request's URL without secrets."""

    body: bytes
    status: int
    received_at: datetime
    url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not one of the retry classes: success, redirect, or a refusal such as 400 or 404."""

    fetched: Fetched
    reason: str
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """True for 2xx."""
        return 200 <= self.fetched.status < 300


class RateBudget:
    """Spaces the requests to one host evenly, for all threads of the process."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._closed_until = 0.0

    def take(self) -> float:
        """Wait for the next slot; the result is how many seconds the host stays closed (then nothing may be sent)."""
        with self._lock:
            now = time.monotonic()
            if self._closed_until > now:
                return self._closed_until - now
            slot = max(self._next, now)
            self._next = slot + self._interval
        if slot > now:
            time.sleep(slot - now)
        return 0.0

    def close_for(self, seconds: float) -> None:
        """Refuse further requests for so many seconds: asking on during a ban lengthens it."""
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)


@cache
def rate_budget(base_url: str, per_second: float) -> RateBudget:
    """The budget that everybody in this process shares for an address."""
    return RateBudget(per_second)


def base_url(connection: Connection, host: str) -> str:
    """Where requests to `host` really go: `extra["hosts"][host]`, `{conn.host}/{host}`, or the provider itself."""
    hosts = connection.extra.get("hosts") or {}
    if host in hosts:
        return str(hosts[host]).rstrip("/")
    if connection.host:
        return f"{connection.host.rstrip('/')}/{host}"
    return f"https://{host}"


class HttpClient:
    """Sends the requests of one source over one connection.

    `extra` of the connection may hold `hosts` (see `base_url`), `requests_per_second` (instead of the source's own
    budget) and `proxy` (a URL).
    """

    def __init__(self, spec: SourceSpec, connection: Connection) -> None:
        import requests

        self._spec = spec
        self._connection = connection
        self._per_second = float(connection.extra.get("requests_per_second") or spec.requests_per_second)
        self._session: requests.Session = requests.Session()
        # A ~/.netrc must not add credentials that nobody asked for.
        self._session.auth = _unchanged
        self._session.headers.update(
            {
                "User-Agent": f"coinswarm/{__version__}",
                "Accept": "*/*",
                # Coinbase answers from a one-second cache without it.
                "Cache-Control": "no-cache",
            }
        )
        if connection.password:
            _secrets.add(connection.password)
            # urllib3 logs addresses, where some providers want the key. Adding the same filter again changes nothing.
            logging.getLogger("urllib3.connectionpool").addFilter(_redacted_log)

    def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        dataset: str = "",
    ) -> Fetched:
        """GET a body.

        Args:
            url: full https URL of one of the source's hosts.
            params: query parameters, without the key.
            headers: further headers.
            dataset: named in errors.

        Raises:
            Unavailable: no or a cut answer, time-out, or 5xx.
            RateLimited: the provider asks to wait.
            AccessDenied: 401 or 403.
            Blocked: 451, or a regional refusal.
            ContractViolation: any other status than 2xx, or a body over 64 MiB.
            UserError: the host is not one of the source's hosts.
        """
        answer = self.send(url, params, headers=headers, dataset=dataset)
        if not answer.ok:
            raise self.refused(answer, dataset)
        return answer.fetched

    def send(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        dataset: str = "",
    ) -> Answer:
        """As `get`, but statuses outside of the retry classes are returned, for a caller that can read the body."""
        import requests

        try:
            public_url = requests.Request("GET", url, params=dict(params or {})).prepare().url or url
        except (requests.RequestException, ValueError):
            public_url = url
        parts = urlsplit(public_url)
        host = parts.hostname or ""
        if parts.scheme != "https" or host not in self._spec.hosts:
            raise UserError(f"{self._spec.slug} may not ask {host[:80]!r}: its hosts are {', '.join(self._spec.hosts)}")
        base = base_url(self._connection, host)
        budget = rate_budget(base, self._per_second)
        if closed := budget.take():
            raise self._limited(f"{host} asked to wait", closed, dataset)
        target = base + urlunsplit(("", "", parts.path, parts.query, ""))
        key_params, key_headers = self._key(host)
        try:
            response = self._session.get(
                target,
                params=key_params,
                headers={**(headers or {}), **key_headers},
                timeout=TIMEOUT_SECONDS,
                stream=True,
                # A redirect could carry the key to another host.
                allow_redirects=False,
                proxies=self._proxies(base),
            )
            with response:
                answer = Answer(
                    Fetched(self._read(response, host, dataset), response.status_code, datetime.now(UTC), public_url),
                    response.reason or "",
                    response.headers,
                )
        except (requests.RequestException, OSError) as error:
            raise self._error(
                Unavailable, f"no complete answer from {host}: {type(error).__name__}: {error}", dataset
            ) from None
        self._classify(answer, host, budget, dataset)
        return answer

    def refused(self, answer: Answer, dataset: str) -> ContractViolation:
        """The error for an answer that is neither a success nor a retry class."""
        status, body = answer.fetched.status, answer.fetched.body
        shown = f"{status} {answer.reason} from {urlsplit(answer.fetched.url).hostname}"
        if 300 <= status < 400:
            return self._error(ContractViolation, f"{shown}: redirects are not followed", dataset)
        return self._error(ContractViolation, f"{shown}: {_shown(body)}", dataset)

    def _read(self, response: requests.Response, host: str, dataset: str) -> bytes:
        body = bytearray()
        deadline = time.monotonic() + DEADLINE_SECONDS
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise self._error(ContractViolation, f"body of {host} is larger than {MAX_BODY_BYTES} bytes", dataset)
            if time.monotonic() > deadline:
                raise self._error(Unavailable, f"{host} took longer than {DEADLINE_SECONDS:.0f} s", dataset)
        return bytes(body)

    def _classify(self, answer: Answer, host: str, budget: RateBudget, dataset: str) -> None:
        status, body = answer.fetched.status, answer.fetched.body
        if answer.ok:
            return
        shown = f"{status} {answer.reason} from {host}: {_shown(body)}"
        lowered = body[:4096].decode("utf-8", "replace").lower()
        if status == 451 or (status == 403 and any(phrase in lowered for phrase in _REGIONAL_REFUSALS)):
            raise self._error(Blocked, shown, dataset)
        if status in self._spec.rate_limit_statuses:
            wait = retry_after(answer.headers, self._spec.rate_limit_statuses[status])
            budget.close_for(wait)
            raise self._limited(shown, wait, dataset)
        if status in (401, 403):
            raise self._error(AccessDenied, f"{shown}; mend connection {self._connection.conn_id}", dataset)
        if status >= 500 or status == 408:
            raise self._error(Unavailable, shown, dataset)

    def _key(self, host: str) -> tuple[dict[str, str], dict[str, str]]:
        wanted = self._spec.api_key
        password = self._connection.password
        if wanted is None or not password or host not in wanted.hosts:
            return {}, {}
        return (
            {wanted.param: password} if wanted.param else {},
            {wanted.header: password} if wanted.header else {},
        )

    def _proxies(self, base: str) -> dict[str, Any]:
        proxy = self._connection.extra.get("proxy")
        if proxy:
            return {"http": proxy, "https": proxy}
        if urlsplit(base).hostname in ("127.0.0.1", "localhost", "::1"):
            # A proxy of the environment cannot reach a sandbox on this machine.
            return {"http": None, "https": None, "all": None}
        return {}

    def _limited(self, message: str, wait: float, dataset: str) -> RateLimited:
        return RateLimited(self._redact(message), retry_after=wait, source=self._spec.slug, dataset=dataset)

    def _error(self, kind: type[_Error], message: str, dataset: str) -> _Error:
        return kind(self._redact(message), source=self._spec.slug, dataset=dataset)

    def _redact(self, message: str) -> str:
        return _without(self._connection.password, message)


def retry_after(headers: Mapping[str, str], default: float = DEFAULT_WAIT_SECONDS) -> float:
    """Seconds that `Retry-After` asks to wait, as seconds or as a date; at most one hour."""
    text = headers.get("Retry-After") or headers.get("retry-after") or ""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            seconds = default
    return min(max(seconds, 1.0), LONGEST_WAIT_SECONDS) if seconds == seconds else default


def _shown(body: bytes) -> str:
    return body[:_SHOWN_BYTES].decode("utf-8", "replace").strip() or "(empty body)"


def _without(secret: str, message: str) -> str:
    for form in {secret, quote(secret, safe=""), quote_plus(secret)} - {""}:
        message = message.replace(form, "***")
    return message


def _redacted_log(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    for secret in _secrets:
        message = _without(secret, message)
    record.msg, record.args = message, ()
    return True


def _unchanged(request: Any) -> Any:
    return request
