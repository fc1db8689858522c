"""What homeserver.yaml means before and after an edit, as the parsed document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS, Entries
from documents.homeserver.reading import read_document


def expected_document(document: Mapping[Any, Any], entries: Entries) -> dict[Any, Any]:
    """The document that the file must have after the entries were added."""
    result = dict(document)
    if new := _find_missing(document, REGISTRATIONS, entries):
        result[REGISTRATIONS] = [*(document.get(REGISTRATIONS) or []), *new]
    if new := _find_missing(document, FEATURES, entries):
        result[FEATURES] = {**(document.get(FEATURES) or {}), **dict.fromkeys(new, True)}
    return result


def find_missing_entries(text: str, entries: Entries) -> tuple[str, ...]:
    """Entries that the file does not hold, as `app_service_config_files: /data/x.yaml` and
    `experimental_features: flag`. Who put an entry there makes no difference. Raises Refused if the file cannot be
    read."""
    document = read_document(text)
    document = document if isinstance(document, dict) else {}
    return tuple(f"{key}: {name}" for key in KEYS for name in _find_missing(document, key, entries))


def _find_missing(document: Mapping[Any, Any], key: str, entries: Entries) -> list[str]:
    value = document.get(key)
    if isinstance(value, dict):
        value = [name for name, flag in value.items() if flag is True]
    present = value if isinstance(value, list) else []
    return [name for name in entries.under(key) if name not in present]


def is_equal(first: Any, second: Any) -> bool:
    """Whether two documents are equal in value, type and order, but for the place of our two keys, and whether an empty
    one of these is there."""
    return _describe(first) == _describe(second)


def _describe(document: Any) -> str:
    """Python's own description tells 1 from true, takes a NaN for a NaN, and ends where a value holds itself."""
    if document is None:
        document = {}
    if isinstance(document, dict):
        others = {key: value for key, value in document.items() if key not in KEYS}
        document = {**{key: document.get(key) or None for key in KEYS}, **others}
    return repr(document)
