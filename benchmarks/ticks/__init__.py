"""Ticks from a local WebSocket server into Redis Streams: our pump beside cryptofeed, on the same frames."""
