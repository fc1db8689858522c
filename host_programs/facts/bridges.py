"""Facts about each bridge: its container, its directory, its archives, how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from documents.places import NO_ARCHIVE, BridgeDeployment, BridgePlace, Deployment
from host_programs.backup import archives
from host_programs.bridge.config import SettingsQuestion, find_refused_settings
from host_programs.docker import belongs_to_stack
from host_programs.facts.files import read_directory, read_own_file, read_text
from host_programs.files.directory import READY, read_config_owners
from host_programs.messages import ScriptError
from verdicts.host_facts.archive import ArchiveFacts
from verdicts.host_facts.bridge import BridgeFacts
from verdicts.host_facts.docker import Container


@dataclass(frozen=True)
class Surroundings:
    """What is known of the host already: containers by name, and the bridges' images that it has."""

    containers: Mapping[str, Container]
    images: set[str]


def read_bridge(deployment: BridgeDeployment, surroundings: Surroundings) -> BridgeFacts:
    """All facts about one bridge but its database's schema, which is read for all bridges at once."""
    place, archive = deployment.place, deployment.archive
    directory = Path(place.directory)
    has_image = place.image in surroundings.images
    return BridgeFacts(
        container=surroundings.containers.get(place.container),
        image=has_image,
        directory=read_directory(place.directory),
        directory_writers=tuple(sorted(read_config_owners(directory))),
        other_containers=_list_mounting(surroundings.containers, place),
        registration=read_own_file(Path(deployment.registration_path)),
        ready_mark=read_text(directory / READY) or "",
        # Without its image, the step that writes the config asks the bridge.
        config_refused=find_refused_settings(SettingsQuestion.of(deployment, place.image)) if has_image else (),
        archive_dir=read_directory(archive.directory),
        archive=find_archive(deployment),
        going_back=_read_archive(archive.go_back) if archive.go_back else None,
        versions=_find_versions(deployment),
        schema={},
    )


def _list_mounting(containers: Mapping[str, Container], place: BridgePlace) -> tuple[str, ...]:
    """Names of containers, the bridge's own aside, that mount its directory or one below it."""
    directory = Path(place.directory)
    return tuple(
        name
        for name, container in sorted(containers.items())
        if name != place.container
        and any(directory in (source, *source.parents) for source in (Path(each.source) for each in container.mounts))
    )


def find_archive(deployment: BridgeDeployment) -> Optional[ArchiveFacts]:
    """The archive that the setting `restore` names, None if it names none; `latest` is the newest of this stack, this
    domain and this bridge."""
    directory, wanted = deployment.archive.directory, deployment.archive.restore
    if wanted != "latest":
        return None if wanted == NO_ARCHIVE else _read_archive(wanted)
    others: dict[str, None] = {}
    for path, manifest in archives.list_archives(directory, deployment.bridge.name):
        if manifest.archive_owner == deployment.archive_owner:
            return ArchiveFacts(str(path), manifest)
        others[manifest.archive_owner] = None
    return ArchiveFacts(
        error=f"{directory}: holds no archive of {deployment.archive_owner}", other_owners=tuple(others)
    )


def _read_archive(path: str) -> ArchiveFacts:
    try:
        return ArchiveFacts(path, archives.read_manifest(Path(path)))
    except ScriptError as error:
        return ArchiveFacts(error=str(error))


def _find_versions(deployment: BridgeDeployment) -> dict[str, ArchiveFacts]:
    """By image, the newest archive of the bridge's database as that image left it."""
    versions: dict[str, ArchiveFacts] = {}
    directory, bridge = deployment.archive.directory, deployment.bridge.name
    for path, manifest in archives.list_archives(directory, bridge, deployment.archive_owner):
        versions.setdefault(manifest.image, ArchiveFacts(str(path), manifest))
    return versions


def list_leaving(containers: Mapping[str, Container], deployment: Deployment) -> tuple[str, ...]:
    """Names of this stack's containers that its settings no longer name as a bridge's."""
    named = {bridge.place.container for bridge in deployment.bridges}
    return tuple(
        name
        for name, container in sorted(containers.items())
        if belongs_to_stack(container, deployment.stack, deployment.synapse.network) and name not in named
    )
