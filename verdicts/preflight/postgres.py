"""Checks Postgres: its version and superuser, the databases and roles, and who loses access by the isolation."""

from __future__ import annotations

from collections.abc import Iterator

from documents.places import Deployment
from settings.fields import Settings
from verdicts.host_facts.host import HostFacts
from verdicts.host_facts.postgres import PostgresFacts
from verdicts.preflight.requirements import ADVISED_POSTGRES, OLDEST_POSTGRES


def check_postgres(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    if facts.postgres_container is None or not facts.postgres_container.running:
        return
    container, superuser, postgres = deployment.postgres.container, deployment.postgres.superuser, facts.postgres
    if postgres.error:
        yield f"container {container}: psql as {superuser}: {postgres.error}"
        return
    if postgres.version // 10000 < OLDEST_POSTGRES:
        yield f"Postgres {postgres.version // 10000}: too old: this needs {OLDEST_POSTGRES} or newer"
    if not postgres.superuser:
        yield f"postgresSuperuser: {superuser!r} should be a superuser of Postgres"
    if not settings.postgres_password and not facts.superuser_password:
        yield (
            f"postgresPassword: not set, and container {container} has no POSTGRES_PASSWORD (or _FILE): "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    needed = [("synapseDatabase", settings.synapse_database)]
    needed += [("masDatabase", settings.mas_database)] if settings.has_mas else []
    for key, name in [*needed, *(("isolatedDatabases", name) for name in settings.isolated)]:
        if name not in postgres.databases:
            yield f"{key}: {name!r} should be a database of {container}"
    if settings.has_mas and settings.mas_role not in postgres.roles:
        yield f"masRole: {settings.mas_role!r} should be a role of {container}"
    for database, roles in _locked_out(postgres, settings):
        refused = [role for role in roles if role not in settings.accept_locked_out]
        if refused:
            yield (
                f"isolatedDatabases: {', '.join(refused)} would no longer get into the database {database}: "
                "grant it CONNECT there, or accept it with "
                f"`pulumi config set --path 'acceptLockedOut[0]' {refused[0]}`"
            )


def _locked_out(postgres: PostgresFacts, settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Isolated databases with the roles that connect through PUBLIC alone, except MAS' role in databases not MAS'."""
    for database, roles in sorted(postgres.locked_out.items()):
        mas = settings.has_mas and database != settings.mas_database
        others = [role for role in roles if not (mas and role == settings.mas_role)]
        if others:
            yield database, others


def find_postgres_warnings(facts: HostFacts, settings: Settings) -> Iterator[str]:
    if facts.postgres.error:
        return
    major = facts.postgres.version // 10000
    if OLDEST_POSTGRES <= major < ADVISED_POSTGRES:
        yield f"Postgres {major}: mautrix advises {ADVISED_POSTGRES} or newer; it was tested and works"
    for database, roles in _locked_out(facts.postgres, settings):
        yield f"isolation: {', '.join(roles)} will no longer get into the database {database}"


def find_dump_warnings(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """A deployment whose databases nobody dumps at night."""
    if not deployment.backup.script and not facts.dump_scheduled:
        yield (
            f"backupScript: none, and no cron table or systemd unit of the host names {deployment.dump_script}: nobody "
            "dumps the bridges' databases at night: the output backupCron is the line for cron"
        )
