"""Checks Postgres: its version and superuser, the databases and roles, and who loses access by the isolation."""

from __future__ import annotations

from collections.abc import Iterator

from documents.bridge.config import MAX_CONNECTIONS
from documents.marks import parse_owner_comment
from documents.places import Deployment
from settings.fields import Settings
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.disks import list_leaving

OLDEST_POSTGRES = 14  # Synapse 1.163.2 says so, too (synapse/storage/engines/postgres.py)


MAS_CONNECTIONS = 10  # its default: docs/reference/configuration.md, database.max_connections


def find_full_connections(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Whether all together may take more connections than Postgres has."""
    processes = 1 + facts.synapse.workers + len({*facts.worker_containers, *facts.workers})
    synapse, mas = processes * facts.synapse.connections, MAS_CONNECTIONS if deployment.mas else 0
    bridges = [
        bridge.config.get("database", {}).get("max_open_conns", MAX_CONNECTIONS) for bridge in deployment.bridges
    ]
    needed, there = synapse + mas + sum(bridges), facts.postgres.connections
    if there and facts.synapse.connections and needed > there:
        yield (
            f"Postgres: has {there} connections (max_connections, without those for superusers); Synapse may take "
            f"{synapse}, MAS {mas}, the bridges {sum(bridges)}, and whoever comes last finds none: raise "
            f"max_connections by {needed - there}, and restart Postgres"
        )


def _is_ours(comment: str, deployment: Deployment) -> bool:
    return parse_owner_comment(comment).get("stack") == deployment.stack


def find_orphans(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Databases of this stack that none of its bridges has, nor one that leaves in this run."""
    known = {database.database for database in deployment.databases}
    known |= {database.database for database in facts.recorded.databases} if facts.recorded else set()
    for name, comment in sorted(facts.postgres.databases.items()):
        if name not in known and _is_ours(comment, deployment) and not parse_owner_comment(comment).get("scratch"):
            yield (
                f"database {name}: this stack made it, and no bridge of the settings has it: nothing dumps it, and a "
                f"destroy stops at it: a bridge with database {name} takes it up; take that from the list again, and "
                "it is archived and removed"
            )


def check_postgres(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    if facts.postgres_container is None or not facts.postgres_container.running:
        return
    container, superuser, postgres = deployment.postgres.container, deployment.postgres.superuser, facts.postgres
    if postgres.error:
        yield f"container {container}: psql as {superuser}: {postgres.error}"
        return
    if postgres.version // 10000 < OLDEST_POSTGRES:
        yield (
            f"Postgres {postgres.version // 10000}: too old: this and Synapse need {OLDEST_POSTGRES} or newer: dump, a "
            "new container, restore: docs/operations.md, `A newer Postgres`"
        )
    if not postgres.superuser:
        yield f"postgresSuperuser: {superuser!r} should be a superuser of Postgres"
    fix = "`pulumi config set --secret postgresPassword`"
    if not postgres.superuser_password:
        yield f"postgresPassword: not set, and container {container} has no POSTGRES_PASSWORD (or _FILE): {fix}"
    elif postgres.login_refused:
        source = "it is" if settings.postgres_password else "not set, and POSTGRES_PASSWORD (or _FILE) is"
        answer = postgres.login_refused.splitlines()[-1]
        yield f"postgresPassword: {source} not {superuser}'s password over the network: {answer}: {fix}"
    if postgres.admin_exists is False:
        yield f"adminUser: Synapse has no user {settings.admin_user!r}: correct it, or let that user log in once"
    for bridge in (*deployment.bridges, *(bridge for bridge, _ in list_leaving(facts))):
        scratch = bridge.place.database.scratch
        if scratch in postgres.databases and not _is_ours(postgres.databases[scratch], deployment):
            yield (
                f"database {scratch}: is not this stack's, and proofs restore the dumps of {bridge.key} into one "
                "of that name: look whose it is, and rename it"
            )
    needed = [("synapseDatabase", settings.synapse_database)]
    needed += [("masDatabase", settings.mas_database)] if settings.has_mas else []
    for key, name in [*needed, *(("isolatedDatabases", name) for name in settings.isolated)]:
        if name not in postgres.databases:
            yield f"{key}: {name!r} should be a database of {container}"
    if settings.has_mas and settings.mas_role not in postgres.roles:
        yield f"masRole: {settings.mas_role!r} should be a role of {container}"
    for database, roles in sorted(postgres.locked_out.items()):
        # MAS' role needs its own database alone.
        mas = (settings.mas_role,) if settings.has_mas and database != settings.mas_database else ()
        refused = [role for role in roles if role not in (*settings.accept_locked_out, *mas)]
        if refused:
            fix = f"grant it CONNECT there, or `pulumi config set --path 'acceptLockedOut[0]' {refused[0]}`"
            names = ", ".join(refused)
            yield f"isolatedDatabases: {names} would no longer get into the database {database}: {fix}"
