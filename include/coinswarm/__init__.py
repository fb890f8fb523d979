"""Coinswarm data feeds: providers to an append-only, point-in-time store, and the clients that read it."""

__version__ = "0.1.0"
