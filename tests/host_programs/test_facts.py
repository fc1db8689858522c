"""A look at the host that takes a thing for missing which is there in another form."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.places import BridgeDeployment
from host_programs import docker
from host_programs.facts import bridges
from host_programs.facts import docker as docker_facts
from host_programs.facts import postgres as postgres_facts
from host_programs.facts.files import read_directory, read_own_file
from host_programs.facts.synapse import find_renderers, writes_file
from host_programs.postgres import psql
from tests import facts
from tests.host_programs.container_json import inspected
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres
from verdicts.host_facts.host import PostgresFacts

__all__ = ["bridge_database", "postgres"]


@pytest.mark.parametrize(
    ("environment", "password"),
    [
        ({"POSTGRES_PASSWORD": "plain"}, "plain"),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password"}, "in the file"),
        ({"POSTGRES_PASSWORD_FILE": "/gone"}, ""),
        ({}, ""),
    ],
)
def test_the_superuser_s_password_is_found_as_the_image_finds_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], password: str
) -> None:
    def docker(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        assert words[:3] == ("exec", "matrix-postgres", "cat")
        there = words[3] == "/run/secrets/postgres_password"
        return subprocess.CompletedProcess(words, 0 if there else 1, "in the file\n" if there else "", "")

    monkeypatch.setattr(postgres_facts, "run_docker", docker)
    monkeypatch.setattr(postgres_facts, "read_variable", lambda container, name: environment.get(name, ""))
    assert postgres_facts.read_superuser_password("matrix-postgres") == password


def read(server: Postgres, monkeypatch: pytest.MonkeyPatch, **changed: str) -> PostgresFacts:
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(postgres_facts, "read_superuser_password", lambda container: "of the container")
    return postgres_facts.read_postgres(facts.whole(None, **changed), ("synapse", "mas"), "")


def test_all_that_postgres_tells_comes_with_one_command(
    bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `docker exec` more is felt with twenty bridges."""
    calls = []

    def count(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(words)
        return docker.run_docker(*words, **options)

    monkeypatch.setattr(psql, "run_docker", count)
    found = read(bridge_database, monkeypatch)
    assert len(calls) == 1 and not found.error
    assert not [word for word in calls[0] if "of the container" in word], "everybody reads a command line"
    assert found.roles["mautrix_signal"] == found.databases["mautrix_signal"] == ""
    assert found.superuser and found.locked_out == {"synapse": ("mas",)}
    assert found.schemas == {"mautrix_signal": {"version": (25, 9), "crypto_version": (11, 11)}}
    assert found.objects["mautrix_signal"] > 4 and found.foreign == {"mautrix_signal": 0}
    assert found.superuser_password == "of the container"
    assert "matrix-postgres" in found.login_refused, "this one has no network"
    bridge_database.sql("drop owned by mautrix_signal;", "mautrix_signal", "mautrix_signal")
    found = read(bridge_database, monkeypatch)
    assert (found.objects, found.schemas) == ({"mautrix_signal": 0}, {"mautrix_signal": {}})
    bridge_database.sql("drop database mautrix_signal;")
    found = read(bridge_database, monkeypatch)
    assert (found.objects, found.schemas, found.error) == ({}, {}, "")


def test_a_user_of_synapse_s_is_known_before_the_check_asks_for_it(
    bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo in adminUser was found after Synapse's restart."""
    assert read(bridge_database, monkeypatch).admin_exists is True
    assert read(bridge_database, monkeypatch, adminUser="@mat:echo6.co").admin_exists is False
    bridge_database.sql("alter table users rename to people;", "synapse")
    try:
        assert read(bridge_database, monkeypatch).admin_exists is None, "it may be in another schema"
        # Whoever owns what stands there must not get a superuser's rights by it.
        bridge_database.sql(
            "create table seen (name text); grant all on seen to public; grant all on schema public to mas;", "synapse"
        )
        bridge_database.sql(
            "create function note() returns text language sql volatile as "
            "$$ insert into public.seen select current_user returning '@matt:echo6.co' $$;"
            "create view users as select note() as name;",
            "synapse",
            "mas",
        )
        read(bridge_database, monkeypatch)
        assert bridge_database.sql("select distinct name from seen;", "synapse") == ["mas"]
    finally:
        for statement in (
            "drop view if exists users; drop function if exists note; drop table if exists seen;",
            "revoke all on schema public from mas; alter table people rename to users;",
        ):
            bridge_database.sql(statement, "synapse")


@pytest.mark.parametrize(
    ("said", "selinux"),
    [
        ("/var/lib/docker\t[name=apparmor name=seccomp,profile=builtin]\n", False),
        ("/var/lib/docker\t[name=seccomp,profile=builtin name=selinux]\n", True),
        ("/var/lib/docker\t[]\n", False),
    ],
)
def test_whether_docker_enforces_selinux(monkeypatch: pytest.MonkeyPatch, said: str, selinux: bool) -> None:
    """The bridge could not read its config, and ended."""
    done = subprocess.CompletedProcess[str]([], 0, said, "")
    monkeypatch.setattr(docker_facts, "run_docker", lambda *words: done)
    assert docker_facts.read_daemon() == ("/var/lib/docker", selinux)


@pytest.mark.parametrize(
    ("command", "writes"),
    [
        ("sh -c envsubst < /tpl/homeserver.yaml.tmpl > /data/homeserver.yaml", True),
        ("/bin/sh -c sed 's/@A@/b/' /t/homeserver.yaml >\"/data/homeserver.yaml\" && echo done", True),
        ("sh -c cp /template/homeserver.yaml /data/homeserver.yaml; chown 991 /data", True),
        ("bash -c cat a b | tee /data/homeserver.yaml", True),
        ("sed -i s/a/b/ /data/homeserver.yaml", True),
        ("gomplate -f /t/homeserver.yaml.tmpl -o /data/homeserver.yaml", True),
        ("python3 -m synapse.app.homeserver -c /data/homeserver.yaml", False),
        ("sh -c cp /data/homeserver.yaml /backup/before.yaml; sleep 5", False),
        ("sh -c cat /data/homeserver.yaml > /dev/null", False),
        ("sh -c echo x > /data/homeserver.yaml.bak", False),
        ("/start.py", False),
        ("sh -c cd /data && envsubst < t > homeserver.yaml", True),
        ("sh -c envsubst < t > ${DIR}/homeserver.yaml; exec /start.py", True),
        ("sh -c cp /data/homeserver.yaml /backup/homeserver.yaml", False),
    ],
)
def test_a_command_that_makes_homeserver_yaml_anew_is_seen(command: str, writes: bool) -> None:
    """Our entries would go at the next `docker compose up`, without a word in the file's head."""
    assert writes_file(command, "/data/homeserver.yaml") is writes


def test_an_init_service_that_writes_the_file_is_found_by_its_command() -> None:
    """Pins Docker's answer read without the command, and a container that has no part of Synapse's files taken for
    one."""
    raw = json.loads(inspected())[0]
    raw["Mounts"][0] |= {"Source": "/opt/matrix/synapse"}
    raw["Config"] |= {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["envsubst </t >/data/homeserver.yaml"]}
    init = docker._parse_container(raw)
    assert "envsubst" not in repr(init), "a command may hold secrets"
    containers = {"init": init, "elsewhere": replace(init, mounts=()), "synapse": replace(init, command=("/start.py",))}
    assert find_renderers(containers, facts.deployment().synapse) == ("init",)


def test_a_directory_that_others_can_change_is_told_and_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.stack").write_text("p/a\n/opt/shared\n")
    found = read_directory(str(tmp_path / "shared"))
    assert (found.stack, found.shared, found.entries, found.fault) == ("p/a", "/opt/shared", (".stack",), "")
    os.chown(tmp_path / "shared", 1000, 1000)
    found = read_directory(str(tmp_path / "shared"))
    assert (found.stack, found.shared, found.entries) == (None, "", ())
    assert found.fault.startswith(f"{tmp_path}/shared: belongs to uid 1000, who could change what is in it: chown root")
    assert read_directory(str(tmp_path / "shared"), foreign=True).entries == (".stack",), "as Synapse's"


def test_a_missing_parent_is_told_unless_it_is_made(tmp_path: Path) -> None:
    path = f"{tmp_path}/no/shared"
    assert read_directory(path).fault == f"{tmp_path}/no: no such directory: make it"
    assert read_directory(path, makes_parents=True).fault == ""


def test_anything_but_a_file_is_no_registration_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # opened to be read, it would hold preview for ever
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("fifo", "link"):
        found = read_own_file(tmp_path / name)
        assert found is not None and found.stack == ""
    assert read_own_file(tmp_path / "none") is None


def test_what_the_last_up_left_in_another_directory_is_seen(tmp_path: Path) -> None:
    recorded = facts.deployment({"directory": f"{tmp_path}/old", "archiveDir": f"{tmp_path}/archives"})
    now = facts.deployment({"directory": f"{tmp_path}/new", "archiveDir": f"{tmp_path}/elsewhere"})

    def see(settings: BridgeDeployment, last: BridgeDeployment | None) -> tuple[str, str]:
        found = bridges.read_bridge(settings, {}, has_image=False, recorded=last)
        return found.earlier_directory, found.earlier_archive_dir

    assert see(now, recorded) == ("", ""), "nothing is there"
    (tmp_path / "old").mkdir()
    (tmp_path / "old/.stack").write_text("other/x\n")
    assert see(now, recorded) == ("", ""), "somebody else's"
    (tmp_path / "old/.stack").write_text(f"{facts.STACK}\n")
    assert see(now, recorded) == (f"{tmp_path}/old", "")
    assert see(now, None) == see(recorded, recorded) == ("", "")
