"""One look at the host, read-only: what the program must know before it plans anything."""
