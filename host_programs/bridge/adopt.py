"""Adopts a bridge that was set up by hand. Run this on its host:

    python -m host_programs.bridge.adopt --config ITS/config.yaml

It changes nothing of the bridge. It writes an archive (backup/archives.py) of the database, the key that it needs,
config.yaml and registration.yaml. Beside the archive it writes the bridge's entry for the setting `bridges`: the entry
restores the archive, and contains those of the bridge's settings that this program lets you choose. Then it lists the
next steps. The result is the same account on the same device.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from documents.bridge import adoption
from documents.bridge.config import extract_bridge_config
from documents.bridge.kinds import KINDS, Bridge, image_tag
from documents.places import Database, Postgres, archive_owner
from host_programs.backup import archives
from host_programs.backup.archives import BridgeData
from host_programs.docker import (
    find_path_in_container,
    inspect_all_containers,
    inspect_container,
    read_variable,
    run_docker,
)
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.wire import from_json
from verdicts.host_facts.docker import Container

PROJECT = "mautrix-signal"  # as Pulumi.yaml has it: the first part of a setting's key


def main(words: Sequence[str]) -> None:
    """ScriptError, and no file is left behind, if the bridge cannot be adopted."""
    options = _parse_options(words)
    kind: Bridge = KINDS[options.bridge]
    config = _read_yaml(Path(options.config))
    problems = list(adoption.find_problems(config, kind))
    if problems:
        raise ScriptError("\n".join(f"{options.config}: {line}" for line in problems))
    bridge, container = adoption.read_hand_made_bridge(config), _find_container(options.config)
    image = options.image or (container.image if container else "")
    if image_tag(image) in (None, "latest"):
        fault = f"{image} names no release" if image else "no container has it"
        raise ScriptError(f"{options.config}: {fault}: name the bridge's image and release with --image")
    postgres = options.postgres or bridge.host
    if inspect_container(postgres) is None:
        raise ScriptError(
            f"{options.config}: database.uri: there is no container {postgres}: name Postgres' container with "
            "--postgres"
        )
    chosen = extract_bridge_config(config, _read_example_config(kind, image))
    registration = options.registration or str(Path(options.config).with_name("registration.yaml"))
    data = BridgeData(
        stack=f"by-hand/{container.name if container else kind.name}",
        domain=bridge.domain,
        bridge=kind.name,
        image=image,
        directory=options.archive_dir or f"/var/backups/{kind.name}",
        postgres=Postgres(postgres, 5432, read_variable(postgres, "POSTGRES_USER") or "postgres"),
        database=Database(postgres, bridge.database, bridge.user),
        files=(options.config, registration),
        pickle_key=bridge.pickle_key,
    )
    archive = archives.write_archive(data, "adopted")
    if not archive:
        raise ScriptError(f"{options.config}: database.uri: there is no such database in {postgres}")
    entry = {"kind": options.bridge, "image": image, "restore": archive}
    entry |= {"bridgeConfig": chosen} if chosen else {}
    settings = Path(f"{archive[: -len('.tar.gz')]}.bridges.yaml")
    archives.write_private_file(settings, _format_entry(entry).encode())
    _say_next_steps(data, settings, container)


def _say_next_steps(data: BridgeData, settings: Path, container: Container | None) -> None:
    if container and container.running:
        say(
            f"warning: container {container.name} runs: what it does from now on is not in the archive: stop it "
            "(messages wait in Synapse), and run this again for the last word"
        )
    say("what is left to do:")
    if container:
        say(f"- docker update --restart no {container.name} && docker stop {container.name}")
    say(
        f"- take its registration ({Path(data.files[1]).name}) out of app_service_config_files in homeserver.yaml; "
        "Synapse need not be restarted for it"
    )
    say(f"- put the lines of {settings} into Pulumi.STACK.yaml; beside other bridges, as one more entry")
    say(f"- pulumi config set acceptArchiveOf {archive_owner(data.stack, data.domain)}")
    say(
        "- pulumi preview, which names what else of the old one is in the way, each with the setting to change; then "
        "pulumi up"
    )


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    about = (__doc__ or "").partition("config.yaml\n\n")[2]
    parser = argparse.ArgumentParser("python -m host_programs.bridge.adopt", description=about)
    parser.add_argument(
        "--config", required=True, type=os.path.abspath, help="the config.yaml that the bridge runs with"
    )
    parser.add_argument("--bridge", choices=KINDS, default="signal", help="its kind; default: signal")
    parser.add_argument("--registration", type=os.path.abspath, help="default: registration.yaml beside it")
    parser.add_argument("--image", help="default: that of the container that has the config")
    parser.add_argument("--postgres", help="Postgres' container; default: the host in database.uri")
    parser.add_argument("--archive-dir", type=os.path.abspath, help="default: /var/backups/mautrix-KIND")
    return parser.parse_args(words)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = safe_files.read_file(path, foreign=True)
        if content is None:
            raise ScriptError(f"{path}: cannot be read: no such file")
        document = yaml.safe_load(content.data)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ScriptError(f"{path}: cannot be read: {error}".splitlines()[0]) from None
    if not isinstance(document, dict):
        raise ScriptError(f"{path}: is no mapping: name the bridge's config.yaml")
    return document


def _find_container(config: str) -> Container | None:
    """A container that uses the config, preferably a running one."""
    users = [container for container in inspect_all_containers() if find_path_in_container(container, config)]
    return next(iter(sorted(users, key=lambda container: not container.running)), None)


def _read_example_config(kind: Bridge, image: str) -> dict[str, Any]:
    """The example config in the image."""
    import yaml

    words = ("run", "--rm", "--network", "none", "--entrypoint", kind.binary, image, "-e", "-c", "-")
    example = yaml.safe_load(run_docker(*words, timeout=120).stdout)
    return from_json(dict[str, Any], example, f"the example config of {image}")


def _format_entry(entry: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump({"config": {f"{PROJECT}:bridges": [entry]}}, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ScriptError as error:
        say(str(error))
        sys.exit(1)
