"""Conditions on several settings together: what each of two values allows alone, and not both.

`parsed` holds the typed settings by the name of their field, without those whose value was refused already.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from documents.bridge import config
from settings.fields import BridgeSettings, key_of
from settings.values import LOCAL


def check_stack(parsed: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between settings of the stack."""
    domain, admin = parsed.get("domain"), parsed.get("admin_user")
    if domain and admin and not admin.endswith(f":{domain}"):
        yield f"adminUser: {admin!r} should be a user of the domain {domain!r}, like @name:{domain}"
    for name in parsed.get("synapse_workers", ()):
        if name in _stack_containers(parsed):
            yield f"synapseWorkers: {name!r} should be a container of Synapse's other processes"
    if parsed.get("host") == LOCAL:
        for name, unset in (("become", "none"), ("ssh_key", ""), ("ssh_config", ""), ("postgres_local_port", 0)):
            if parsed.get(name, unset) != unset:
                yield (
                    f"{key_of(name)}: {parsed[name]!r} counts for a host behind SSH: set host to its address, or take "
                    "this away"
                )
    elif parsed.get("docker_host", "auto").startswith("tcp://"):
        yield f"dockerHost: {parsed['docker_host']!r} should be auto or a socket: Docker is reached over SSH"
    script, dumps = parsed.get("backup_script"), parsed.get("backup_dir", "/")
    if script == "none" and "$" in dumps:
        yield f"backupDir: {dumps!r} should be an absolute path, since backupScript is none"
    if bool(parsed.get("backup_filter")) != bool(parsed.get("backup_filter_suffix")):
        yield "backupFilter: should be set together with backupFilterSuffix, like `age -r …` and .age"


def check_bridge(entry: BridgeSettings, parsed: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between one bridge and the stack beside it, and within its own entry."""
    setting, bridge = entry.setting, entry.bridge
    if entry.image.endswith(":latest"):
        fix = "an image with an exact tag, so that an upgrade is a decision"
        yield f"{setting}.image: {entry.image!r} should be {fix}"
    databases = {*parsed.get("isolated_databases", ()), parsed.get("synapse_database"), parsed.get("mas_database")}
    if entry.database in databases:
        yield f"{setting}.database: {entry.database!r} should be a database of the bridge's own"
    if entry.role in {parsed.get("postgres_superuser"), parsed.get("mas_role")}:
        yield f"{setting}.role: {entry.role!r} should be a role of the bridge's own"
    if entry.container in (*_stack_containers(parsed), *parsed.get("synapse_workers", ())):
        yield f"{setting}.container: {entry.container!r} should be a name of the bridge's own"
    if entry.registration_file == parsed.get("doublepuppet_file"):
        yield f"{setting}.registrationFile: {entry.registration_file!r} should differ from doublepuppetFile"
    if bridge.appservice_id == parsed.get("doublepuppet_id"):
        yield f"{setting}: the id {bridge.appservice_id!r} is doublepuppetId's, too: give it another name"
    if entry.permissions and config.has_value(entry.bridge_config, "bridge.permissions"):
        yield f"{setting}.permissions: are in bridgeConfig.bridge.permissions, too: keep one of the two"
    for key in config.find_forbidden_keys(entry.bridge_config):
        yield (
            f"{setting}.bridgeConfig.{key}: is not to be set: this program sets it, and other parts of the deployment "
            "depend on it"
        )
    for key in bridge.needs:
        if not config.has_value(entry.bridge_config, key):
            yield (
                f"{setting}.bridgeConfig.{key}: not set, and {bridge.network_name}'s bridge does not start without it "
                f"({bridge.source})"
            )


def _stack_containers(parsed: Mapping[str, Any]) -> list[Any]:
    return [parsed.get(f"{service}_container") for service in ("synapse", "mas", "postgres")]


def check_pairs(entries: Sequence[BridgeSettings]) -> Iterator[str]:
    """Names that two bridges cannot both have."""
    for first, second in itertools.combinations(entries, 2):
        if first.key == second.key or first.bridge.name == second.bridge.name:
            name = second.bridge.name
            yield f"{second.setting}: {name} is {first.setting}, too: give one of the two a name of its own"
            continue
        for field in ("container", "database", "role", "registration_file"):
            value = getattr(first, field)
            if value == getattr(second, field):
                yield (
                    f"{second.setting}.{key_of(field)}: {value!r} is {first.setting}'s, too: should be one of its own"
                )


def check_directories(entries: Sequence[BridgeSettings], parsed: Mapping[str, Any]) -> Iterator[str]:
    """Directories inside one another: what removes, reads or writes the one would do it to the other."""
    shared = {key_of(name): parsed[name] for name in ("shared_dir", "synapse_dir") if name in parsed}
    directories = {f"{entry.setting}.directory": entry.directory for entry in entries}
    archives = {f"{entry.setting}.archiveDir": entry.archive_dir for entry in entries}
    backups = {key_of(name): parsed[name] for name in ("backup_dir", "backup_script") if name in parsed}
    pairs = [*itertools.combinations([*directories.items(), *shared.items()], 2)]
    pairs += itertools.product(archives.items(), {**directories, **shared}.items())
    for (key, path), (other_key, other_path) in pairs:
        if _is_below(path, other_path) or _is_below(other_path, path):
            yield _nested(key, path, other_key, other_path)
    removed = {**directories, **{key: path for key, path in shared.items() if key == "sharedDir"}}
    for (key, path), (other_key, other_path) in itertools.product(backups.items(), removed.items()):
        if path.startswith("/") and _is_below(path, other_path):
            yield _nested(key, path, other_key, other_path)


def _is_below(path: str, directory: str) -> bool:
    return PurePosixPath(directory) in (PurePosixPath(path), *PurePosixPath(path).parents)


def _nested(key: str, path: str, other_key: str, other_path: str) -> str:
    return (
        f"{key}: {path!r} and {other_key} {other_path!r} should not be one inside the other: {key} needs a place of "
        "its own"
    )
