"""One lab for all end-to-end tests of a run; each test that changes the host begins with a pristine one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.box import Lab


@pytest.fixture(scope="session")
def running_lab() -> Lab:
    lab = Lab.here()
    lab.up()
    return lab


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """The lab as it was before any `up`, with an empty stack."""
    running_lab.reset()
    yield running_lab


@pytest.fixture(scope="module")
def deployed(running_lab: Lab) -> Iterator[Lab]:
    """A lab on which `pulumi up` has been run; for tests of one module that leave it as they found it."""
    running_lab.reset()
    running_lab.pulumi("up", "--yes", "--skip-preview")
    yield running_lab
