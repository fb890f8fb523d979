"""The store: append-only raw tables, the batch ledger, the lake, and the one serialised step between them."""
