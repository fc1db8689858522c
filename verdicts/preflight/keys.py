"""Evaluates whether the state has the pickle key that a bridge's database is encrypted with. With another one the
bridge would read nothing of it any more."""

from __future__ import annotations

from dataclasses import dataclass

from documents.backup.plain_dump import is_nightly_dump
from documents.bridge.pickle_key import explain_missing_key, explain_put_back, find_key_fault, fingerprint_key
from documents.places import NO_ARCHIVE
from verdicts.preflight.observed import ObservedBridge


@dataclass(frozen=True)
class LivingKey:
    """The key of the content that is in the `database`, or that `up` puts there. `fingerprint`: of the key, as the
    database's comment tells, or as a config on the host shows that opens the dump that it begins with; "" if neither
    does. `source`: the file on the host that holds the key; "" if none does. `resource`: of the state's key. `dump`:
    the nightly dump that `up` restores, with its `accounts` (SourceFacts); "" if it restores none. `exists`: whether
    there is content already."""

    database: str
    fingerprint: str
    source: str
    directory: str
    resource: str
    dump: str = ""
    accounts: tuple[str, ...] = ()
    exists: bool = False

    @property
    def is_of_state(self) -> bool:
        """Whether the dump that the database begins with needs the state's key: no file on the host has another."""
        return bool(self.dump) and not self.exists and not self.fingerprint


def find_living_key(bridge: ObservedBridge) -> LivingKey:
    """The key that the bridge's database needs."""
    place, pending = bridge.deployment.place, bridge.pending_source
    dump = pending if pending and is_nightly_dump(pending.path) else None
    if bridge.origin:
        key, begins = str(bridge.comment.get("key", "")), bridge.origin
    else:
        key, begins = dump.key if dump else "", dump.path if dump else NO_ARCHIVE
    archive = "" if begins == NO_ARCHIVE or is_nightly_dump(begins) else begins
    return LivingKey(
        database=place.database.database,
        fingerprint=key,
        source=bridge.facts.keys.get(key, archive),
        directory=place.directory,
        resource="secrets-permanent-seed" if begins == NO_ARCHIVE else f"{bridge.deployment.bridge.name}-restored-key",
        dump=dump.path if dump else "",
        accounts=dump.accounts if dump else (),
        exists=bool(bridge.origin),
    )


def check_key(living: LivingKey, pickle_key: str) -> str:
    """Why the state's key must not reach the database; "" if it may."""
    if living.fingerprint not in ("", fingerprint_key(pickle_key)):
        fix = (
            f"`pulumi up --target-replace '**{living.resource}'` takes it from {living.source}"
            if living.source
            else explain_put_back(living.directory)
        )
        return (
            f"database {living.database}: its keys are encrypted with another pickle key than this state's: was the "
            f"state lost, or made anew? Bring the old one back (`pulumi stack import`); if it is gone, {fix}"
        )
    if find_key_fault(pickle_key, "", map(bytes.fromhex, living.accounts)):
        return _refuse_dump(living)
    return ""


def check_missing_key(living: LivingKey) -> str:
    """The same for a state without a key."""
    if living.is_of_state:
        return _refuse_dump(living) if living.accounts else ""
    if not living.fingerprint or living.source:
        return ""
    return (
        f"database {living.database}: this state does not hold its pickle key: was the state lost, or made anew? Bring "
        f"the old one back (`pulumi stack import`); if it is gone, {explain_put_back(living.directory)}"
    )


def describe_taken_key(living: LivingKey) -> str:
    """What `up` does about a key that the state does not hold; "" for a database without content."""
    if not living.fingerprint or not living.exists:
        return ""
    return (
        f"database {living.database}: this state does not hold its pickle key: was the state lost, or made anew? `up` "
        f"takes the key from {living.source}; tokens and passwords that the state does not hold are made anew; if the "
        "old state is still somewhere, `pulumi stack import` it instead"
    )


def _refuse_dump(living: LivingKey) -> str:
    if living.exists:
        return (
            f"{living.dump}: its keys are encrypted with another pickle key than the database {living.database}: name "
            "another dump, or an archive, of this bridge"
        )
    return explain_missing_key(living.dump, living.directory)
