"""Evaluates a change of the image: whether the new one can read the database, and what `up` will do.

A newer bridge upgrades the schema of its database, and an older one then refuses it (go.mau.fi/util/dbutil: each part
has a version, and the oldest version whose program can still use it). The archives that an image left tell which
versions it knew.
"""

from __future__ import annotations

from collections.abc import Iterator

from documents.bridge.kinds import image_tag, release_numbers
from documents.operator import format_go_back_commands, format_set_command
from verdicts.preflight.observed import ObservedBridge


def check_versions(bridge: ObservedBridge) -> Iterator[str]:
    """Content that may not replace this database, or an image that cannot read it."""
    return _check_source(bridge) if bridge.going_back else _check_image(bridge)


def describe_change(bridge: ObservedBridge) -> str:
    """What `up` will do for another image, or to go back to older content; "" if nothing."""
    deployment, back = bridge.deployment, bridge.going_back
    last, image = _last_image(bridge), deployment.place.image
    if not last or (last == image and not back):
        return ""
    change = image if last == image else f"{last} -> {image}"
    replaced = f"replaced by {back}, " if back else ""
    return (
        f"image {change}: {deployment.place.container} stops, its database is archived into "
        f"{deployment.archive.directory} as {image_tag(last)} left it (output previousVersion), {replaced}then the new "
        "container starts; messages wait in Synapse meanwhile"
    )


def stops_the_bridge(bridge: ObservedBridge) -> bool:
    """Whether `up` stops the container for a change, or an `up` that was cut off did. It is replaced then, even if both
    images are the same."""
    return bool(describe_change(bridge)) or "changing" in bridge.comment


def _last_image(bridge: ObservedBridge) -> str:
    """The image that used the database last; "" if none did."""
    return str(bridge.comment.get("image", ""))


def _is_newer(image: str, than: str) -> bool:
    release, other = release_numbers(image), release_numbers(than)
    return release is not None and other is not None and release > other


def _check_source(bridge: ObservedBridge) -> Iterator[str]:
    """A nightly dump does not tell which image made it."""
    source, deployment = bridge.facts.going_back, bridge.deployment
    image, name, owner = deployment.place.image, deployment.bridge.name, deployment.archive_owner
    key, manifest = f"{bridge.setting}.goBackTo", source.manifest if source else None
    if source is None or source.error:
        error = source.error if source else "not looked at"
        yield f"{key}: {error}: name an archive or a dump of this bridge, or `pulumi config rm --path '{key}'`"
    elif manifest is None:
        return
    elif (manifest.archive_owner, manifest.bridge) != (owner, name):
        other = f"{manifest.bridge} of {manifest.archive_owner}"
        yield f"{key}: {source.path} is of {other}, and this is {name} of {owner}: name an archive of this bridge"
    elif manifest.image != image and not _is_newer(image, manifest.image):
        yield (
            f"{key}: {source.path} is the database of {manifest.image}, and image is {image}, which may not read "
            f"it: `{format_set_command(deployment, 'image', manifest.image)}`"
        )


def _check_image(bridge: ObservedBridge) -> Iterator[str]:
    image, source, deployment = bridge.deployment.place.image, bridge.facts.restoring, bridge.deployment
    last, schema = _last_image(bridge), bridge.postgres.schemas.get(deployment.place.database.database, {})
    if not last and source and source.manifest:  # the new database begins with it
        last = source.manifest.image
        schema = {part: (version, version) for part, version in source.manifest.schema.items()}
    if last in ("", image):
        return
    left = bridge.facts.archives.get(image)
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
        yield (
            f"image {image}: is older than {last}, which used the database last, and may not read it; there is no "
            f"archive that it left: set image to {last} or a newer one"
        )
