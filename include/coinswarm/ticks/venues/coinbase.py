"""Coinbase Advanced: market_trades, level2, heartbeats.

Traps: one subscribes to `level2` and hears `l2_data`; `sequence_num` counts all frames of a connection, whatever their
channel; the side of a trade is the maker's; a snapshot's levels are of 1970, a time may be of the year 1; asks are
called `offer`, and levels come in no order; ids of `*-USDC` come back as `*-USD`.
"""
