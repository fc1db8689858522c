"""Synapse: its configuration, its restart, and what it answers."""
