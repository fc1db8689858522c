"""What the operator reads or copies: next steps, an entry for a services.md, commands."""

from __future__ import annotations

from documents.places import BridgeDeployment


def describe_next_steps(deployment: BridgeDeployment) -> str:
    """How to link the first account. The command is `login`; the old Python bridge's was `link`."""
    bridge, prefix = deployment.bridge, deployment.command_prefix
    return (
        f"As {deployment.admin_user}, start a chat with {deployment.bot} and send `{prefix} login`; "
        f"{bridge.login_hint}. `{prefix} help` lists the rest."
    )


def format_services_entry(deployment: BridgeDeployment) -> str:
    """The bridge as Markdown, for the operator's list of services."""
    bridge, place = deployment.bridge, deployment.place
    rows = (
        ("What", f"{bridge.network_name} bridge for Matrix (mautrix, bridgev2)"),
        ("Image", f"`{place.image}`"),
        ("Container", f"`{place.container}` in the network `{place.network}`, made by Pulumi, not by docker compose"),
        ("Port", f"{place.port}, inside the network only"),
        ("Bot", f"`{deployment.bot}`"),
        ("Database", f"`{place.database.database}` in `{place.database.container}`, role of its own"),
        ("Config", f"`{place.directory}` (written by Pulumi; do not edit)"),
        ("Backup", f"`{deployment.backup.script or deployment.dump_script}`"),
    )
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"## {bridge.name}\n\n| | |\n|---|---|\n{table}"


def format_set_command(deployment: BridgeDeployment, key: str, value: str) -> str:
    """The command that sets one `key` of this bridge's settings."""
    return f"pulumi config set --path '{deployment.setting}.{key}' {value}"


def format_go_back_commands(deployment: BridgeDeployment, image: str, archive: str) -> str:
    """The commands that go back to `image` with the database of the archive."""
    set_image = format_set_command(deployment, "image", image)
    set_archive = format_set_command(deployment, "goBackTo", archive)
    return f"{set_image} && {set_archive} && pulumi up"
