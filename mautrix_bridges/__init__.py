"""Mautrix bridges beside a running Matrix stack: the rooms of the program, from `documents` up to `components`.

Nothing is imported here: scripts/ and what it needs run on hosts that have the standard library alone.
"""
