"""How far Synapse has gone through its events for application services (element-hq/synapse: handlers/appservice.py).

Without any application service Synapse neither reads nor moves the position: it stays at 0. With the first one it goes
through all events so far, before it hands over a new one (element-hq/synapse#11629).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from documents.places import Postgres
from host_programs.messages import ScriptError, say
from host_programs.postgres.psql import Statement, run_sessions
from host_programs.wire import from_json

# As the owner of Synapse's tables, which may be views: their functions would run with a superuser's rights.
AS_OWNER = (
    "select pg_get_userbyid(relowner) as owner from pg_class where oid = to_regclass('public.users') \\gset \\\\ "
    '\\connect - :"owner" \\\\ '
)
NEWEST = "(select coalesce(max(stream_ordering), 0) from public.events)"
POSITION = "(select coalesce(max(stream_ordering), 0) from public.appservice_stream_position)"
NEVER_PUSHED = f"{POSITION} = 0 and not exists (select from public.application_services_state)"
ANSWER = f"select json_build_object('position', {POSITION}, 'newest', {NEWEST}, 'never_pushed', {NEVER_PUSHED});"
READ = f"{AS_OWNER}{ANSWER}"
SKIP = (
    f"{AS_OWNER}begin; update public.appservice_stream_position set stream_ordering = {NEWEST} where {NEVER_PUSHED}; "
    f"{ANSWER} commit;"
)


@dataclass(frozen=True)
class EventPosition:
    """Two numbers of Synapse's event stream: `position` is the last event that was gone through, `newest` the last.
    `never_pushed`: no application service was ever served."""

    position: int
    newest: int
    never_pushed: bool = False

    @property
    def behind(self) -> int:
        """About how many events are left."""
        return max(self.newest - self.position, 0)


def read_position(server: Postgres, database: str) -> EventPosition:
    """In Synapse's database. ScriptError if Postgres does not tell."""
    return _ask(server, database, READ)


def skip_old_events(server: Postgres, database: str) -> None:
    """Move the position to the newest event, in one transaction, unless an application service was ever served.
    Synapse, which has none yet, does not touch it meanwhile."""
    try:
        before, now = read_position(server, database), _ask(server, database, SKIP)
    except ScriptError as error:
        say(f"warning: appserviceCatchUp: skip: {error}: Synapse goes through its old events, and `up` waits for it")
        return
    if now.position > before.position:
        say(f"{database}: application services begin at event {now.position}: {before.behind} old events are skipped")
    elif before.behind:
        say(f"note: {database}: {before.behind} old events are not skipped: an application service was here before")


def _ask(server: Postgres, database: str, sql: str) -> EventPosition:
    (answer,) = run_sessions(server.container, Statement(server.superuser, database, sql))
    if not answer.succeeded:
        reason = (answer.stderr.strip() or "psql failed").splitlines()[0]
        raise ScriptError(f"{server.container}: database {database}: {reason}")
    return from_json(EventPosition, json.loads(answer.stdout), "Postgres' answer")
