"""Checks room on the host: writable directories and free disk space."""

from __future__ import annotations

from collections.abc import Iterator

from documents.places import Deployment
from settings.fields import Settings
from verdicts.host_facts.host import HostFacts

IMAGE_BYTES = 600 * 2**20  # a bridge's image unpacked, with room for its download
TEMPORARY_BYTES = 2 * 2**30  # the bridges' files in /tmp: Signal's transfer of the history has gigabytes
SPARE_BYTES = 200 * 2**20


def check_room(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    """Directories that are read-only, and disks that certainly have too little room."""
    bridges = zip(deployment.bridges, facts.bridges, strict=True)
    places = [
        (deployment.shared_directory, facts.directory),
        (deployment.synapse.directory, facts.synapse_dir),
        *((bridge.place.directory, found.directory) for bridge, found in bridges),
    ]
    for path, directory in places:
        if not directory.writable:
            yield f"{path}: is read-only: make it writable for the user who runs this"
    if not facts.synapse_dir.exists:
        yield f"{deployment.synapse.directory}: no such directory on the host: correct the setting synapseDir"
    yield from (f"{line}: make room" for line, certain in _full_disks(facts, settings, deployment) if certain)


def find_disk_warnings(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    """Disks that may have too little room."""
    return (line for line, certain in _full_disks(facts, settings, deployment) if not certain)


def _full_disks(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[tuple[str, bool]]:
    """Disks with less room than may be needed, and whether it is certainly too little.

    The needs are estimates: at best, a tenth is enough.
    """
    sizes, needs = facts.postgres.bytes, []
    bridges = list(zip(deployment.bridges, facts.bridges, strict=True))
    images = {bridge.place.image for bridge, found in bridges if not found.image}
    pulled = {0: "", 1: "the image and "}.get(len(images), f"{len(images)} images and ")
    use = f"{pulled}the bridges' temporary files"
    needs.append(("for Docker", facts.docker_free, use, len(images) * IMAGE_BYTES + TEMPORARY_BYTES))
    dumped = (settings.synapse_database, *(database.database for database in deployment.dumped_databases))
    size = sum(sizes.get(name, 0) for name in dumped)
    place = f"in {facts.dumps_path}" if facts.dumps_path else f"beside {deployment.backup.script}"
    needs.append((place, facts.backup_dir.free, "the dumps", size // 2 + SPARE_BYTES))
    for bridge, found in bridges:
        size, place = sizes.get(bridge.place.database.database, 0), f"in {bridge.archive.directory}"
        needs.append((place, found.archive_dir.free, "an archive", size + size // 2))
    for place, free, use, needed in needs:
        if free < needed:
            yield f"disk: {_mebi(free)} MiB free {place}: {use} may need {_mebi(needed)}", free * 10 < needed


def _mebi(size: int) -> int:
    return size // 2**20
