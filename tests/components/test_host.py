"""An argument of a step on the host that gets lost, or another one's value, on its way through Pulumi's outputs."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi
from hypothesis import given
from hypothesis import strategies as st

from components.host import resolved

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
VALUES = st.recursive(
    st.tuples(st.booleans(), LEAVES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)


def made(value: Any, leaf: Any) -> Any:
    """A leaf is (whether it is to be an output, its value)."""
    if isinstance(value, tuple):
        return leaf(*value)
    if isinstance(value, dict):
        return {key: made(item, leaf) for key, item in value.items()}
    return [made(item, leaf) for item in value]


@given(VALUES)
def test_outputs_in_arguments_are_resolved_each_in_its_place(value: Any) -> None:
    async def told() -> Any:
        later = made(value, lambda is_output, leaf: pulumi.Output.from_input(leaf) if is_output else leaf)
        return await resolved(later).future()

    assert asyncio.run(told()) == made(value, lambda _, leaf: leaf)
