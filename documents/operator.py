"""What the operator reads once the bridge runs: the next steps, and the entry for his services.md."""

from __future__ import annotations

from documents.bridges import Bridge


def next_steps(bridge: Bridge, domain: str, admin_user: str) -> str:
    """How to link the first account; `link` was the command of the old Python bridge."""
    return (
        f"As {admin_user}, start a chat with {bridge.bot_user_id(domain)} and send `{bridge.login_command}`; "
        f"scan the code with {bridge.network_name} on the phone (Settings, Linked devices). "
        f"`{bridge.command_prefix} help` lists the rest."
    )


def services_entry(
    bridge: Bridge,
    *,
    image: str,
    container: str,
    network: str,
    port: int,
    directory: str,
    database: str,
    postgres: str,
    domain: str,
    backup_script: str,
) -> str:
    """Markdown for the operator's list of services."""
    rows = (
        ("What", f"{bridge.network_name} bridge for Matrix (mautrix, bridgev2)"),
        ("Image", f"`{image}`"),
        ("Container", f"`{container}` in the network `{network}`, made by Pulumi, not by docker compose"),
        ("Port", f"{port}, inside the network only"),
        ("Bot", f"`{bridge.bot_user_id(domain)}`"),
        ("Database", f"`{database}` in `{postgres}`, role of its own"),
        ("Config", f"`{directory}` (written by Pulumi; do not edit)"),
        ("Backup", f"`{backup_script}`"),
    )
    return (
        "\n".join([f"## {bridge.name}", "", "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])
        + "\n"
    )
