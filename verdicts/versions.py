"""The verdict on another image: whether it can read the database, and what the change will do.

A newer bridge moves the schema of its database, and an older one refuses it then (go.mau.fi/util/dbutil: each part has
a version and the oldest one whose program can still use it). What an image knew is in the archives that it left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from documents.bridges import image_tag, release
from documents.operator import go_back, set_command
from documents.places import BridgeDeployment
from verdicts.host_facts import BridgeFacts, PostgresFacts


def problems(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    """An archive that is not to replace this database, and an image that could not read it."""
    if _pending(postgres, deployment):
        yield from _going_back(facts, deployment)
    else:
        yield from _older(facts, postgres, deployment)


def changes(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    """What another image, or the way back, will do."""
    last, wanted, back = _last(postgres, deployment), deployment.place.image, _pending(postgres, deployment)
    if not last or (last == wanted and not back):
        return
    then = "then the new container starts"
    if back and facts.going_back and facts.going_back.manifest:
        then = f"replaced by {back} (of {facts.going_back.manifest.created}), {then}"
    yield (
        f"image {last} -> {wanted}: {deployment.place.container} stops, its database is archived into "
        f"{deployment.archive.directory} as {image_tag(last)} left it (output previousVersion), {then}; messages wait "
        "in Synapse meanwhile"
    )


def stops_the_bridge(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> bool:
    """Whether `up` stops the container for a change, or one that was ended has: it has to be made anew then, also if
    the two images are one."""
    return any(changes(facts, postgres, deployment)) or "changing" in said(postgres, deployment)


def said(postgres: PostgresFacts, deployment: BridgeDeployment) -> Mapping[str, Any]:
    """What the comment on the bridge's database says."""
    return postgres.said(deployment.stack, deployment.place.database.database)


def way_back(facts: BridgeFacts, deployment: BridgeDeployment, archive: str, image: str) -> str:
    """The commands that go back to `image`, which left `archive` (both "": none did), from one that was never ready;
    else ""."""
    if not archive or image == deployment.place.image or facts.ready_mark.split()[2:] == [deployment.place.image]:
        return ""
    return go_back(deployment, image, archive)


def _last(postgres: PostgresFacts, deployment: BridgeDeployment) -> str:
    """The image that used the database last; "" if none did."""
    return str(said(postgres, deployment).get("image", ""))


def _pending(postgres: PostgresFacts, deployment: BridgeDeployment) -> str:
    """The archive that is to replace the database, unless it has; "" before there is one."""
    says, wanted = said(postgres, deployment), deployment.archive.go_back
    return wanted if says.get("began") and wanted != says.get("back") else ""


def _newer(image: str, than: str) -> bool:
    one, other = release(image), release(than)
    return one is not None and other is not None and one > other


def _going_back(facts: BridgeFacts, deployment: BridgeDeployment) -> Iterator[str]:
    archive, image, bridge = facts.going_back, deployment.place.image, deployment.bridge.name
    key = f"{deployment.setting}.goBackTo"
    manifest = archive.manifest if archive else None
    if archive is None or manifest is None:
        yield (
            f"{key}: {archive.error if archive else 'not looked at'}: name an archive of this bridge, or "
            f"`pulumi config rm --path '{key}'`"
        )
    elif (manifest.whose, manifest.bridge) != (deployment.whose, bridge):
        yield (
            f"{key}: {archive.path} is of {manifest.bridge} of {manifest.whose}, and this is {bridge} of "
            f"{deployment.whose}: name an archive of this bridge"
        )
    elif manifest.image != image and not _newer(image, manifest.image):
        yield (
            f"{key}: {archive.path} is the database of {manifest.image}, and image is {image}, which may not read "
            f"it: `{set_command(deployment, 'image', manifest.image)}`"
        )


def _older(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    image, last, schema = deployment.place.image, _last(postgres, deployment), facts.schema
    if not last and facts.archive and facts.archive.manifest:
        # What the database is going to begin with.
        manifest = facts.archive.manifest
        last, schema = manifest.image, {part: (version, version) for part, version in manifest.schema.items()}
    if last in ("", image):
        return
    left = facts.versions.get(image)
    if left and left.manifest:
        known = left.manifest.schema
        moved = {part: now for part, (now, oldest) in schema.items() if oldest > known.get(part, oldest)}
        if moved:
            parts = ", ".join(f"{part} is at {now}, and it knows {known[part]}" for part, now in sorted(moved.items()))
            yield (
                f"image {image}: cannot read the database that {last} has used ({parts}): go back with the archive "
                f"that it left: `{go_back(deployment, image, left.path)}`"
            )
    elif _newer(last, image):
        parts = ", ".join(f"{part} {now}" for part, (now, _) in sorted(schema.items())) or "not known"
        yield (
            f"image {image}: is older than {last}, which used the database last (schema: {parts}), and there is no "
            f"archive that it left: set image to {last} or a newer one"
        )
