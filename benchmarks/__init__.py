"""Figures of the design, each measured beside its rival."""
