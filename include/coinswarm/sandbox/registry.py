"""Every provider that the sandbox stands in for: an explicit list, one module each."""

from __future__ import annotations

from coinswarm.sandbox.protocol import Route

ROUTES: tuple[Route, ...] = ()
