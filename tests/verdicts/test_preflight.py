"""A host that the deployment would break and that is let through; a refusal without a fix; a warning without use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from documents.bridges import SIGNAL
from tests import facts as host
from tests.facts import STACK, block, deployed, entries, fresh, settings
from verdicts.preflight import Findings, arguments, judge

Facts = dict[str, Any]


def verdict(facts: Facts, **changed: str) -> Findings:
    return judge(facts, settings(**changed), SIGNAL, STACK, entries(), block())


def test_the_plan_s_host_is_fine() -> None:
    found = verdict(fresh())
    assert found.problems == ()
    assert (found.deployed, found.attempt) == (False, 1)


def test_the_diffs_are_what_up_will_write() -> None:
    homeserver, script = verdict(fresh()).diffs
    assert "+++ " in homeserver and "/opt/matrix/synapse/homeserver.yaml" in homeserver
    assert any(line.startswith("+") and "- /data/registration.yaml" in line for line in homeserver.splitlines())
    assert not [line for line in homeserver.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert "/opt/matrix/scripts/pg_backup.sh" in script and "pg_dump" in script


def test_a_deployed_host_has_nothing_to_change() -> None:
    found = verdict(deployed())
    assert found == Findings((), found.warnings, (), True, 1)
    assert not [warning for warning in found.warnings if "no longer holds" in warning]


def _set(path: str, value: Any) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        *parents, last = path.split("/")
        for each in parents:
            facts = facts[each]
        facts[last] = value

    return change


def _other(**registration: Any) -> Callable[[Facts], None]:
    plain = {"path": "/data/irc.yaml", "id": "irc", "sender_localpart": "ircbot", "exclusive": []}
    return _set("synapse/registrations", [{**plain, **registration}])


REFUSALS: list[tuple[Callable[[Facts], None], str]] = [
    (_set("docker", "19.03.15"), "Docker 19.03.15: too old: this needs 20.10 or newer"),
    (
        _set("machine/root", False),
        "the host's scripts do not run as root: they change the owner of files: run pulumi as root",
    ),
    (
        _set("containers/matrix-mas", None),
        "container matrix-mas: not there: start the stack, or correct the setting masContainer",
    ),
    (
        lambda facts: facts["containers"]["matrix-synapse"].update(running=False, status="exited"),
        "container matrix-synapse: is exited, not running: start it (docker start matrix-synapse)",
    ),
    (
        _set("containers/matrix-postgres/networks", {"bridge": "172.17.0.2"}),
        "container matrix-postgres: is not in the network matrix-net: correct the setting network",
    ),
    (_set("network", False), "network matrix-net: not there: correct the setting network (docker network ls)"),
    (_set("synapse/server_name", "echo7.co"), "domain: 'echo6.co' should be Synapse's server_name, 'echo7.co'"),
    (
        _set("synapse/mas", False),
        "/opt/matrix/synapse/homeserver.yaml: MAS is not enabled (matrix_authentication_service): this deploys beside "
        "MAS only; check that synapseContainer is the right one",
    ),
    (
        _set("synapse/version", "1.120.2"),
        "Synapse 1.120.2: too old for MSC4190: update it to 1.121 or newer",
    ),
    (
        _set("synapse", {"error": "ScannerError: line 3"}),
        "container matrix-synapse: its homeserver.yaml cannot be judged: ScannerError: line 3",
    ),
    (_set("postgres/version", 110004), "Postgres 11: too old: this needs 12 or newer"),
    (_set("postgres/superuser", False), "postgresSuperuser: 'synapse' should be a superuser of Postgres"),
    (
        _set("postgres", {"error": 'FATAL:  role "synapse" does not exist'}),
        'container matrix-postgres: psql as synapse: FATAL:  role "synapse" does not exist',
    ),
    (
        _set("superuser_password", None),
        "postgresPassword: not set, and container matrix-postgres has no POSTGRES_PASSWORD: set it with "
        "`pulumi config set --secret postgresPassword`",
    ),
    (
        lambda facts: facts["postgres"]["roles"].append("mautrix_signal"),
        "role mautrix_signal: exists and was not made by this stack: drop it or set another bridgeRole",
    ),
    (
        lambda facts: facts["postgres"]["databases"].update(mautrix_signal={"bytes": 1, "owner": "x", "public": True}),
        "database mautrix_signal: exists and was not made by this stack: dump and drop it, or set another "
        "bridgeDatabase",
    ),
    (
        _set("postgres/locked_out", {"synapse": ["grafana", "mas"]}),
        "isolatedDatabases: grafana would no longer get into the database synapse: grant it CONNECT there, or accept "
        "it with `pulumi config set --path 'acceptLockedOut[0]' grafana`",
    ),
    (
        _set("containers/mautrix-signal", {**host._running("x"), "labels": {"mautrix-bridge.stack": "other/x"}}),
        "container mautrix-signal: exists and belongs to the stack other/x: remove it or set another bridgeContainer",
    ),
    (
        _set("containers/mautrix-signal", host._running("x")),
        "container mautrix-signal: exists and was not made by this stack: remove it or set another bridgeContainer",
    ),
    (
        lambda facts: facts["directories"]["bridge_dir"].update(exists=True, stack="other/x"),
        "/opt/matrix/mautrix-signal: belongs to the stack other/x: set another bridgeDir",
    ),
    (
        lambda facts: facts["directories"]["bridge_dir"].update(exists=True, entries=["signal.db"]),
        "/opt/matrix/mautrix-signal: holds files that this stack did not make: move them away or set another bridgeDir",
    ),
    (
        _set("others", ["old-signal"]),
        "/opt/matrix/mautrix-signal: is used by the container old-signal: set another bridgeDir",
    ),
    (
        lambda facts: facts["registrations"].update({"/opt/matrix/synapse/registration.yaml": True}),
        "/opt/matrix/synapse/registration.yaml: exists and was not made by this stack: move it away or set another "
        "file name",
    ),
    (
        _other(id="signal"),
        "registration /data/irc.yaml: has the id signal too: Synapse would not start: remove one of the two",
    ),
    (
        _other(id="doublepuppet"),
        "registration /data/irc.yaml: has the id doublepuppet too: set another doublepuppetId",
    ),
    (
        _other(sender_localpart="signalbot"),
        "registration /data/irc.yaml: has the sender signalbot, which this deployment needs: remove it",
    ),
    (
        _other(exclusive=[r"@signal_.*:echo6\.co"]),
        r"registration /data/irc.yaml: its exclusive namespace @signal_.*:echo6\.co covers @signal_x:echo6.co: narrow "
        "it or remove it",
    ),
    (
        _other(error="FileNotFoundError: no such file"),
        "registration /data/irc.yaml: cannot be read: FileNotFoundError: no such file: fix it, or Synapse will not "
        "start again",
    ),
    (
        lambda facts: facts["directories"]["synapse_dir"].update(writable=False),
        "/opt/matrix/synapse: is read-only: make it writable for the user who runs this",
    ),
    (_set("docker_free", 100 * 2**20), "disk: 100 MiB free for Docker: the image needs 600"),
    (
        lambda facts: facts["directories"]["backup_dir"].update(free=300 * 2**20),
        "disk: 300 MiB free beside /opt/matrix/scripts/pg_backup.sh: the dumps may need 638",
    ),
    (
        _set("homeserver", None),
        "/opt/matrix/synapse/homeserver.yaml: no such file on the host: check the setting synapseDir",
    ),
    (_set("homeserver/text", None), "/opt/matrix/synapse/homeserver.yaml: is not UTF-8 text: convert it"),
    (
        _set("backup_script/executable", False),
        "/opt/matrix/scripts/pg_backup.sh: is not executable: chmod u+x it",
    ),
    (
        _set("backup_script/writable", False),
        "/opt/matrix/scripts/pg_backup.sh: it or its directory is read-only: make it writable for the user who runs "
        "this",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), REFUSALS, ids=[line[:50] for _, line in REFUSALS])
def test_each_refusal_is_one_line_with_its_mend(change: Callable[[Facts], None], line: str) -> None:
    facts = fresh()
    change(facts)
    assert verdict(facts).problems == (line,)


def test_a_file_that_cannot_be_edited_is_refused_with_its_line() -> None:
    facts = fresh()
    facts["homeserver"]["text"] += "experimental_features:\n  msc3202_transaction_extensions: false\n"
    (problem,) = verdict(facts).problems
    assert problem.startswith("/opt/matrix/synapse/homeserver.yaml:6: ")


def test_all_problems_are_told_together() -> None:
    facts = fresh()
    for change, _ in (REFUSALS[0], REFUSALS[2], REFUSALS[5]):
        change(facts)
    assert len(verdict(facts).problems) == 3


def test_locked_out_roles_are_let_go_when_accepted_and_still_named() -> None:
    facts = fresh()
    facts["postgres"]["locked_out"] = {"synapse": ["grafana"]}
    found = verdict(facts, acceptLockedOut='["grafana"]')
    assert found.problems == ()
    assert "isolation: grafana will no longer get into the database synapse" in found.warnings


def test_a_second_run_after_a_failed_one_is_not_refused_for_what_the_first_made() -> None:
    facts = deployed()
    facts["containers"]["mautrix-signal"] = None  # it stopped at the check
    assert verdict(facts).problems == ()


def test_what_somebody_took_out_is_told_with_the_command_that_puts_it_back() -> None:
    facts = deployed()
    facts["homeserver"]["text"] = host.HOMESERVER
    (told,) = [warning for warning in verdict(facts).warnings if "no longer holds" in warning]
    assert "/data/registration.yaml" in told
    assert told.endswith("`pulumi config set reapply 1` and `pulumi up` put it back")


def test_a_container_that_never_got_ready_is_replaced_and_one_that_was_ready_is_not() -> None:
    facts = deployed()
    assert verdict(facts).attempt == 1
    facts["ready_container"] = None
    assert verdict(facts).attempt == 2
    facts["containers"]["mautrix-signal"]["labels"]["mautrix-bridge.attempt"] = "2"
    facts["ready_container"] = f"{facts['containers']['mautrix-signal']['id']} 2"
    assert verdict(facts).attempt == 2


def test_a_container_that_somebody_removed_is_made_anew_though_the_state_has_it() -> None:
    facts = deployed()
    facts["containers"]["mautrix-signal"] = None
    assert verdict(facts).attempt == 2


def test_a_lost_registration_is_told() -> None:
    facts = deployed()
    facts["registrations"]["/opt/matrix/synapse/doublepuppet.yaml"] = False
    (told,) = [warning for warning in verdict(facts).warnings if "took it out" in warning]
    assert told.startswith("/opt/matrix/synapse/doublepuppet.yaml: is no longer there: ")


def test_old_versions_are_warned_of() -> None:
    facts = fresh()
    facts["postgres"]["version"] = 150008
    told = " ".join(verdict(facts).warnings)
    assert "Postgres 15: mautrix advises 16 or newer" in told
    assert "releases before v0.2607.0 can no longer link an account" in told
    assert "can no longer link" not in " ".join(verdict(facts, image="dock.mau.dev/mautrix/signal:v0.2608.0").warnings)


def test_no_secret_is_asked_for_by_name_in_the_arguments() -> None:
    assert "password" not in str(arguments(settings(postgresPassword="hunter2-hunter2"), SIGNAL))
