"""Bybit, WebSocket v5: spot and linear.

Traps: a ticker's delta leaves out what did not change; `openInterest` counts both sides, `singleOpenInterest` one; the
side of a liquidation is the position's, its price the one of bankruptcy; trades of derivatives have no numbers.
"""
