"""Proves the dumps of one run: each is whole, and each bridge's restores into a scratch database."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from documents.marks import owner_comment
from documents.places import Database
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, dumps, measure, psql

WHOLE = "unpacks, and is whole"
NO_DUMPS = (".part", ".log", ".txt", ".md5", ".sha256", ".tmp")  # how the names of files end that are none


@dataclass(frozen=True)
class ProvenDump:
    """A dump of the proof. `database` is "" where a name does not tell it, `path` where it was not kept; `proof` says
    what was seen."""

    database: str
    path: str
    bytes: int
    proof: str


def prove_own_dump(database: str, path: Path, container: str, filtered: bool) -> ProvenDump:
    """A dump that our dump script made. ScriptError unless it is whole, and for its owner alone. `filtered`: a command
    has made it unreadable for us."""
    status = path.stat()
    if stat.S_IMODE(status.st_mode) != 0o600:
        raise ScriptError(f"{path}: mode {stat.S_IMODE(status.st_mode):04o}: it should be 0600")
    if filtered:
        if not status.st_size:
            raise ScriptError(f"{path}: is empty: does the command in backupFilter write to its stdout?")
        proof = "made and filtered without an error"
    else:
        dumps.prove_dump(path, container)
        proof = WHOLE
    say(f"proven: {database}: {path.name}, {status.st_size} bytes: {proof}")
    return ProvenDump(database, str(path), status.st_size, proof)


def prove_operators_dumps(
    folder: Path, own: Sequence[Path], begin: int, container: str, database: str
) -> list[ProvenDump]:
    """Other dumps that are new in the folder since `begin` (ns), a file's time of change before the run. ScriptError if
    one is not whole; a note for what cannot be read. `database`: what the operator's script should dump."""
    proven = []
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        new = stat.S_ISREG(status.st_mode) and status.st_ctime_ns >= begin and path not in own
        if not new or path.suffix in NO_DUMPS:
            continue
        if not dumps.looks_like_dump(path):
            say(f"note: {path.name}: new in {folder}, and nothing that we can read: not proven")
            continue
        try:
            dumps.prove_dump(path, container)
        except ScriptError as error:
            raise ScriptError(f"{error} (if another job writes it at this moment, run this again)") from None
        if stat.S_IMODE(status.st_mode) & 0o077:
            say(f"note: {path.name} has mode {stat.S_IMODE(status.st_mode):04o}: others on the host can read it")
        say(f"proven: {path.name}, {status.st_size} bytes: {WHOLE}")
        proven.append(ProvenDump(database if database in path.name else "", str(path), status.st_size, WHOLE))
    if not any(dump.database for dump in proven):
        say(f"note: no new dump of {database} is in {folder}: look where your script leaves it")
    return proven


def name_scratch_database(database: str) -> str:
    """The database that dumps are restored into; `database`: the first bridge's."""
    return f"{database[:49]}_restore_check"


@dataclass(frozen=True)
class RestoreProof:
    """What the restore needs: Postgres' superuser, the stack, and the bridges' databases. `filtered`: their dumps are
    unreadable for us, so that others are made."""

    superuser: str
    stack: str
    bridges: tuple[Database, ...]
    filtered: bool

    @property
    def container(self) -> str:
        """Postgres'."""
        return self.bridges[0].container

    @property
    def scratch(self) -> str:
        return psql.check_name("database", name_scratch_database(self.bridges[0].database))

    @property
    def owner_comment(self) -> str:
        """On the scratch database."""
        return owner_comment(self.stack, scratch=True)


def prove_restores(proof: RestoreProof, made: Mapping[str, Path], private: Path) -> None:
    """Restore each bridge's dump (`made`, by database) into a scratch database that lets nobody else in, and take it
    back. As the bridge's role: what is in a dump is not run with a superuser's rights. The scratch database is dropped
    whatever happens. `private`: a directory for dumps of our own."""
    superuser, scratch = psql.check_name("superuser", proof.superuser), proof.scratch
    quoted = psql.quote_identifier(scratch)
    drop = f"SET client_min_messages = warning;\nDROP DATABASE IF EXISTS {quoted} WITH (FORCE);\n"
    _refuse_foreign_scratch(proof, superuser)
    try:
        first = proof.bridges[0]
        restoring = psql.Session(proof.container, first.role, first.database, unprivileged=True)
        with psql.Session(proof.container, superuser) as session, restoring:
            session.run(
                f"{drop}CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'"
                f" LC_CTYPE 'C';\nCOMMENT ON DATABASE {quoted} IS"
                f"{psql.quote_literal(proof.owner_comment)};\n"
                f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC;\n"
            )
            for bridge in proof.bridges:
                dump = made[bridge.database]
                if proof.filtered:
                    dump = private / f"{bridge.database}.sql"
                    if not dumps.make_dump(bridge, dump):
                        raise ScriptError(f"{bridge.container}: there is no database {bridge.database}")
                owner = f"ALTER DATABASE {quoted} OWNER TO {psql.quote_identifier(bridge.role)};\n"
                live = int(session.run(owner + measure.COUNT_TABLES, bridge.database)[0])
                with dumps.open_dump(dump) as stream:
                    restored = dump_restore.try_restore(restoring, bridge.role, scratch, stream)
                if restored != live:
                    say(f"note: {dump.name} restores to {restored} tables, {bridge.database} has {live} now")
                say(f"proven: {bridge.database}: {dump.name} restores ({restored} tables)")
    finally:
        psql.run_sql(proof.container, superuser, "postgres", drop)


def _refuse_foreign_scratch(proof: RestoreProof, superuser: str) -> None:
    """ScriptError if there is a database of that name that is not ours."""
    rows = psql.run_sql(
        proof.container, superuser, "postgres",
        "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '-') FROM pg_catalog.pg_database"
        " WHERE datname = :'scratch';\n", scratch=proof.scratch,
    )  # fmt: skip
    if rows and rows != [proof.owner_comment]:
        raise ScriptError(
            f"{proof.container}: database {proof.scratch} is needed for the restore check and is not ours: rename or "
            "drop it"
        )
