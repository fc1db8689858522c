"""A verb's arguments and result: frozen dataclasses on both sides, a JSON object between them.

Annotations of these classes are evaluated on the host's Python 3.9 too: `Optional[str]`, not `str | None`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class WireError(Exception):
    """A JSON value that does not have the declared shape; its text says where, and what it should be."""


def to_json(value: Any) -> Any:
    """`value` as JSON knows it: dataclasses as objects, tuples as lists; anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], value: Any, where: str = "the JSON") -> T:
    """The value as `kind`: a dataclass, a scalar, Optional, tuple[X, ...], dict[str, X], or Any.

    Raises WireError for a field that is missing, unknown or of another type. A value is never in its text: it may be
    a secret.
    """
    made: Any = _from_json(kind, value, where)
    return made  # type: ignore[no-any-return]


def result_of(verb: Callable[[Any], T]) -> type[T]:
    """The type that a verb returns."""
    return cast("type[T]", _hints(verb)["return"])


@cache  # each evaluates its annotations anew
def _hints(annotated: Any) -> dict[str, Any]:
    return get_type_hints(annotated)


def _from_json(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Union:  # Optional is the only one
        return None if value is None else _from_json(inner[0], value, where)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_from_json(inner[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _from_json(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (isinstance(kind, type) and type(value) is kind):
        return value
    raise WireError(f"{where}: is {type(value).__name__}, should be {getattr(kind, '__name__', kind)}")


def _object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise WireError(f"{where}: is {type(value).__name__}, should be an object")
    fields = dataclasses.fields(kind)
    names = {field.name for field in fields}
    missing = dataclasses.MISSING
    required = {field.name for field in fields if field.default is missing and field.default_factory is missing}
    for fault, keys in (("missing", required - value.keys()), ("unknown", value.keys() - names)):
        if keys:
            raise WireError(f"{where}: {fault}: {', '.join(sorted(keys))}")
    hints = _hints(kind)
    return kind(**{name: _from_json(hints[name], item, f"{where}.{name}") for name, item in value.items()})
