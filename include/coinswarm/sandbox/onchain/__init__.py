"""Stand-ins for on-chain data providers."""
