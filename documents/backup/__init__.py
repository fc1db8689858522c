"""Texts about the nightly dumps: our dump script, its call in the operator's script, and a dump that is restored."""
