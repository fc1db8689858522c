"""What stands before a bridge's container: the MAS stop-and-check, the plan's step 15, and its database, which is
archived when it goes."""

from __future__ import annotations

import pulumi

from components.host import Host, later
from components.install import BridgeConfig
from components.start import Start
from documents.credentials import Keys
from documents.places import BridgeDeployment
from host_programs.backup.archives import Subject
from host_programs.bridge import bridge_data, gate
from host_programs.synapse import stop_and_check


def own_data(
    deployment: BridgeDeployment, config: BridgeConfig, keys: pulumi.Output[Keys], start: Start
) -> bridge_data.Arguments:
    """Of a bridge whose database is ours: it begins, empty or with the archive `start.restore`, and once only. Before a
    container of another image it is archived, and replaced if the settings say so."""
    subject = Subject(
        stack=deployment.stack,
        domain=deployment.synapse.domain,
        bridge=deployment.bridge.name,
        image=deployment.place.image,
        directory=deployment.archive.directory,
        database=deployment.place.database,
        files=(later(config.file), deployment.registration_path, deployment.doublepuppet_path),
        pickle_key=later(keys.apply(lambda each: each.pickle_key)),
    )
    return bridge_data.Arguments(
        subject=subject,
        container=deployment.place.container,
        restore=start.restore,
        go_back=deployment.archive.go_back,
        keep=deployment.archive.keep,
        keep_images=deployment.keep_images,
        attempt=start.attempt,
        failures=start.failures,
    )


def gate_arguments(
    deployment: BridgeDeployment,
    as_tokens: tuple[pulumi.Output[str], pulumi.Output[str]],
    start: Start,
    version: pulumi.Output[str],
    data: bridge_data.Arguments | None,
) -> gate.Arguments:
    """Synapse is asked, as the appservices, whether it accepts them beside MAS; on a FAIL, which is an outcome, the
    bridge's container is not to be made. Then the database is made ready for it (`own_data`; None: it is somebody
    else's).

    `as_tokens`: the bridge's, and the one for double puppeting; `version`: the container's: whatever replaces the
    container has the check run again before.
    """
    as_token, doublepuppet_as_token = as_tokens
    check = stop_and_check.Arguments(
        synapse=deployment.synapse,
        mas=deployment.mas,
        bot=deployment.bot,
        appservice_id=deployment.bridge.appservice_id,
        as_token=later(as_token),
        doublepuppet_id=deployment.doublepuppet_id,
        doublepuppet_as_token=later(doublepuppet_as_token),
        admin_user=deployment.admin_user,
        bridge=deployment.place,
        stack=deployment.stack,
        generation=start.tokens,
        fingerprint=later(version.apply(lambda text: f"{text} {start.failures}")),
    )
    return gate.Arguments(check, data)


def archived_at_deletion(
    name: str, host: Host, data: bridge_data.Arguments, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    """Writes the last archive, before what it depends on is deleted."""
    return host.at_deletion(f"{name}-archive", data, bridge_data.archive, opts=opts)


def may_go_at_deletion(
    name: str, host: Host, deployment: BridgeDeployment, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    """A destroy begins with this, and stops with everything as it is if the archive could not be made."""
    wanted = bridge_data.Check(deployment.archive.directory, deployment.place.database)
    return host.at_deletion(f"{name}-may-go", wanted, bridge_data.check, opts=opts)
