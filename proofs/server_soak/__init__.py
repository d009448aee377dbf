"""Server soak: a server and callers of every kind, good and bad, for a long time."""
