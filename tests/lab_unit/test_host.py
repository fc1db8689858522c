"""The lab's host stands for a hand-kept one. If its files were already as the product leaves them, or held a name of
the plan's, the end-to-end tests would pass without anything having been done."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
import yaml

from lab import host

SECRETS = {name: f"{index:064x}" for index, name in enumerate(host.SECRETS, 1)}
STACK = host.Stack(Path("/elsewhere/stack"), "a-net", "a-postgres", "a-synapse", "a-mas", 18123, SECRETS)
FILES = {file.path: file for file in host.files(STACK)}


def text(path: str) -> str:
    content = FILES[path].text
    assert content is not None
    return content


def test_homeserver_yaml_is_in_mas_mode_and_knows_no_bridge() -> None:
    document = yaml.safe_load(text("synapse/homeserver.yaml"))
    assert document["server_name"] == "echo6.co"
    assert document["matrix_authentication_service"] == {
        "enabled": True,
        "endpoint": "http://a-mas:8080/",
        "secret": SECRETS["mas_secret"],
    }
    assert document["database"]["args"]["host"] == "a-postgres"
    assert "app_service_config_files" not in document
    assert "experimental_features" not in document


def test_homeserver_yaml_looks_written_by_hand() -> None:
    lines = text("synapse/homeserver.yaml").splitlines()
    assert any(line.startswith("#app_service_config_files:") for line in lines), "a key that is commented out"
    assert any("  # " in line and not line.lstrip().startswith("#") for line in lines), "a comment behind a value"
    assert lines[-1].startswith("#"), "the file ends in a comment"


def test_the_backup_script_is_the_plans() -> None:
    script = text("scripts/pg_backup.sh")
    assert 'BACKUP_DIR="/elsewhere/stack/backups"' in script
    assert "TIMESTAMP=" in script
    assert script.count("pg_dump") == 1 and "docker exec a-postgres pg_dump -U synapse -d synapse" in script
    assert "-mtime +14 -delete" in script
    assert FILES["scripts/pg_backup.sh"].mode & 0o100
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("name", ["matrix-net", "matrix-synapse", "matrix-postgres", "matrix-mas", "/opt/matrix"])
def test_no_name_of_the_plans_host_is_used(name: str) -> None:
    assert [path for path, file in FILES.items() if name in (file.text or "")] == []


def test_no_placeholder_is_left() -> None:
    for path, file in FILES.items():
        assert "@MAS" not in (file.text or ""), path
        assert "@POSTGRES" not in (file.text or ""), path
        assert "@SYNAPSE" not in (file.text or ""), path
        assert "@HOST_DIR" not in (file.text or ""), path


def test_parents_come_first_and_secrets_are_not_for_everybody() -> None:
    seen: set[str] = set()
    for file in host.files(STACK):
        parent = str(Path(file.path).parent)
        assert parent == "." or parent in seen, file.path
        seen.add(file.path)
        if any(secret in (file.text or "") for secret in SECRETS.values()):
            assert file.mode & 0o007 == 0, file.path


def test_the_compose_file_names_what_runs() -> None:
    document = yaml.safe_load(text("docker-compose.yml"))
    assert {name: service["container_name"] for name, service in document["services"].items()} == {
        "postgres": "a-postgres",
        "synapse": "a-synapse",
        "mas": "a-mas",
    }
    assert document["services"]["synapse"]["ports"] == ["127.0.0.1:18123:8008"]


def test_fill_takes_neither_too_few_nor_too_many() -> None:
    assert host.fill("a @X@ mailto:root@localhost @Y_Z@", {"X": "1", "Y_Z": "2"}) == "a 1 mailto:root@localhost 2"
    with pytest.raises(KeyError, match="X"):
        host.fill("@X@", {})
    with pytest.raises(ValueError, match="does not use Y"):
        host.fill("@X@", {"X": "1", "Y": "2"})


def test_signing_key_is_in_synapses_format() -> None:
    algorithm, version, key = host.signing_key("ab" * 32).split()
    assert (algorithm, version[:2]) == ("ed25519", "a_")
    assert base64.b64decode(key + "=") == bytes.fromhex("ab" * 32)
    with pytest.raises(ValueError, match="32 bytes, not 2"):
        host.signing_key("abcd")


def test_the_config_of_mas_has_the_shape_of_the_real_one_s() -> None:
    """As `mas-cli config generate` of 1.16.0 has it: a listener without resources serves nothing."""
    document = host.mas_config(STACK)
    assert set(document) == {"http", "database", "matrix", "lab_sessions"}
    (listener,) = document["http"]["listeners"]  # type: ignore[index]
    assert set(listener) == {"name", "resources", "binds"}
    names = [resource["name"] for resource in listener["resources"]]
    assert names == ["discovery", "human", "oauth", "compat", "graphql", "assets", "health"]
    assert all(set(resource) == {"name"} for resource in listener["resources"])
    assert all(set(bind) == {"address"} for bind in listener["binds"])
    assert set(document["matrix"]) == {"kind", "homeserver", "secret", "endpoint"}  # type: ignore[call-overload]
