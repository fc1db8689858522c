"""A seed that is too short or not random; a secret that is made of signs that a URL, YAML or SQL reads as something
else, or that is another one the next time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from documents.credentials import DoublePuppet, Keys, Seed, Tokens
from host_programs import secrets
from host_programs.backup import archives
from host_programs.messages import ScriptError
from host_programs.secrets import NoArguments
from host_programs.verbs import words_of
from host_programs.wire import from_json
from tests.host_programs.steps import run_step


def generated() -> Seed:
    """As the host makes it."""
    done = run_step(words_of(secrets.make_seed), NoArguments())
    assert done.returncode == 0, done.stderr
    return from_json(Seed, json.loads(done.stdout))


def test_every_secret_has_its_length_is_of_letters_and_digits_and_never_twice_the_same() -> None:
    made = []
    for seed in (generated(), generated()):
        for whose in ("mautrix-signal", "mautrix-irc"):
            keys = vars(seed.derive_secrets(Keys, whose))
            assert re.fullmatch(r"[0-9a-f]{32}", keys["sender_localpart"])
            made += [*vars(seed.derive_secrets(Tokens, whose)).values(), keys["pickle_key"]]
        made += [seed.seed, *vars(seed.derive_secrets(DoublePuppet, "")).values()]
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in made)
    assert len(made) == len(set(made)) == 30


def test_a_secret_is_the_same_whenever_it_is_made() -> None:
    """It is in nobody's state: a bridge beside it that comes or goes must not turn it, nor a new version of this."""
    seed = Seed("0" * 64)
    assert seed.derive_secrets(Keys, "mautrix-signal") == Keys(
        "d551b3c06a00a0ea28dc3d7472bee806ab0db16a00919da61e99085bfb72dfb3", "390632371891b364e0b1dc7b38155bfb"
    )


def test_an_archive_that_is_not_there_is_an_error_and_no_new_key() -> None:
    """A new key beside an old database could not read it."""
    with pytest.raises(ScriptError, match=r"/no/such\.tar\.gz: damaged, or no archive of a bridge: .*No such file"):
        archives.read_archived_key(Path("/no/such.tar.gz"))
