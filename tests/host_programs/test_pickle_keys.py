"""A pickle key that is made anew beside a database that lives: nothing in it can be read any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from documents.bridge.config import render_bridge_config
from documents.bridge.pickle_key import fingerprint_key
from documents.bridge.written_config import find_pickle_key
from documents.credentials import Keys
from host_programs.bridge.pickle_keys import (
    KeyPlace,
    KeyPlaces,
    find_config_keys,
    find_key,
    find_key_of_accounts,
    make_permanent_seed,
)
from host_programs.messages import ScriptError
from tests.facts import DOUBLEPUPPET, KEYS, TOKENS, deployment, pickled

KEY = fingerprint_key(KEYS.pickle_key)


def write_config(directory: Path, version: str, keys: Keys = KEYS) -> Path:
    path = directory / f"config-{version}/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(render_bridge_config(deployment(), "postgres://x", TOKENS, keys, DOUBLEPUPPET))
    return path


def place(directory: Path, fingerprint: str = KEY, archive: str = "none") -> KeyPlace:
    return KeyPlace("mautrix-signal", "mautrix_signal", fingerprint, str(directory), archive)


def test_the_key_is_read_out_of_the_config_as_it_is_rendered(tmp_path: Path) -> None:
    path = write_config(tmp_path, "a")
    assert find_pickle_key(path.read_text()) == KEYS.pickle_key
    assert find_pickle_key("encryption:\n    pickle_key: generate\n") == "", "of a bridge that was made by hand"
    write_config(tmp_path, "b", replace(KEYS, pickle_key="another"))
    (tmp_path / "config-c").mkdir()
    assert {*find_config_keys(tmp_path)} == {KEY, fingerprint_key("another")}


def test_a_new_seed_keeps_the_keys_of_the_databases_that_live(tmp_path: Path) -> None:
    write_config(tmp_path, "a", replace(KEYS, pickle_key="another"))
    write_config(tmp_path, "b")
    new = KeyPlace("mautrix-irc", "mautrix_irc", "", str(tmp_path / "irc"), "none")
    seed = make_permanent_seed(KeyPlaces((place(tmp_path), new)))
    assert seed.derive_keys("mautrix-signal").pickle_key == KEYS.pickle_key
    assert seed.derive_keys("mautrix-irc") == seed.derive_secrets(Keys, "mautrix-irc")
    assert KEYS.pickle_key not in repr(seed) and seed.seed not in repr(seed)


def test_without_the_key_no_seed_is_made(tmp_path: Path) -> None:
    write_config(tmp_path, "a", replace(KEYS, pickle_key="another"))
    with pytest.raises(ScriptError, match=r"^database mautrix_signal: its pickle key is neither in this state nor"):
        make_permanent_seed(KeyPlaces((place(tmp_path),)))


def test_the_key_of_an_archive_is_taken_unless_the_database_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that is gone does not matter to a database that began with it: its config has the key, too."""

    def read(path: Path) -> str:
        if str(path) == "/gone":
            raise ScriptError("/gone: damaged, or no archive of a bridge")
        return "archived"

    monkeypatch.setattr("host_programs.bridge.pickle_keys.read_archived_key", read)
    assert find_key(place(tmp_path, "", "/archive")).pickle_key == "archived"
    assert find_key(place(tmp_path, fingerprint_key("archived"), "/archive")).pickle_key == "archived"
    with pytest.raises(ScriptError, match="pickle key is neither"):
        find_key(place(tmp_path, KEY, "/archive"))
    write_config(tmp_path, "a")
    assert find_key(place(tmp_path, KEY, "/gone")).pickle_key == KEYS.pickle_key
    with pytest.raises(ScriptError, match=r"^/gone: damaged"):
        find_key(place(tmp_path, "", "/gone"))


def test_a_nightly_dump_has_no_key_and_gets_that_of_the_host_or_the_state(tmp_path: Path) -> None:
    """A key that was made anew was kept for a dump that it does not open, and stayed in the state."""
    dump, account = "/a.sql.gz", pickled(KEYS.pickle_key)
    unknown = replace(place(tmp_path, "", dump), accounts=(account.hex(),))
    assert find_key(replace(unknown, state_key=KEYS.pickle_key)).pickle_key == KEYS.pickle_key
    with pytest.raises(ScriptError, match="pickle key is neither in this state nor in a config"):
        find_key(replace(unknown, state_key="another"))
    assert find_key(replace(unknown, accounts=(), state_key="another")).pickle_key == "another", "nothing is encrypted"

    write_config(tmp_path, "a", replace(KEYS, pickle_key="another"))
    assert find_key_of_accounts(tmp_path, [account]) == ""
    write_config(tmp_path, "old")
    assert find_key_of_accounts(tmp_path, [b"of another form", account]) == KEY
    known = replace(place(tmp_path, KEY, dump), state_key="another")
    assert find_key(known).pickle_key == KEYS.pickle_key
