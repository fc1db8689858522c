"""Texts about one bridge: what it is, its config and registration, and one that was set up by hand."""
