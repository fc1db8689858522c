"""Checks whose a thing is that stands in the place of one of ours. It may be in use: no advice says to remove it."""

from __future__ import annotations

from collections.abc import Iterator

from verdicts.host_facts.host import Directory


def check_owner(thing: str, owner: str | None, stack: str, key: str) -> Iterator[str]:
    """`owner`: "" if the thing names none, None if there is no such thing. `key`: the setting of its name."""
    if owner not in (None, stack):
        reason = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"{thing}: exists and {reason}: set another {key}"


def check_directory(path: str, directory: Directory, stack: str, key: str) -> Iterator[str]:
    yield from check_owner(path, directory.stack, stack, key)
    if directory.stack is None and directory.entries:
        yield f"{path}: holds files that this stack did not make: set another {key}"
