"""Property tests ("laws"): the same examples in every run here, many random ones with `make laws`.

A test run must not fail by luck; what a random run has found is kept as an explicit `@example`. A law whose examples
are slow or many says so relative to the profile: `@settings(max_examples=settings().max_examples // 5)`.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

# Without deadlines: a busy machine is no failure.
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.register_profile("laws", max_examples=3000, deadline=None, print_blob=True)
settings.load_profile("tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses Hypothesis as a law, before `-m law` selects."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("law")
