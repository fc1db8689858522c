"""An image that cannot read the database, and is let through: the bridge would be dead; and a preview of a change that
does not say what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from documents.marks import owner_comment
from tests.facts import STACK, changed, deployed, healthy, settings, whole
from verdicts.host_facts.archive import Manifest, SourceFacts
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.findings import Findings, preflight

NAME = "dock.mau.dev/mautrix/signal"
OLD, NEW, NEWEST = (f"{NAME}:v0.{number}.0" for number in (2603, 2608, 2609))
PATH = "/var/backups/mautrix-signal/mautrix-signal-20261124T120000Z.tar.gz"
LEFT = Manifest(
    version=4, created="20261124T120000Z", reason="before v0.2603.0 to v0.2608.0", stack=STACK, domain="echo6.co",
    bridge="mautrix-signal", image=OLD, schema={"version": 26, "crypto_version": 19}, database="mautrix_signal",
    key="0123456789abcdef", members=(), missing=(),
)  # fmt: skip
MOVED = {"version": (32, 9), "crypto_version": (22, 20)}
KNOWN = {OLD: SourceFacts(PATH, LEFT)}
BACK = (
    f"pulumi config set --path 'bridges[0].image' {OLD} && pulumi config set --path 'bridges[0].goBackTo' {PATH} && "
    "pulumi up"
)


def host(image: str, schema: dict[str, tuple[int, int]] = MOVED, **said: Any) -> HostFacts:
    """Deployed; `image` used the database last."""
    facts = deployed()
    text = owner_comment(STACK, **{"began": "none", "key": "0123456789abcdef", "image": image, **said})
    databases = {**facts.postgres.databases, "mautrix_signal": text}
    return changed(facts, postgres=replace(facts.postgres, databases=databases, schemas={"mautrix_signal": schema}))


def verdict(facts: HostFacts, **own: str) -> Findings:
    """`own`: of Signal's entry."""
    return preflight(facts, settings(own), whole(own))


def going_back(**changes: Any) -> HostFacts:
    return changed(host(NEW), {"going_back": SourceFacts(PATH, replace(LEFT, **changes))})


def test_an_upgrade_says_what_it_will_do() -> None:
    found = verdict(host(OLD), image=NEW)
    assert found.problems == ()
    assert found.changes == (
        f"image {OLD} -> {NEW}: mautrix-signal stops, its database is archived into /var/backups/mautrix-signal as "
        "v0.2603.0 left it (output previousVersion), then the new container starts; messages wait in Synapse meanwhile",
    )
    assert verdict(host(NEW), image=NEW).changes == ()


def test_an_older_image_that_cannot_read_the_schema_is_refused_with_the_way_back() -> None:
    facts = changed(host(NEW), {"archives": KNOWN})
    assert verdict(facts, image=OLD).problems == (
        f"image {OLD}: cannot read the database that {NEW} has used (crypto_version is at 22, and it knows 19): go "
        f"back with the archive that it left: `{BACK}`",
    )


def test_an_older_image_that_can_still_read_it_is_fine() -> None:
    facts = changed(host(NEW, {"version": (32, 9), "crypto_version": (19, 15)}), {"archives": KNOWN})
    assert verdict(facts, image=OLD).problems == ()


def test_an_older_image_that_was_never_here_is_refused() -> None:
    assert verdict(host(NEW), image=OLD).problems == (
        f"image {OLD}: is older than {NEW}, which used the database last, and may not read it; there is no archive "
        f"that it left: set image to {NEW} or a newer one",
    )
    assert verdict(host(NEW), image=NEWEST).problems == ()


def test_an_archive_of_a_newer_image_does_not_begin_a_deployment_of_an_older_one() -> None:
    facts = changed(healthy(), {"restoring": SourceFacts(PATH, replace(LEFT, image=NEW))})
    (problem,) = verdict(facts, image=OLD, restore="latest").problems
    assert problem.startswith(f"image {OLD}: is older than {NEW}, which used the database last")
    assert verdict(facts, image=NEW, restore="latest").problems == ()


@pytest.mark.parametrize(
    ("facts", "own"),
    [
        (host(OLD), {"image": NEW}),
        (host(OLD), {"image": f"{NAME}:pinned"}),  # maybe the same image under another name
        (changed(host(OLD), {"going_back": SourceFacts(PATH, LEFT)}), {"image": OLD, "goBackTo": PATH}),
    ],
)
def test_a_change_that_stops_the_bridge_replaces_its_container(facts: HostFacts, own: dict[str, str]) -> None:
    """Pulumi sees no difference in a container of the same image, and it would stay stopped."""
    assert verdict(facts, **own).bridges[0].attempt == 2


def test_a_change_back_names_the_archive_that_it_uses() -> None:
    found = verdict(going_back(), image=OLD, goBackTo=PATH)
    assert found.problems == ()
    assert f"image {NEW} -> {OLD}: mautrix-signal stops" in found.changes[0]
    assert f"as v0.2608.0 left it (output previousVersion), replaced by {PATH}, then" in found.changes[0]


@pytest.mark.parametrize(
    ("other", "image", "words"),
    [
        ({"domain": "other.org"}, OLD, "is of mautrix-signal of mautrix-signal/contabo@other.org, and this is"),
        ({"bridge": "mautrix-whatsapp"}, OLD, "is of mautrix-whatsapp of"),
        ({"image": NEW}, OLD, f"is the database of {NEW}, and image is {OLD}, which may not read it: `pulumi config"),
        ({"image": f"{NAME}:edge"}, OLD, f"is the database of {NAME}:edge, and image is {OLD}"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(other: dict[str, str], image: str, words: str) -> None:
    (problem,) = verdict(going_back(**other), image=image, goBackTo=PATH).problems
    assert problem.startswith(f"bridges[0].goBackTo: {PATH} ") and words in problem


def test_a_missing_archive_is_refused() -> None:
    facts = changed(host(NEW), {"going_back": SourceFacts(error=f"{PATH}: No such file")})
    assert verdict(facts, image=OLD, goBackTo=PATH).problems == (
        f"bridges[0].goBackTo: {PATH}: No such file: name an archive or a dump of this bridge, or `pulumi config rm "
        "--path 'bridges[0].goBackTo'`",
    )


def test_an_archive_that_was_gone_back_to_already_counts_no_more() -> None:
    found = verdict(
        changed(host(OLD, {}, back=PATH), {"going_back": SourceFacts(error="gone")}), image=OLD, goBackTo=PATH
    )
    assert found.problems == () and found.changes == ()


def test_without_a_database_go_back_to_has_no_effect() -> None:
    facts = changed(healthy(), {"going_back": SourceFacts(error="gone")})
    assert verdict(facts, goBackTo=PATH).problems == ()


def test_a_bridge_that_a_cut_off_change_stopped_is_replaced() -> None:
    """Killed between the stop and the new container, and then the old image is wanted: it would stay stopped."""
    assert verdict(host(OLD), image=OLD).bridges[0].attempt == 1
    assert verdict(host(OLD, changing=NEW), image=OLD).bridges[0].attempt == 2
