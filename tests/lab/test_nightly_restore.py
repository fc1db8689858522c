"""A database that is lost, or whose content is wrong, and the newest that there is of it is a nightly dump: one setting
brings it back, or nothing changes."""

from __future__ import annotations

import gzip
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.box import Lab
from tests.facts import pickled
from tests.lab.conftest import Shared, deployment_of
from tests.lab.test_lost_state import UP, forget, lives, pickle_key, told
from tests.lab.test_program import ping
from tests.lab.test_upgrade import manifest, same

pytestmark = pytest.mark.e2e

SEEN = "select value from kv_store where key = 'seen'"


def make_dump(lab: Lab) -> Path:
    """A dump of the bridge's database, with content that a test knows, by our dump script."""
    lab.psql("insert into kv_store values ('', 'seen', 'last night')", "mautrix_signal")
    directory = lab.host_dir / "nightly"
    subprocess.run([lab.host_dir / "bridges/mautrix-backup.sh", directory], check=True, env=lab.env())
    (dump,) = directory.glob("mautrix_signal_*.bridges.sql.gz")
    return dump


def with_other_key(dump: Path) -> Path:
    """The same dump, of a bridge with another pickle key."""
    other = dump.with_name(re.sub(r"\d{8}T\d{6}Z", "20260101T000000Z", dump.name))
    account = b"\\\\\\\\x" + pickled("another").hex().encode()
    text, count = re.subn(
        rb"(?m)(?<=^COPY public\.crypto_account )(.*\n.*\t)\\\\x[0-9a-f]+",
        rb"\1" + account,
        gzip.decompress(dump.read_bytes()),
    )
    assert count == 1
    other.write_bytes(gzip.compress(text))
    return other


def lose_database(lab: Lab) -> None:
    """As a Postgres that was made anew: neither database nor role; and the bridge ends and is started again."""
    lab.psql("drop database mautrix_signal with (force)")
    lab.psql("drop owned by mautrix_signal; drop role mautrix_signal")
    lab.docker("restart", lab.bridge)


def refused(lab: Lab) -> str:
    said = ""
    for words in (("preview",), UP):
        done = lab.pulumi(*words, check=False)
        said = told(done.stdout + done.stderr)
        assert done.returncode != 0 and "Traceback" not in said, said
    return said


def test_a_lost_database_comes_back_beside_a_stack_that_lives(deployed: Lab, shared: Shared) -> None:
    """The bridge was started by Docker while its database was empty, and had filled it before it was restored."""
    shared.spoilt = True
    lab, before = deployed, same(deployed)
    dump = make_dump(lab)
    lose_database(lab)
    lab.write_config({"restore": str(with_other_key(dump))}, reapply=1)
    said = refused(lab)
    assert "its pickle key is neither in this state nor in a config.yaml in" in said
    assert not lab.psql("select datname from pg_database where datname = 'mautrix_signal'")

    lab.write_config({"restore": str(dump)}, reapply=1)
    said = told(lab.pulumi("preview").stdout)
    assert "database mautrix_signal: is missing: if somebody removed it" in said
    assert f"this `pulumi up` puts it back (reapply is 1), with the content of {dump}" in said
    said = told(lab.pulumi(*UP).stdout)
    assert f"restored: {dump.name} into mautrix_signal" in said
    assert (same(lab), ping(lab), lab.psql(SEEN, "mautrix_signal")) == (before, 200, "last night")
    lab.pulumi(*UP, "--expect-no-changes")
    dump.unlink()
    lab.write_config(reapply=1)
    lab.pulumi(*UP)  # notes the settings for `status`
    assert lab.psql(SEEN, "mautrix_signal") == "last night"
    lab.pulumi(*UP, "--expect-no-changes")


def test_content_that_is_wrong_gives_way_to_last_night_s(deployed: Lab, shared: Shared) -> None:
    shared.spoilt = True
    lab, before = deployed, same(deployed)
    dump = make_dump(lab)
    lab.psql("update kv_store set value = 'wrong' where key = 'seen'", "mautrix_signal")
    alive = lives(lab)
    lab.write_config({"goBackTo": str(with_other_key(dump))})
    assert "its keys are encrypted with another pickle key than the database mautrix_signal: name another" in refused(
        lab
    )
    assert lives(lab) == alive

    lab.write_config({"goBackTo": str(dump)})
    assert f"left it (output previousVersion), replaced by {dump}, then" in told(lab.pulumi("preview").stdout)
    lab.pulumi(*UP)
    assert (same(lab), ping(lab), lab.psql(SEEN, "mautrix_signal")) == (before, 200, "last night")
    assert manifest(str(lab.outputs()["previousVersion"]))["reason"] == f"before going back to {dump.name}"
    lab.pulumi(*UP, "--expect-no-changes")


def test_without_the_state_the_key_comes_from_a_config_or_nothing_changes(deployed: Lab, shared: Shared) -> None:
    """A dump has no key: beside a new one nothing in it could be read."""
    shared.spoilt = True
    lab, before, key = deployed, same(deployed), pickle_key(deployed)
    dump = make_dump(lab)
    forget(lab)
    lose_database(lab)
    lab.write_config({"restore": str(dump)})
    lab.pulumi(*UP)
    assert (same(lab), ping(lab), pickle_key(lab)) == (before, 200, key)
    lab.pulumi(*UP, "--expect-no-changes")

    # A destroy takes state and config away. Its archive has the key.
    lab.pulumi("destroy", "--yes", "--skip-preview")
    directory = lab.host_dir / "signal-bridge"
    assert f"put the bridge's config.yaml, which each of its archives holds, into {directory}/config-old" in refused(
        lab
    )
    (archive,) = Path(deployment_of(lab).bridges[0].archive.directory).glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        (name,) = (name for name in tar.getnames() if name.endswith("/config.yaml"))
        config = tar.extractfile(name)
        assert config is not None
        (directory / "config-old").mkdir(parents=True)
        (directory / "config-old/config.yaml").write_bytes(config.read())
    lab.pulumi("preview")
    lab.pulumi(*UP)
    assert (same(lab), ping(lab), pickle_key(lab)) == (before, 200, key)
    assert lab.psql(SEEN, "mautrix_signal") == "last night"
    lab.pulumi(*UP, "--expect-no-changes")
    lab.pulumi("destroy", "--yes", "--skip-preview")
