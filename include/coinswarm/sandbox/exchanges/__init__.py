"""Stand-ins of exchanges: one module a venue, each with its `ROUTES`."""
