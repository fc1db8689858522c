"""A rollback that loses messages or keys; a second deployment that cannot start because the first one's keys are gone;
an archive that cannot be read by whoever needs it, or can by others.
"""

from __future__ import annotations

import tarfile

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared

pytestmark = pytest.mark.e2e

KEY = "select value from kv_store where key = 'recovery_key'"


def test_what_a_destroy_archives_comes_back_and_an_empty_start_makes_new_keys(deployed: Lab, shared: Shared) -> None:
    shared.spoilt = True
    first = deployed.psql(KEY, "mautrix_signal")
    deployed.pulumi("destroy", "--yes", "--skip-preview", "--run-program")
    (archive,) = (deployed.host_root / "var/backups/mautrix-signal").glob("*.tar.gz")
    assert archive.stat().st_mode & 0o7777 == 0o600 and archive.parent.stat().st_mode & 0o7777 == 0o700
    with tarfile.open(archive) as tar:
        names = [name.rpartition("/")[2] for name in tar.getnames()]
    assert sorted(names) == [
        "config.yaml", "database.sql", "doublepuppet.yaml", "keys.json", "manifest.json", "registration.yaml",
    ]  # fmt: skip

    deployed.up()  # the image went with the destroy, and a lab cannot pull it
    done = deployed.pulumi("up", "--yes", "--skip-preview")
    assert "the database is new: new ones" in done.stdout
    second = deployed.psql(KEY, "mautrix_signal")
    assert second and second not in (first, "overwrite")
    deployed.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")

    deployed.pulumi("destroy", "--yes", "--skip-preview", "--run-program")
    deployed.up()
    deployed.write_config(restore="latest")
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert deployed.psql(KEY, "mautrix_signal") == second, "the archived database, and its pickle key reads it"
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")  # back to `none`: the pickle key stays what it is
    assert deployed.psql(KEY, "mautrix_signal") == second
    deployed.pulumi("destroy", "--yes", "--skip-preview", "--run-program")
