"""Postgres: who may do what, and dumps."""
