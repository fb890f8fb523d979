"""Exchange requests through ccxt: its endpoints, weights and error codes; our HTTP client and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coinswarm.connections import Connection
from coinswarm.errors import AccessDenied, RateLimited, SourceError, Unavailable, UserError
from coinswarm.sources.http import Answer, Fetched, HttpClient, retry_after
from coinswarm.sources.spec import Request, SourceSpec

# Error codes that pass by themselves, by the venues' documentation, and that ccxt counts as plain refusals.
_ALSO_PASSING = {
    "bybit": ("10000", "10016"),
    "deribit": ("11094", "13028", "13888"),
    "kraken": ("EService:Timeout",),
}


class CcxtClient:
    """Calls ccxt's implicit methods and gives back the body as it came.

    ccxt builds the URL and waits by its own weights; `HttpClient` sends. An error envelope that says slow down, down or
    not allowed becomes the matching error. Any other envelope with status 2xx is given back as a body, so that it lands
    and its parser names what the venue said; with another status it is a ContractViolation.
    """

    def __init__(self, spec: SourceSpec, connection: Connection, http: HttpClient) -> None:
        self._spec = spec
        self._http = http
        # A budget in the connection replaces the source's, and then ccxt's waiting as well.
        self._throttled = not connection.extra.get("requests_per_second")
        self._exchanges: dict[str, Any] = {}

    def get(self, request: Request) -> Fetched:
        """Send one request that names a ccxt `client` and an implicit method.

        Raises:
            SourceError: see `HttpClient.get`.
            UserError: ccxt has no such exchange or method.
        """
        exchange = self._exchange(request.client)
        method: Callable[[Mapping[str, Any]], Fetched] | None = getattr(exchange, request.endpoint, None)
        if method is None or "Get" not in request.endpoint:
            raise UserError(f"ccxt's {request.client} has no public method {request.endpoint[:60]!r}")
        exchange.fetch = lambda url, *_args, **_kwargs: self._fetch(exchange, url, request.dataset)
        return method(dict(request.params))

    def _exchange(self, name: str) -> Any:
        import ccxt

        if name not in self._exchanges:
            if name not in ccxt.exchanges:
                raise UserError(f"ccxt has no exchange {name[:60]!r}")
            exchange = getattr(ccxt, name)({"enableRateLimit": self._throttled})
            codes = exchange.exceptions.get("exact", exchange.exceptions)
            codes.update(dict.fromkeys(_ALSO_PASSING.get(name, ()), ccxt.ExchangeNotAvailable))
            self._exchanges[name] = exchange
        return self._exchanges[name]

    def _fetch(self, exchange: Any, url: str, dataset: str) -> Fetched:
        answer = self._http.send(url, dataset=dataset)
        error = self._envelope_error(exchange, answer, dataset)
        if error is not None:
            raise error
        if not answer.ok:
            raise self._http.refused(answer, dataset)
        return answer.fetched

    def _envelope_error(self, exchange: Any, answer: Answer, dataset: str) -> SourceError | None:
        import ccxt

        fetched = answer.fetched
        text = fetched.body.decode("utf-8", "replace")
        if not text.lstrip().startswith("{"):
            return None  # rows, or not an envelope
        try:
            parsed = exchange.parse_json(text)
            exchange.handle_errors(
                fetched.status, answer.reason, fetched.url, "GET", answer.headers, text, parsed, {}, None
            )
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection):
            return RateLimited(
                _said(text), retry_after=retry_after(answer.headers), source=self._spec.slug, dataset=dataset
            )
        except (ccxt.AuthenticationError, ccxt.PermissionDenied):
            message = f"{_said(text)}; mend connection {self._spec.connection_id}"
            return AccessDenied(message, source=self._spec.slug, dataset=dataset)
        except (ccxt.OperationFailed, ccxt.OnMaintenance):
            return Unavailable(_said(text), source=self._spec.slug, dataset=dataset)
        except Exception:
            # Bad request, unknown symbol, or a shape that ccxt stumbles over: the parser says what is wrong with it.
            return None
        return None


def _said(text: str) -> str:
    return f"the venue answered {text[:200].strip()}"
