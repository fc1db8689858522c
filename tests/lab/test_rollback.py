"""A rollback that loses messages or keys; a second deployment that cannot start because the first one's keys are gone;
an archive that cannot be read by whoever needs it, or can by others.
"""

from __future__ import annotations

import json
import re
import tarfile

import pytest

from documents.bridge.pickle_key import opens_pickle
from lab.box import Lab
from tests.lab.conftest import Shared

pytestmark = pytest.mark.e2e

KEY = "select value from kv_store where key = 'recovery_key'"
ACCOUNT = "select encode(account, 'hex') from crypto_account"


def test_what_a_destroy_archives_comes_back_and_an_empty_start_makes_new_keys(deployed: Lab, shared: Shared) -> None:
    shared.spoilt = True
    first = deployed.psql(KEY, "mautrix_signal")
    account = bytes.fromhex(deployed.psql(ACCOUNT, "mautrix_signal"))
    deployed.pulumi("destroy", "--yes", "--skip-preview")
    (archive,) = (deployed.host_root / "var/backups/mautrix-signal").glob("*.tar.gz")
    assert archive.stat().st_mode & 0o7777 == 0o600 and archive.parent.stat().st_mode & 0o7777 == 0o700
    with tarfile.open(archive) as tar:
        names = [name.rpartition("/")[2] for name in tar.getnames()]
        key = json.load(tar.extractfile("keys.json"))["pickle_key"]  # type: ignore[arg-type]
    assert [opens_pickle(each, account) for each in (key, "x" * 64)] == [True, False], "as the real bridge pickles it"
    assert sorted(names) == [
        "config.yaml", "database.dump", "doublepuppet.yaml", "keys.json", "manifest.json", "registration.yaml",
    ]  # fmt: skip

    deployed.up()  # the image went with the destroy, and a lab cannot pull it
    done = deployed.pulumi("up", "--yes", "--skip-preview")
    assert "the database is new: new ones" in done.stdout
    second = deployed.psql(KEY, "mautrix_signal")
    assert second and second not in (first, "overwrite")
    deployed.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")

    deployed.pulumi("destroy", "--yes", "--skip-preview")
    deployed.up()
    deployed.write_config({"restore": "latest"})
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert deployed.psql(KEY, "mautrix_signal") == second, "the archived database, and its pickle key reads it"
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")  # back to `none`: the pickle key stays what it is
    assert deployed.psql(KEY, "mautrix_signal") == second
    deployed.pulumi("destroy", "--yes", "--skip-preview")


def test_a_destroy_that_could_not_archive_stops_while_all_still_runs(deployed: Lab) -> None:
    archives = deployed.host_root / "var/backups/mautrix-signal"
    archives.mkdir(parents=True, exist_ok=True)
    archives.chmod(0o775)
    try:
        done = deployed.pulumi("destroy", "--yes", "--skip-preview", check=False)
        assert done.returncode != 0
        assert (
            f"{archives}: others may write into it, and could change what is in it: chmod go-w"
            in done.stdout + done.stderr
        )
        container = deployed.docker.inspect("container", [deployed.bridge])[deployed.bridge]
        assert container["State"]["Running"]
    finally:
        archives.rmdir()
    deployed.pulumi("up", "--yes", "--skip-preview")


def test_a_destroy_passes_whatever_is_gone_already(deployed: Lab, shared: Shared) -> None:
    """Everything at once: the database and the role, the container, its image, the registrations, our lines."""
    shared.spoilt = True
    homeserver = deployed.host_dir / "synapse/homeserver.yaml"
    deployed.docker("rm", "-f", deployed.bridge)
    deployed.docker("rmi", "-f", deployed.bridge_image)
    deployed.psql("drop database mautrix_signal with (force)")
    deployed.psql("drop role mautrix_signal")
    homeserver.write_text(re.sub(r".*# pulumi stack mautrix-signal/lab\n", "", homeserver.read_text()))
    for name in ("registration.yaml", "doublepuppet.yaml"):
        (deployed.host_dir / "synapse" / name).unlink()
    deployed.docker("restart", deployed.synapse)
    deployed.wait_healthy()
    done = deployed.pulumi("destroy", "--yes", "--skip-preview")
    assert "there is no database mautrix_signal any more: nothing to archive" in done.stdout
    # The last copy of the key: nightly dumps of the database may be left.
    assert "stays: no archive holds its pickle key" in done.stdout
    (config,) = (deployed.host_dir / "signal-bridge").rglob("*.*")
    assert config.name == "config.yaml"
    assert "pulumi stack" not in homeserver.read_text()
    public = "select bool_and(has_database_privilege('public', oid, 'CONNECT')) from pg_database where datname in "
    assert deployed.psql(f"{public}('synapse', 'mas')") == "t"


def test_another_postgres_container_with_the_same_data_does_not_stop_a_destroy(deployed: Lab, shared: Shared) -> None:
    """It has another address than the one in the state; and this time the program does not run."""
    shared.spoilt = True
    network = deployed.network
    deployed.docker("network", "disconnect", network, deployed.postgres)
    taken = [f"{deployed.prefix}-taken-{n}" for n in range(3)]
    image = deployed.docker.inspect("container", [deployed.postgres])[deployed.postgres]["Image"]
    for name in taken:  # the address that is free now goes to somebody else
        deployed.docker("run", "-d", "--name", name, "--network", network, "--entrypoint", "sleep", image, "600")
    try:
        deployed.docker("network", "connect", "--alias", deployed.postgres, network, deployed.postgres)
        deployed.docker("restart", deployed.synapse)
        deployed.wait_healthy()
        deployed.pulumi("destroy", "--yes", "--skip-preview")
        assert deployed.psql("select count(*) from pg_database where datname = 'mautrix_signal'") == "0"
    finally:
        deployed.docker("rm", "-f", *taken)


def test_a_destroy_without_its_program_file_names_the_command_that_puts_it_back(deployed: Lab, shared: Shared) -> None:
    """Python alone says that it can't open a file. The command touches nothing else, and the destroy goes on."""
    shared.spoilt = True
    (program,) = deployed.host_dir.glob("bridges/mautrix-host-*.pyz")
    program.unlink()
    done = deployed.pulumi("destroy", "--yes", "--skip-preview", check=False)
    assert done.returncode != 0
    command = "pulumi up --target-replace '**host-programs'"
    assert f"its program file is gone from the host: `{command}` puts it back" in done.stdout + done.stderr
    container = deployed.docker.inspect("container", [deployed.bridge])[deployed.bridge]
    assert container["State"]["Running"]
    done = deployed.pulumi("up", "--yes", "--skip-preview", "--target-replace", "**host-programs")
    assert "+-1 replaced" in done.stdout and program.is_file()
    assert deployed.docker.inspect("container", [deployed.bridge])[deployed.bridge]["Id"] == container["Id"]
    deployed.pulumi("destroy", "--yes", "--skip-preview")
    assert not program.exists()
