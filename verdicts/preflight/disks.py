"""Checks directories on the host: whether root can use them, whether they were moved, free disk space."""

from __future__ import annotations

from collections.abc import Iterator

from documents.backup.dump_script import is_dump_name
from documents.places import BridgeDeployment, Deployment
from verdicts.host_facts.host import Directory, HostFacts

MEBI = 2**20
IMAGE_BYTES = 600 * MEBI  # a bridge's image unpacked, with room for its download
TEMPORARY_BYTES = 2048 * MEBI  # the bridges' files in /tmp: Signal's transfer of the history has gigabytes
SPARE_BYTES = 200 * MEBI


def check_directories(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Directories that are read-only, that others than root could change, or that cannot be made."""
    bridges = [*zip(deployment.bridges, facts.bridges, strict=True)]
    for path, directory in (
        (deployment.shared_directory, facts.directory),
        (deployment.synapse.directory, facts.synapse_dir),
        *((bridge.place.directory, found.directory) for bridge, found in bridges),
    ):
        if not directory.writable:
            yield f"{path}: is read-only: make it writable for the user who runs this"
    for key, directory in (
        ("sharedDir", facts.directory),
        ("backupDir", facts.backup_dir),
        *((f"{bridge.setting}.directory", found.directory) for bridge, found in bridges),
        *((f"{bridge.setting}.archiveDir", found.archive_dir) for bridge, found in bridges),
    ):
        if directory.fault:
            yield f"{directory.fault} (setting {key})"
    for bridge, directory in list_leaving(facts):
        use = f"the archive of {bridge.bridge.name}, which leaves the list, goes there"
        if directory.fault:
            yield f"{directory.fault} ({use})"
        elif not directory.writable:
            yield f"{bridge.archive.directory}: is read-only, and {use}"


def list_leaving(facts: HostFacts) -> Iterator[tuple[BridgeDeployment, Directory]]:
    """The bridges that the settings no longer have, as the last `up` recorded them, and where their archives go."""
    for bridge in facts.recorded.bridges if facts.recorded else ():
        if bridge.key in facts.leaving_archives:
            yield bridge, facts.leaving_archives[bridge.key]


def find_files_among_dumps(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Files in the directory for our dumps that are none: somebody else may clean it up, and take ours for his."""
    others = [name for name in facts.backup_dir.entries if not is_dump_name(name)]
    if others and deployment.backup.has_own_directory:
        names = f"{', '.join(others[:3])}{', …' if len(others) > 3 else ''}"
        fix = "set one that is for our dumps alone, such as /var/backups/mautrix-bridges"
        yield f"backupDir: {deployment.backup.directory} holds files that are no dumps of ours ({names}): {fix}"


def check_moves(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Directories of ours that the settings now want elsewhere. What is in the old one would stay."""
    fix = "set it back; or `pulumi destroy` and then `pulumi up` with restore latest, which begin anew in the other one"
    shared = {found.directory.shared for found in facts.bridges if found.directory.stack == deployment.stack}
    for earlier in sorted(shared - {"", deployment.shared_directory}):
        yield f"sharedDir: is {earlier} since the first `up` of this stack, and cannot be moved: {fix}"
    for bridge, found in zip(deployment.bridges, facts.bridges, strict=True):
        if earlier := found.earlier_directory:
            yield f"{bridge.setting}.directory: is {earlier} since the bridge's first `up`, and cannot be moved: {fix}"


def find_left_archives(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Archives in the directory that the settings named before."""
    for bridge, found in zip(deployment.bridges, facts.bridges, strict=True):
        if found.earlier_archive_dir:
            yield (
                f"{bridge.setting}.archiveDir: the archives so far, and the keys in them, stay in "
                f"{found.earlier_archive_dir}, where nothing looks for them any more: move them to "
                f"{bridge.archive.directory}"
            )


def find_full_disks(facts: HostFacts, deployment: Deployment) -> Iterator[tuple[str, bool]]:
    """Disks with less room than may be needed, and whether it is certainly too little.

    The needs are estimates: at best, a tenth is enough.
    """
    sizes, bridges = facts.postgres.bytes, list(zip(deployment.bridges, facts.bridges, strict=True))
    images = {bridge.place.image for bridge, found in bridges if not found.image}
    size = len(images) * IMAGE_BYTES + TEMPORARY_BYTES
    needs = [("for Docker", facts.docker_free, "the bridges' images and temporary files", size)]
    backup = deployment.backup
    dumped = [database.database for database in deployment.dumped_databases]
    dumped += [] if backup.has_own_directory else [deployment.synapse.database]  # the operator's script dumps it there
    size = sum(sizes.get(name, 0) for name in dumped)
    place = f"in {backup.directory}" if backup.has_own_directory else f"beside {backup.script}"
    needs.append((place, facts.backup_dir.free, "the dumps", size // 2 + SPARE_BYTES))
    for bridge, found in bridges:
        size, place = sizes.get(bridge.place.database.database, 0), f"in {bridge.archive.directory}"
        needs.append((place, found.archive_dir.free, "an archive", size + size // 2))
    for bridge, directory in list_leaving(facts):
        size, place = sizes.get(bridge.place.database.database, 0), f"in {bridge.archive.directory}"
        needs.append((place, directory.free, f"the archive of {bridge.bridge.name}", size + size // 2))
    for place, free, use, needed in needs:
        if free < needed:
            yield f"disk: {free // MEBI} MiB free {place}: {use} may need {needed // MEBI}", free * 10 < needed
