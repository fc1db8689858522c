"""A token that is too short, not random, or made of signs that a URL, YAML or SQL reads as something else."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from mautrix_bridges.documents.credentials import DoublePuppet, Keys, Tokens, lengths
from mautrix_bridges.scripts import archived_keys, bundle, generate
from mautrix_bridges.scripts.archived_keys import FromArchive
from mautrix_bridges.scripts.common import ScriptError
from mautrix_bridges.scripts.wire import typed


def generated(kind: type[Any]) -> Any:
    """As a host runs it."""
    words = [f"{name}:{length}" for name, length in lengths(kind).items()]
    done = subprocess.run(
        ["python3", bundle.ALONE, "-", *words], input=bundle.source(generate.__name__),
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    return typed(kind, json.loads(done.stdout))


def test_every_secret_has_its_length_is_of_letters_and_digits_and_never_twice_the_same() -> None:
    made = [value for kind in (Tokens, DoublePuppet) * 2 for value in vars(generated(kind)).values()]
    assert all(re.fullmatch(r"[A-Za-z0-9]{64}", value) for value in made)
    assert len(made) == len(set(made)) == 14


def test_new_keys_where_there_is_no_archive_to_begin_with() -> None:
    made, other = (generated(Keys) for _ in range(2))
    assert re.fullmatch(r"[A-Za-z0-9]{64}", made.pickle_key) and re.fullmatch(r"[A-Za-z0-9]{32}", made.sender_localpart)
    assert made.pickle_key != other.pickle_key and made.sender_localpart != other.sender_localpart


def test_an_archive_that_is_not_there_is_an_error_and_no_new_key() -> None:
    """A new key beside an old database could not read it."""
    with pytest.raises(ScriptError, match=r"/no/such\.tar\.gz: damaged, or no archive of a bridge: .*No such file"):
        archived_keys.keys(FromArchive("/no/such.tar.gz"))
