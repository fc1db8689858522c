"""Evaluates whether the state has the pickle key that a bridge's database is encrypted with. With another one the
bridge would read nothing of it any more."""

from __future__ import annotations

from dataclasses import dataclass

from documents.bridge.pickle_key import fingerprint_key
from documents.places import NO_ARCHIVE
from verdicts.preflight.observed import ObservedBridge


@dataclass(frozen=True)
class LivingKey:
    """The key of the `database` that is there. `fingerprint`: of the key, as the database's comment tells; "" if it has
    no content yet. `source`: the file on the host that holds it; "" if none does. `resource`: of the state's key."""

    database: str
    fingerprint: str
    source: str
    directory: str
    resource: str


def find_living_key(bridge: ObservedBridge) -> LivingKey:
    """The key that the bridge's database needs."""
    place, key = bridge.deployment.place, str(bridge.comment.get("key", "")) if bridge.origin else ""
    archive = "" if bridge.origin in ("", NO_ARCHIVE) else bridge.origin
    seed = f"{bridge.deployment.bridge.name}-archived-key" if archive else "secrets-permanent-seed"
    return LivingKey(place.database.database, key, bridge.facts.keys.get(key, archive), place.directory, seed)


def check_key(living: LivingKey, pickle_key: str) -> str:
    """Why the state's key must not reach the database; "" if it may."""
    if living.fingerprint in ("", fingerprint_key(pickle_key)):
        return ""
    fix = (
        f"`pulumi up --target-replace '**{living.resource}'` takes it from {living.source}"
        if living.source
        else _put_back(living)
    )
    return (
        f"database {living.database}: its keys are encrypted with another pickle key than this state's: was the state "
        f"lost, or made anew? Bring the old one back (`pulumi stack import`); if it is gone, {fix}"
    )


def check_missing_key(living: LivingKey) -> str:
    """The same for a state without a key."""
    if not living.fingerprint or living.source:
        return ""
    return (
        f"database {living.database}: this state does not hold its pickle key: was the state lost, or made anew? Bring "
        f"the old one back (`pulumi stack import`); if it is gone, {_put_back(living)}"
    )


def describe_taken_key(living: LivingKey) -> str:
    """What `up` does about a key that the state does not hold; "" for a database without content."""
    if not living.fingerprint:
        return ""
    return (
        f"database {living.database}: this state does not hold its pickle key: was the state lost, or made anew? `up` "
        f"takes the key from {living.source}; tokens and passwords that the state does not hold are made anew; if the "
        "old state is still somewhere, `pulumi stack import` it instead"
    )


def _put_back(living: LivingKey) -> str:
    return (
        f"put the bridge's config.yaml, which each of its archives holds, into {living.directory}/config-old, and run "
        "this again"
    )
