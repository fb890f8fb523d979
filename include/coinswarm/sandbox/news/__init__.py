"""Stand-ins for news providers."""
