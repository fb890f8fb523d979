"""Stand-ins for providers of economic series and market totals."""
