"""An argument that is misspelt and ignored; a value that an error's text tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import pytest

from host_programs.wire import WireError, from_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str
    size: int = 3


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    by_name: dict[str, bool]
    seconds: float
    maybe: Optional[str] = None


WHOLE: dict[str, Any] = {
    "inner": {"name": "a"},
    "many": [{"name": "b", "size": 1}],
    "by_name": {"x": True},
    "seconds": 2,
}


def test_what_is_sent_is_what_arrives() -> None:
    value = from_json(Outer, WHOLE)
    assert value == Outer(Inner("a"), (Inner("b", 1),), {"x": True}, 2.0)
    assert from_json(Outer, to_json(value)) == value
    assert from_json(Outer, {**WHOLE, "maybe": "here"}).maybe == "here"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inner": {}}, "it.inner: missing: name"),
        ({"inner": {"name": "a", "nmae": "b"}}, "it.inner: unknown: nmae"),
        ({"inner": {"name": 1}}, "it.inner.name: is int, should be str"),
        ({"inner": None}, "it.inner: is NoneType, should be an object"),
        ({"inner": {"name": "a", "size": True}}, "it.inner.size: is bool, should be int"),
        ({"many": [{"name": "b"}, {}]}, "it.many[1]: missing: name"),
        ({"many": "b"}, "it.many: is str, should be tuple"),
        ({"by_name": {"x": 1}}, "it.by_name.x: is int, should be bool"),
        ({"seconds": "2"}, "it.seconds: is str, should be float"),
        ({"maybe": 2}, "it.maybe: is int, should be str"),
        ({"more": 2}, "it: unknown: more"),
    ],
)
def test_whatever_does_not_fit_is_named_with_its_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(WireError) as wrong:
        from_json(Outer, {**WHOLE, **change}, "it")
    assert str(wrong.value).startswith(told)


def test_a_value_is_never_told() -> None:
    with pytest.raises(WireError) as wrong:
        from_json(Outer, {**WHOLE, "seconds": "hunter2"}, "it")
    assert "hunter2" not in str(wrong.value)
