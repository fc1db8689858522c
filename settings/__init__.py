"""The stack's settings: every config key, typed and checked once, before anything else runs."""
