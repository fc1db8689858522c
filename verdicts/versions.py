"""Evaluates a change of the image: whether the new one can read the database, and what `up` will do.

A newer bridge upgrades the schema of its database, and an older one then refuses it (go.mau.fi/util/dbutil: each part
has a version, and the oldest version whose program can still use it). The archives that an image left tell which
versions it knew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from documents.bridge.kinds import image_tag, release_numbers
from documents.operator import format_go_back_commands, format_set_command
from documents.places import BridgeDeployment
from verdicts.host_facts.bridge import BridgeFacts
from verdicts.host_facts.postgres import PostgresFacts


def find_problems(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    """An archive that may not replace this database, or an image that cannot read it."""
    if _pending_archive(postgres, deployment):
        yield from _check_archive(facts, deployment)
    else:
        yield from _check_image(facts, postgres, deployment)


def describe_changes(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    """What `up` will do for another image, or to go back to an archive."""
    last, wanted = _last_image(postgres, deployment), deployment.place.image
    back = _pending_archive(postgres, deployment)
    if not last or (last == wanted and not back):
        return
    next_step = "then the new container starts"
    if back and facts.going_back and facts.going_back.manifest:
        next_step = f"replaced by {back} (of {facts.going_back.manifest.created}), {next_step}"
    yield (
        f"image {last} -> {wanted}: {deployment.place.container} stops, its database is archived into "
        f"{deployment.archive.directory} as {image_tag(last)} left it (output previousVersion), {next_step}; messages "
        "wait in Synapse meanwhile"
    )


def stops_the_bridge(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> bool:
    """Whether `up` stops the container for a change, or an `up` that was cut off did. It is replaced then, even if both
    images are the same."""
    changes = describe_changes(facts, postgres, deployment)
    return any(changes) or "changing" in database_comment(postgres, deployment)


def database_comment(postgres: PostgresFacts, deployment: BridgeDeployment) -> Mapping[str, Any]:
    """The values in the comment on the bridge's database."""
    return postgres.comment_of(deployment.stack, deployment.place.database.database)


def _last_image(postgres: PostgresFacts, deployment: BridgeDeployment) -> str:
    """The image that used the database last; "" if none did."""
    return str(database_comment(postgres, deployment).get("image", ""))


def _pending_archive(postgres: PostgresFacts, deployment: BridgeDeployment) -> str:
    """The archive that `up` will put in place of the database; "" if there is none, or no database yet."""
    comment, wanted = database_comment(postgres, deployment), deployment.archive.go_back
    return wanted if comment.get("began") and wanted != comment.get("back") else ""


def _is_newer(image: str, than: str) -> bool:
    release, other = release_numbers(image), release_numbers(than)
    return release is not None and other is not None and release > other


def _check_archive(facts: BridgeFacts, deployment: BridgeDeployment) -> Iterator[str]:
    archive, image, bridge = facts.going_back, deployment.place.image, deployment.bridge.name
    key = f"{deployment.setting}.goBackTo"
    manifest = archive.manifest if archive else None
    if archive is None or manifest is None:
        yield (
            f"{key}: {archive.error if archive else 'not looked at'}: name an archive of this bridge, or "
            f"`pulumi config rm --path '{key}'`"
        )
    elif (manifest.archive_owner, manifest.bridge) != (deployment.archive_owner, bridge):
        yield (
            f"{key}: {archive.path} is of {manifest.bridge} of {manifest.archive_owner}, and this is {bridge} of "
            f"{deployment.archive_owner}: name an archive of this bridge"
        )
    elif manifest.image != image and not _is_newer(image, manifest.image):
        yield (
            f"{key}: {archive.path} is the database of {manifest.image}, and image is {image}, which may not read "
            f"it: `{format_set_command(deployment, 'image', manifest.image)}`"
        )


def _check_image(facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> Iterator[str]:
    image, last, schema = deployment.place.image, _last_image(postgres, deployment), facts.schema
    if not last and facts.archive and facts.archive.manifest:
        # The archive that the new database will begin with.
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
                f"that it left: `{format_go_back_commands(deployment, image, left.path)}`"
            )
    elif _is_newer(last, image):
        parts = ", ".join(f"{part} {now}" for part, (now, _) in sorted(schema.items())) or "not known"
        yield (
            f"image {image}: is older than {last}, which used the database last (schema: {parts}), and there is no "
            f"archive that it left: set image to {last} or a newer one"
        )
