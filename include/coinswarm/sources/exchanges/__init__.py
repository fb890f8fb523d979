"""Providers of the exchanges domain, one module each."""
