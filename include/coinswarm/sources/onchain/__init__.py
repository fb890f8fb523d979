"""Providers of the onchain domain, one module each."""
