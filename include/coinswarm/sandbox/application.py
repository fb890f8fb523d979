"""From a request to an answer, without a socket: routes, recorded bodies, faults, counts and the control calls."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from coinswarm.sandbox.fault_rules import rule_from_json
from coinswarm.sandbox.faults import Fault, Faults, spoil
from coinswarm.sandbox.market.revisions import Revision, Revisions, milliseconds_of
from coinswarm.sandbox.protocol import Call, NotRecorded, Refusal, Reply, Route, World, json_reply
from coinswarm.sandbox.recorded_bodies import RecordedBody
from coinswarm.sandbox.streams.connection import Streams
from coinswarm.sandbox.streams.faults import StreamFault
from coinswarm.sandbox.streams.produced import produced
from coinswarm.sandbox.streams.registry import find as find_stream
from coinswarm.sandbox.streams.session import Session


class Routes:
    """Routes by host; exact paths are found at once, paths with parts in braces are tried in order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Index the routes."""
        self._exact: dict[tuple[str, str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        self.hosts: set[str] = set()
        for route in routes:
            self.hosts.add(route.host)
            if "{" in route.path:
                self._patterns.setdefault((route.method, route.host), []).append((route.pattern, route))
            else:
                self._exact[route.method, route.host, route.path] = route

    def find(self, method: str, host: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a path and what its braces caught."""
        exact = self._exact.get((method, host, path))
        if exact is not None:
            return exact, {}
        for pattern, route in self._patterns.get((method, host), ()):
            match = pattern.fullmatch(path)
            if match:
                return route, match.groupdict()
        return None


@dataclass(slots=True)
class Sandbox:
    """Everything one running sandbox holds."""

    world: World
    routes: Routes
    faults: Faults
    streams: Streams
    revisions: Revisions
    bodies: tuple[RecordedBody, ...] = ()
    requests: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def answer(self, call: Call) -> tuple[Reply, Fault | None]:
        """The reply to a call and the fault that struck it; the server still has to act on `hang` and `truncated`."""
        if call.host == "_control":
            return self._control(call), None
        where = f"{call.host}{call.path}"
        with self.lock:
            self.requests[where] += 1
        fault = self.faults.strike(call.host, call.path)
        if fault is None:
            return self._provider(call), None
        with self.lock:
            self.struck[f"{fault.kind} {where}"] += 1
        if fault.kind in ("rate_limit", "server_error", "status"):
            return spoil(Reply(b""), fault, call.host), fault
        return spoil(self._provider(call), fault), fault

    def open_stream(self, call: Call) -> Session | None:
        """A WebSocket session for an upgraded request; None if there is none there, or a fault strikes the request."""
        opener = None if self.world.mode == "replay" else find_stream(call.host)
        if opener is None or self.faults.would_strike(call.host, call.path):
            return None
        session = opener(self.world, call)
        if session is not None:
            with self.lock:
                self.requests[f"{call.host}{call.path}"] += 1
        return session

    def _provider(self, call: Call) -> Reply:
        for body in self.bodies:
            if body.fits(call):
                return body.reply()
        found = self.routes.find(call.method, call.host, call.path)
        if found is None:
            known = call.host in self.routes.hosts
            what = f"no endpoint {call.method} {call.path} at {call.host}" if known else f"no provider {call.host!r}"
            return json_reply({"sandbox": what[:300]}, status=404)
        route, captured = found
        try:
            return route.handler(replace(call, captured=captured), self.world)
        except Refusal as refusal:
            return refusal.reply
        except NotRecorded as missing:
            return json_reply({"sandbox": str(missing)}, status=404)

    def _control(self, call: Call) -> Reply:
        action = _ACTIONS.get((call.method, call.path))
        if action is None:
            known = ", ".join(f"{method} /_control{path}" for method, path in _ACTIONS)
            return json_reply({"error": f"no such control call; known: {known}"}, status=404)
        try:
            return json_reply(action(self, json.loads(call.body) if call.body else dict(call.query)))
        except (ValueError, TypeError, KeyError) as error:
            return json_reply({"error": str(error)}, status=400)


def _state(sandbox: Sandbox, _: Any) -> dict[str, Any]:
    with sandbox.lock:
        requests, struck = dict(sandbox.requests), dict(sandbox.struck)
    return {
        "mode": sandbox.world.mode,
        "seed": sandbox.world.seed,
        "now_ms": sandbox.world.now(),
        "total": sum(requests.values()),
        "requests": requests,
        "struck": struck,
        "faults": sandbox.faults.listed(),
        "revisions": len(sandbox.revisions),
        "streams": sandbox.streams.state(),
        "stream_faults": sandbox.streams.faults.listed(),
    }


def _add_faults(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    faults = [rule_from_json(Fault, fields) for fields in (body if isinstance(body, list) else [body])]
    for fault in faults:
        sandbox.faults.add(fault)
    return {"faults": sandbox.faults.listed()}


def _clear_faults(sandbox: Sandbox, _: Any) -> dict[str, Any]:
    sandbox.faults.clear()
    return {"faults": []}


def _revise(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    for fields in body if isinstance(body, list) else [body]:
        revise(sandbox, fields)
    return {"revisions": len(sandbox.revisions)}


def revise(sandbox: Sandbox, fields: Mapping[str, Any]) -> None:
    """Restate a bar or a funding event from now on: `venue`, `market`, `symbol`, `minutes`, `at`, `field`, `value`.

    Raises:
        ValueError: the venue does not list it, or a field is unknown or not of its type.
    """
    revision = Revision.from_json(fields)
    if sandbox.world.market.find(revision.venue, revision.market, revision.symbol) is None:
        raise ValueError(f"no listing {revision.venue}/{revision.market}/{revision.symbol}")
    sandbox.revisions.add(revision)


def _clear_revisions(sandbox: Sandbox, _: Any) -> dict[str, Any]:
    sandbox.revisions.clear()
    return {"revisions": 0}


def _set_clock(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    now = body["now"]
    sandbox.world.clock.set_milliseconds(None if now is None else milliseconds_of(now))
    return {"now_ms": sandbox.world.now()}


def _reset_counts(sandbox: Sandbox, _: Any) -> dict[str, Any]:
    with sandbox.lock:
        sandbox.requests.clear()
        sandbox.struck.clear()
    sandbox.streams.reset()
    return {"total": 0}


def _add_stream_faults(sandbox: Sandbox, body: Any) -> dict[str, Any]:
    for fault in [rule_from_json(StreamFault, fields) for fields in (body if isinstance(body, list) else [body])]:
        sandbox.streams.faults.add(fault)
    return {"stream_faults": sandbox.streams.faults.listed()}


def _clear_stream_faults(sandbox: Sandbox, _: Any) -> dict[str, Any]:
    sandbox.streams.faults.clear()
    return {"stream_faults": []}


def _ticks(sandbox: Sandbox, query: Any) -> dict[str, Any]:
    return produced(sandbox.world, query)


_ACTIONS: dict[tuple[str, str], Callable[[Sandbox, Any], dict[str, Any]]] = {
    ("GET", "/state"): _state,
    ("DELETE", "/state"): _reset_counts,
    ("POST", "/faults"): _add_faults,
    ("DELETE", "/faults"): _clear_faults,
    ("POST", "/revise"): _revise,
    ("DELETE", "/revise"): _clear_revisions,
    ("POST", "/clock"): _set_clock,
    ("POST", "/stream_faults"): _add_stream_faults,
    ("DELETE", "/stream_faults"): _clear_stream_faults,
    ("GET", "/ticks"): _ticks,
}
