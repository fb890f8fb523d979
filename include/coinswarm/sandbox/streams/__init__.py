"""WebSocket endpoints of the simulated venues: what they say and when, faults on the way, and the socket."""
