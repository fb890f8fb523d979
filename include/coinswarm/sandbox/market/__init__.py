"""The one market behind every stand-in exchange: simulated, or read from a history file."""
