"""Facts about each bridge: its container, its directory, its archives, how it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Optional

from documents.backup.dump_script import is_dump_of, name_dump
from documents.backup.plain_dump import is_nightly_dump
from documents.bridge.kinds import CONFIG_PATH
from documents.places import NO_ARCHIVE, BridgeDeployment, Deployment
from host_programs.backup import archives, sources
from host_programs.bridge.config import SettingsQuestion, find_refused_settings
from host_programs.bridge.pickle_keys import find_config_keys, find_key_of_accounts
from host_programs.docker import belongs_to_stack, find_path_on_host
from host_programs.facts.files import read_directory, read_own_file, read_text
from host_programs.files.directory import READY, read_claimed_names, read_config_owners
from host_programs.messages import ScriptError
from verdicts.host_facts.archive import Manifest, SourceFacts
from verdicts.host_facts.docker import Container
from verdicts.host_facts.host import BridgeFacts


def read_bridge(
    deployment: BridgeDeployment,
    containers: Mapping[str, Container],
    has_image: bool,
    recorded: Optional[BridgeDeployment],
) -> BridgeFacts:
    """All facts about one bridge. `containers`: the host's, by name; `has_image`: whether Docker has its image;
    `recorded`: the bridge as the last `up` had it."""
    place, archive = deployment.place, deployment.archive
    directory, own = Path(place.directory), read_directory(place.directory)
    container = containers.get(place.container)
    config = find_path_on_host(container, CONFIG_PATH) if container else None
    is_done = recorded is not None and recorded.archive.go_back == archive.go_back
    # Without its image, the step that writes the config asks the bridge.
    refused = find_refused_settings(SettingsQuestion.of(deployment, place.image)) if has_image else ()
    return BridgeFacts(
        container=container,
        image=has_image,
        directory=own,
        directory_writers=() if own.fault else tuple(sorted(read_config_owners(directory))),
        claimed=() if own.fault else read_claimed_names(directory, deployment.stack),
        keys={} if own.fault else {name: str(path) for name, path in find_config_keys(directory).items()},
        config=read_own_file(Path(config)) if config else None,
        registration=read_own_file(Path(deployment.registration_path)),
        ready_mark=read_text(directory / READY),
        config_refused=refused,
        archive_dir=read_directory(archive.directory, makes_parents=True),
        restoring=find_source(deployment, is_new=recorded is None),
        going_back=_read_source(deployment, archive.go_back, is_new=not is_done) if archive.go_back else None,
        archives={
            manifest.image: SourceFacts(str(path), manifest)
            for path, manifest in reversed([*_list_archives(deployment)])
        },
        earlier_directory=_find_earlier_directory(deployment, recorded) if recorded else "",
        earlier_archive_dir=_find_earlier_archives(deployment, recorded) if recorded else "",
    )


def _find_earlier_directory(deployment: BridgeDeployment, recorded: BridgeDeployment) -> str:
    earlier = recorded.place.directory
    is_left = earlier != deployment.place.directory and read_directory(earlier).stack == deployment.stack
    return earlier if is_left else ""


def _find_earlier_archives(deployment: BridgeDeployment, recorded: BridgeDeployment) -> str:
    earlier = recorded.archive.directory
    is_left = earlier != deployment.archive.directory and any(_list_archives(recorded))
    return earlier if is_left else ""


def find_source(deployment: BridgeDeployment, is_new: bool = True) -> Optional[SourceFacts]:
    """The archive or nightly dump that the setting `restore` names, None if it names none; `latest` is the newest
    archive of this stack, this domain and this bridge, and none if that cannot be read. `is_new`: no `up` has used it
    yet, so an archive is read to its end."""
    wanted = deployment.archive.restore
    if wanted != "latest":
        return None if wanted == NO_ARCHIVE else _read_source(deployment, wanted, is_new)
    directory, bridge = deployment.archive.directory, deployment.bridge.name
    try:
        for path, _ in archives.list_archives(directory, bridge, deployment.archive_owner, strict=True):
            return _read_source(deployment, str(path), is_new)
    except ScriptError as error:
        return SourceFacts(error=f"{error}; `latest` takes no older one in its place")
    return SourceFacts(error=f"{directory}: holds no archive of {deployment.archive_owner}")


def _read_source(deployment: BridgeDeployment, path: str, is_new: bool) -> SourceFacts:
    database, mark = deployment.place.database.database, deployment.shared_name
    try:
        if not is_nightly_dump(path) and is_new:
            with archives.open_archive(Path(path)) as (_, manifest):
                return SourceFacts(path, manifest)
        if not is_nightly_dump(path):
            return SourceFacts(path, archives.read_manifest(Path(path)))
        if not is_dump_of(Path(path).name, database, mark):
            expected = name_dump(database, mark, "20260131T235959Z")
            return SourceFacts(error=f"{path}: a dump of this bridge's database is called as {expected}")
        accounts = sources.read_nightly_dump(Path(path))
        directory = Path(deployment.place.directory)
        return SourceFacts(
            path,
            accounts=tuple(account.hex() for account in accounts),
            key="" if read_directory(str(directory)).fault else find_key_of_accounts(directory, accounts),
        )
    except ScriptError as error:
        return SourceFacts(error=str(error))


def _list_archives(deployment: BridgeDeployment) -> Iterator[tuple[Path, Manifest]]:
    """The bridge's own, the newest first."""
    directory, bridge = deployment.archive.directory, deployment.bridge.name
    return archives.list_archives(directory, bridge, deployment.archive_owner)


def list_leaving(containers: Mapping[str, Container], deployment: Deployment) -> tuple[str, ...]:
    """Names of this stack's containers that its settings no longer name as a bridge's."""
    named = {bridge.place.container for bridge in deployment.bridges}
    return tuple(
        name
        for name, container in sorted(containers.items())
        if belongs_to_stack(container, deployment.stack, deployment.synapse.network) and name not in named
    )
