"""Stand-in providers on one local port: simulate a market, or replay recordings, on the providers' own wire formats."""
