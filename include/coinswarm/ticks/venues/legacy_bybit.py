"""Bybit, WebSocket v2: orderBookL2_25 and trade. Retired; only for replaying recordings.

Traps: levels are known by id, and those of a delete have no size; numbers are text or JSON numbers, whatever the market.
"""
