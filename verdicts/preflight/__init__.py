"""Preflight: evaluates a host before anything is planned. Each problem is one line: what, where, and its fix."""
