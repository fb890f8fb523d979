"""Providers of the news domain, one module each."""
