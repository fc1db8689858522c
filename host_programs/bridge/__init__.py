"""One bridge on the host: its config, its database's life, and whether it works."""
