"""The nightly dumps, and archives of a bridge."""
