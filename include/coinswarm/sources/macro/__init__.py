"""Providers of the macro domain, one module each."""
