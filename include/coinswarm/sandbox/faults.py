"""What can go wrong on purpose: rules that match a request by host and path and spoil its answer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

import numpy as np

from coinswarm.sandbox.protocol import Reply
from coinswarm.sandbox.randomness import key, uniform

KINDS = ("rate_limit", "server_error", "hang", "truncated", "wrong_types", "empty", "status")

# What venues say beside status 429; others get a plain sentence.
_RATE_LIMIT_BODIES = {
    "binance.com": '{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute."}',
    "binance.vision": '{"code":-1003,"msg":"Too many requests; current limit is 6000 requests per minute."}',
    "okx.com": '{"code":"50011","msg":"Too Many Requests","data":[]}',
    "bybit.com": '{"retCode":10006,"retMsg":"Too many visits. Exceeded the API Rate Limit.","result":{}}',
    "deribit.com": '{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028}}',
    "kraken.com": '{"error":["EAPI:Rate limit exceeded"]}',
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule. `host` and `path` are shell patterns; it strikes `count` times (None: for ever) with `probability`.

    Kinds: `rate_limit` (429 and Retry-After of `retry_after` seconds), `server_error` (503, or `status`), `status` (any
    `status` with `body`), `hang` (answers after `seconds`), `truncated` (the connection drops after half of the body),
    `wrong_types` (the first row's values change type), `empty` (the longest list of the body is emptied).
    """

    kind: str
    host: str = "*"
    path: str = "*"
    count: int | None = None
    probability: float = 1.0
    retry_after: int = 1
    status: int = 503
    seconds: float = 30.0
    body: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not within 0 and 1")
        if not 100 <= self.status <= 599:
            raise ValueError(f"status {self.status} is not an HTTP status")


class Faults:
    """The rules in force, in the order in which they were added."""

    def __init__(self, seed: int) -> None:
        """No rule yet; chances are drawn from the seed and the request's number, so a run can be repeated."""
        self._seed = seed
        self._rules: list[Fault] = []
        self._requests = 0
        self._lock = Lock()

    def add(self, fault: Fault) -> None:
        """Put a rule in force."""
        with self._lock:
            self._rules.append(fault)

    def clear(self) -> None:
        """Drop all rules."""
        with self._lock:
            self._rules.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Rules in force with what is left of their counts."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def would_strike(self, host: str, path: str) -> bool:
        """Whether a rule that always strikes waits for this request."""
        with self._lock:
            return any(
                fnmatchcase(host, rule.host) and fnmatchcase(path, rule.path) and (rule.count is None or rule.count > 0)
                for rule in self._rules
                if rule.probability == 1
            )

    def strike(self, host: str, path: str) -> Fault | None:
        """The rule that spoils this request, if any; uses up one of its count."""
        with self._lock:
            self._requests += 1
            for position, rule in enumerate(self._rules):
                if not (fnmatchcase(host, rule.host) and fnmatchcase(path, rule.path)):
                    continue
                if rule.probability < 1:
                    draw = uniform(key(self._seed, "fault", position), np.array([self._requests], dtype=np.int64))
                    if float(draw[0]) >= rule.probability:
                        continue
                if rule.count is not None:
                    if rule.count <= 0:
                        continue
                    self._rules[position] = replace(rule, count=rule.count - 1)
                return rule
        return None


def spoil(reply: Reply, fault: Fault, host: str = "") -> Reply:
    """The answer of `host` after a fault; `hang` and `truncated` are the connection's affair and change nothing."""
    if fault.kind == "rate_limit":
        headers = {"Retry-After": str(fault.retry_after)}
        usual = _RATE_LIMIT_BODIES.get(".".join(host.split(".")[-2:]), '{"error":"too many requests"}')
        return Reply((fault.body or usual).encode(), status=429, headers=headers)
    if fault.kind in ("server_error", "status"):
        return Reply(fault.body.encode() or b"upstream error", status=fault.status, content_type="text/plain")
    if fault.kind == "empty":
        return replace(reply, body=_emptied(reply.body))
    if fault.kind == "wrong_types":
        return replace(reply, body=_mistyped(reply.body))
    return reply


def _longest_list(value: Any) -> list[Any] | None:
    found = [value] if isinstance(value, list) else []
    children = value.values() if isinstance(value, dict) else ()
    found += [inner for child in children if (inner := _longest_list(child)) is not None]
    return max(found, key=len, default=None)


def _emptied(body: bytes) -> bytes:
    try:
        value = json.loads(body)
    except ValueError:
        return body.splitlines(keepends=True)[0] if body else body
    rows = _longest_list(value)
    if rows is None:
        return b"{}"
    if isinstance(value, dict) and len(columns := _equal_columns(value, len(rows))) > 1:
        # One array per column (Deribit's charts): empty them all.
        for column in columns:
            column.clear()
    rows.clear()
    return json.dumps(value, separators=(",", ":")).encode()


def _equal_columns(value: Any, length: int) -> list[list[Any]]:
    if isinstance(value, list):
        return [value] if len(value) == length else []
    children = value.values() if isinstance(value, dict) else ()
    return [column for child in children for column in _equal_columns(child, length)]


def _mistyped(body: bytes) -> bytes:
    try:
        value = json.loads(body)
    except ValueError:
        return body.replace(b"0", b"O").replace(b"1", b"l")
    rows = _longest_list(value)
    if rows:
        rows[0] = _other_type(rows[0])
    else:
        value = _other_type(value)
    return json.dumps(value, separators=(",", ":")).encode()


def _other_type(value: Any) -> Any:
    if isinstance(value, list):
        return [_other_type(item) for item in value]
    if isinstance(value, dict):
        return {name: _other_type(item) for name, item in value.items()}
    if isinstance(value, str):
        return {"unexpected": value}
    return "not-a-number"
