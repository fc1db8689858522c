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
    docker_host = parsed.get("docker_host", "auto")
    if parsed.get("host") != LOCAL and docker_host.startswith("tcp://"):
        yield f"dockerHost: {docker_host!r} should be auto or a socket: Docker is reached over SSH"
    script, dumps = parsed.get("backup_script"), parsed.get("backup_dir", "/")
    if script == "none" and "$" in dumps:
        yield f"backupDir: {dumps!r} should be an absolute path, since backupScript is none"
    if bool(parsed.get("backup_filter")) != bool(parsed.get("backup_filter_suffix")):
        yield "backupFilter: should be set together with backupFilterSuffix, like `age -r …` and .age"


def check_bridge(entry: BridgeSettings, parsed: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between one bridge and the stack beside it, and within its own entry."""
    setting, bridge = entry.setting, entry.bridge
    taken = {
        "database": [*parsed.get("isolated_databases", ()), parsed.get("synapse_database"), parsed.get("mas_database")],
        "role": [parsed.get("postgres_superuser"), parsed.get("mas_role")],
        "container": [parsed.get(f"{service}_container") for service in ("synapse", "mas", "postgres")],
        "registration_file": [parsed.get("doublepuppet_file")],
    }
    taken["container"] += parsed.get("synapse_workers", ())
    for field, names in taken.items():
        value = getattr(entry, field)
        if value in names:
            yield f"{setting}.{key_of(field)}: {value!r} is the stack's, too: should be one of its own"
    if bridge.appservice_id == parsed.get("doublepuppet_id"):
        yield f"{setting}: the id {bridge.appservice_id!r} is doublepuppetId's, too: give it another name"
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


def check_pairs(entries: Sequence[BridgeSettings]) -> Iterator[str]:
    """Names that two bridges cannot both have."""
    for first, second in itertools.combinations(entries, 2):
        if first.key == second.key or first.bridge.name == second.bridge.name:
            name = second.bridge.name
            yield f"{second.setting}: {name} is {first.setting}, too: give one of the two a name of its own"
            continue
        for field in ("container", "database", "role", "registration_file"):
            value = getattr(second, field)
            if value == getattr(first, field):
                where = f"{second.setting}.{key_of(field)}"
                yield f"{where}: {value!r} is {first.setting}'s, too: should be one of its own"


def check_directories(entries: Sequence[BridgeSettings], parsed: Mapping[str, Any]) -> Iterator[str]:
    """Directories inside one another: what removes, reads or writes the one would do it to the other."""

    def paths(*names: str) -> dict[str, str]:
        return {key_of(name): parsed[name] for name in names if name in parsed}

    bridges = {f"{entry.setting}.directory": entry.directory for entry in entries}
    archives = {f"{entry.setting}.archiveDir": entry.archive_dir for entry in entries}
    ours = {**bridges, **paths("shared_dir", "synapse_dir")}
    pairs = [*itertools.combinations(ours.items(), 2), *itertools.product(archives.items(), ours.items())]
    nested = [(one, other) for one, other in pairs if _is_below(one[1], other[1]) or _is_below(other[1], one[1])]
    backups, removed = paths("backup_dir", "backup_script"), {**bridges, **paths("shared_dir")}
    dumps = itertools.product(backups.items(), removed.items())
    nested += [(one, other) for one, other in dumps if _is_below(one[1], other[1])]
    for (key, path), (other_key, other_path) in nested:
        yield (
            f"{key}: {path!r} and {other_key} {other_path!r} should not be one inside the other: {key} needs a place "
            "of its own"
        )


def _is_below(path: str, directory: str) -> bool:
    return PurePosixPath(directory) in (PurePosixPath(path), *PurePosixPath(path).parents)
