"""What homeserver.yaml means before and after an edit, as the parsed document."""

from __future__ import annotations

from typing import Any

from documents.homeserver.entries import FEATURES, REGISTRATIONS, Entries, wanted_names
from documents.homeserver.reading import read_document


def expected_document(document: dict[Any, Any], entries: Entries) -> dict[Any, Any]:
    """The document that the file must have after the entries were added."""
    result = dict(document)
    listed = document.get(REGISTRATIONS) or []
    new = [name for name in wanted_names(REGISTRATIONS, entries) if name not in listed]
    if new:
        result[REGISTRATIONS] = [*listed, *new]
    flags = document.get(FEATURES) or {}
    raised = [name for name in wanted_names(FEATURES, entries) if flags.get(name) is not True]
    if raised:
        result[FEATURES] = {**flags, **dict.fromkeys(raised, True)}
    return result


def find_missing_entries(text: str, entries: Entries) -> tuple[str, ...]:
    """Entries that the file does not hold, as `app_service_config_files: /data/x.yaml` and
    `experimental_features: flag`. Who put an entry there makes no difference. Raises Refused if the file cannot be
    read."""
    document = read_document(text)
    document = document if isinstance(document, dict) else {}
    listed, flags = document.get(REGISTRATIONS), document.get(FEATURES)
    listed, flags = listed if isinstance(listed, list) else [], flags if isinstance(flags, dict) else {}
    return (
        *(f"{REGISTRATIONS}: {name}" for name in wanted_names(REGISTRATIONS, entries) if name not in listed),
        *(f"{FEATURES}: {name}" for name in wanted_names(FEATURES, entries) if flags.get(name) is not True),
    )


def is_equal(first: Any, second: Any) -> bool:
    """Equal in value and type on every level; a NaN equals a NaN. Each pair is compared once, because of aliases."""
    todo, seen = [(first, second)], set()
    while todo:
        a, b = todo.pop()
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            if len(a) != len(b) or a.keys() != b.keys():
                return False
            todo += [(a[key], b[key]) for key in a]
        elif isinstance(a, (list, tuple)):
            if len(a) != len(b):
                return False
            todo += zip(a, b)
        elif a != b and not (a != a and b != b):
            return False
    return True
