"""An argument that is misspelt and ignored; a shape that the host's older Python cannot read."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Optional, get_args, get_type_hints

import pytest

from host_programs.wire import WireError, plain, typed

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts"
SCRIPTS = [path.stem for path in sorted(FOLDER.glob("*.py")) if "\nVERBS = (" in path.read_text()]


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
    value = typed(Outer, WHOLE)
    assert value == Outer(Inner("a"), (Inner("b", 1),), {"x": True}, 2.0)
    assert typed(Outer, plain(value)) == value
    assert typed(Outer, {**WHOLE, "maybe": "here"}).maybe == "here"


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
        typed(Outer, {**WHOLE, **change}, "it")
    assert str(wrong.value).startswith(told)


def test_a_value_is_never_told() -> None:
    with pytest.raises(WireError) as wrong:
        typed(Outer, {**WHOLE, "seconds": "hunter2"}, "it")
    assert "hunter2" not in str(wrong.value)


def _shapes(kind: Any) -> set[type]:
    """A dataclass and those in it."""
    if not is_dataclass(kind):
        return set().union(*map(_shapes, get_args(kind)), set())
    assert isinstance(kind, type)
    return {kind}.union(*(_shapes(hint) for hint in get_type_hints(kind).values()))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_verb_is_typed_and_python_3_9_can_read_its_shapes(script: str) -> None:
    """There `X | None` in an annotation cannot be evaluated, which decoding does."""
    for verb in importlib.import_module(f"host_programs.{script}").VERBS:
        hints = get_type_hints(verb)
        assert len(hints) == 2 and all(map(is_dataclass, hints.values())), f"{script}.{verb.__name__}"
        for shape in set().union(*map(_shapes, hints.values())):
            for each in fields(shape):
                assert not re.search(r"\|", str(each.type)), f"{shape.__name__}.{each.name}: {each.type}"


def test_the_scripts_are_all_there() -> None:
    assert len(SCRIPTS) == 17
