"""Coinbase Exchange: snapshot, l2update, match, ticker. Only for replaying recordings.

Traps: the side of a match is the maker's, that of a ticker the taker's; the book has no sequence at all.
"""
