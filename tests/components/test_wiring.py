"""An order that holds only by luck: a container that does not wait for the check, a check that does not wait for the
restart; a secret in plain sight; a change that replaces what it should not, or fails to replace what it should."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pulumi
import pytest
from host_programs.bridge.gate import Admitted

from host_programs.bridge import bridge_data
from host_programs.synapse.stop_and_check import Checked
from host_programs.wire import Failed, plain
from tests import facts
from tests.components.recorder import RESULTS, STATUS, Recording, record
from tests.facts import ARCHIVED_KEY, DOUBLEPUPPET, KEYS, SEED, TOKENS
from verdicts.host_facts.archive import ArchiveFacts, Manifest
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.host_facts.docker import IdRange
from verdicts.host_facts.host import HostFacts


@pytest.fixture(scope="module")
def plan() -> Recording:
    return record(facts.healthy(), facts.defaults())


def arguments(plan: Recording, name: str, bridge: str = "signal") -> dict[str, Any]:
    """What the script of the resource is told; of a step for all bridges, what of this one."""
    own, shared = f"mautrix-signal-{name}", f"shared-{name}"
    job = plan[own if own in plan.resources else shared].stdin
    told: dict[str, Any] = job["arguments"] if job["each"] is None else job["arguments"][bridge]
    return told


def output(plan: Recording, name: str, bridge: str = "signal") -> Any:
    """The value of one of a bridge's outputs."""
    value = plan.outputs["bridges"][bridge][name]
    return asyncio.get_event_loop().run_until_complete(value.future()) if isinstance(value, pulumi.Output) else value


def test_the_order_is_the_plan_s(plan: Recording) -> None:
    chain = [
        "shared-directory",
        "shared-leftovers",
        "mautrix-signal-leftovers",
        "shared-install",
        "mautrix-signal-role",
        "mautrix-signal-database",
        "shared-isolation",
        "shared-backup-script",
        "shared-registrations",
        "shared-synapse-restart",
        "shared-gate",
        "mautrix-signal-container",
        "shared-readiness",
    ]
    assert "shared-isolation" in plan.after("shared-access") and "shared-access" in plan.after("shared-registrations")
    for before, after in pairwise(chain):
        assert before in plan.after(after), f"{after} does not wait for {before}"


WHATSAPP, CUSTOM = {"kind": "whatsapp"}, {
    "kind": "custom", "name": "irc", "network": "IRC", "image": "example.org/irc:v1.2.3", "port": 29343,
    "binary": "/usr/bin/irc",
}  # fmt: skip
MANY = facts.config(None, [WHATSAPP, CUSTOM])
NAMES = ("mautrix-signal", "mautrix-whatsapp", "mautrix-irc")


@pytest.fixture(scope="module")
def many() -> Recording:
    return record(facts.healthy(3), MANY)


def test_a_bridge_has_at_most_eight_resources_and_no_program_of_its_own_is_run_for_it(
    plan: Recording, many: Recording
) -> None:
    """Each is written with the whole state, twice or more, and a program takes its time to start: twenty bridges would
    take minutes."""
    one, three = (
        [each for each in recording.resources.values() if each.type != "pulumi:pulumi:Stack"]
        for recording in (plan, many)
    )
    assert len(one) <= 24 and len(three) == len(one) + 2 * 8
    assert not [each.name for each in many.named("^mautrix-") if "create" in each.inputs]


def test_the_restart_waits_for_the_registrations_and_for_what_the_bridge_is_made_of(plan: Recording) -> None:
    assert plan.after("shared-synapse-restart") >= {
        "shared-registrations",
        "mautrix-signal-registration",
        "shared-install",
    }


def test_the_container_waits_for_the_gate_and_the_gate_for_the_restart_and_the_backup(plan: Recording) -> None:
    assert "shared-gate" in plan["mautrix-signal-container"].needs
    assert "shared-synapse-restart" in plan["shared-gate"].needs
    assert "shared-backup-script" in plan.after("shared-gate")


def test_a_destroy_archives_after_the_container_is_gone_and_before_anything_else_goes(plan: Recording) -> None:
    assert "mautrix-signal-container" in plan["mautrix-signal-may-go"].needs, "first of all: can it be archived?"
    assert "mautrix-signal-archive" in plan["mautrix-signal-container"].needs
    assert plan.after("mautrix-signal-archive") >= {
        "mautrix-signal-database",
        "shared-isolation",
        "shared-install",
        "mautrix-signal-registration",
        "shared-registrations",
        "shared-synapse-restart",
    }
    for name, verb in (("may-go", "check"), ("archive", "archive"), ("registration", "erase"), ("leftovers", "sweep")):
        assert plan[f"mautrix-signal-{name}"].inputs["delete"].endswith(f" {verb}"), name
    # When this bridge alone goes, what all share stays, and the engine sees no order through that.
    own = {f"mautrix-signal-{name}" for name in ("database", "registration", "leftovers")}
    assert plan["mautrix-signal-archive"].needs >= own
    for name in ("role", "database", "registration"):
        assert "mautrix-signal-leftovers" in plan[f"mautrix-signal-{name}"].needs
    archived = arguments(plan, "archive")["subject"]["files"]
    assert [path.rpartition("/")[2] for path in archived] == ["config.yaml", "registration.yaml", "doublepuppet.yaml"]


ARCHIVE = ArchiveFacts(
    "/archives/one.tar.gz",
    Manifest(
        3, "", "destroy", facts.STACK, "echo6.co", "mautrix-signal", "", {}, "mautrix_signal", "mautrix_signal", (), ()
    ),
)


def test_an_archive_brings_its_database_and_its_pickle_key() -> None:
    """Data of one archive beside the key of another: nothing of it could be read again. So both have one trigger."""
    host = facts.changed(facts.healthy(), {"archive": ARCHIVE})
    restored = record(host, facts.config({"restore": "latest"}))
    data = arguments(restored, "gate")["data"]
    assert data["restore"] == arguments(restored, "keys")["archive"] == ARCHIVE.path
    assert restored["mautrix-signal-keys"].inputs["triggers"] == [ARCHIVE.path]
    assert data["subject"]["pickle_key"] == arguments(restored, "archive")["subject"]["pickle_key"] == ARCHIVED_KEY
    config = arguments(restored, "install")["config"]["content"]
    assert f'pickle_key: "{ARCHIVED_KEY}"' in config
    assert arguments(restored, "readiness")["new_keys"] is False, "its own cross-signing keys are in the archive"


def test_a_restore_reaches_an_existing_database_neither_with_its_data_nor_with_its_key(plan: Recording) -> None:
    again = record(facts.changed(facts.deployed(), {"archive": ARCHIVE}), facts.config({"restore": "latest"}))
    assert arguments(again, "gate")["data"] == arguments(plan, "gate")["data"]
    assert arguments(plan, "gate")["data"]["subject"]["pickle_key"] == KEYS.pickle_key
    assert not {"mautrix-signal-keys"} & (again.resources.keys() | plan.resources.keys())


def test_role_and_database_outlive_the_provider_and_are_dropped_last(plan: Recording) -> None:
    """It cannot drop what is gone already, and would stop a destroy there; the sweep can."""
    for name in ("role", "database"):
        assert plan[f"mautrix-signal-{name}"].options.retainOnDelete is True
        assert plan[f"mautrix-signal-{name}"].options.importId == ""
    assert "password" not in plan["mautrix-signal-role"].inputs
    assert plan["mautrix-signal-leftovers"].inputs["delete"].endswith(" # scripts.leftovers sweep")
    assert plan["shared-directory"].needs == set() and plan["shared-leftovers"].needs == {"shared-directory"}
    again = record(facts.deployed(), facts.defaults())
    assert again["mautrix-signal-role"].options.importId == again["mautrix-signal-database"].options.importId
    assert again["mautrix-signal-role"].options.importId == "mautrix_signal"


def test_nothing_slow_stands_between_the_first_new_secret_and_the_new_container(plan: Recording) -> None:
    """A rotation: from the role's password on, the bridge that runs has old secrets. Before there is one, the proof
    need not wait for the backup."""
    steps = {"shared-access", "shared-registrations", "shared-synapse-restart", "shared-gate"}
    for recording, more in ((record(facts.deployed(), facts.defaults()), set()), (plan, {"shared-backup-script"})):
        between = recording.after("mautrix-signal-container") - recording.after("shared-access")
        commands = {name for name in between if "create" in recording[name].inputs}
        assert commands - {"shared-tokens", "shared-keys"} == steps | more


def test_owners_are_those_that_the_host_sees(plan: Recording) -> None:
    """Where Docker runs without root, uid 1337 of a container is another one outside of it."""
    maps = (IdRange(0, 1000, 1), IdRange(1, 100000, 65536))
    rootless = record(replace(facts.healthy(), uids=maps, gids=maps), facts.defaults())

    def owners(recording: Recording, name: str) -> set[tuple[int, int]]:
        told = arguments(recording, name)
        return {(each["uid"], each["gid"]) for each in told.get("files", [told.get("config")])}

    assert (owners(plan, "install"), owners(plan, "registrations")) == ({(1337, 1337)}, {(991, 991)})
    assert (owners(rootless, "install"), owners(rootless, "registrations")) == ({(101336, 101336)}, {(100990, 100990)})


def test_docker_s_address_is_one_for_all(plan: Recording) -> None:
    assert plan["shared-docker"].inputs["host"] == "unix:///var/run/docker.sock", "what docker context says"
    address = "unix:///run/user/1000/docker.sock"
    host = replace(facts.healthy(), docker_host=address)
    other = record(host, {**facts.defaults(), "dockerHost": address})
    assert other["shared-docker"].inputs["host"] == address
    assert {each.stdin["docker_host"] for each in other.resources.values() if each.stdin} == {address}
    assert f"export DOCKER_HOST={address}" in arguments(other, "backup-script")["dump_script"]


def test_over_ssh_the_ways_are_others_and_nothing_else_is(plan: Recording) -> None:
    there = {"host": "ssh://matt@host:2222", "become": "sudo", "sshKey": "~/.ssh/id", "postgresLocalPort": "23456"}
    other = record(facts.healthy(), {**facts.defaults(), **there})
    for name, away in other.resources.items():
        here = plan[name]
        assert (away.needs, away.stdin, away.secret_inputs) == (here.needs, here.stdin, here.secret_inputs), name
        differing = {key for key in {*here.inputs, *away.inputs} if here.inputs.get(key) != away.inputs.get(key)}
        assert differing <= {
            "command:local:Command": {"create", "update", "delete"},
            "pulumi:providers:docker": {"host", "sshOpts"},
            "pulumi:providers:postgresql": {"host", "port"},
        }.get(here.type, set()), name
        for verb in differing & {"create", "update", "delete"}:
            assert away.inputs[verb].startswith("ssh -o BatchMode=yes -o StrictHostKeyChecking=yes")
            assert "-l matt -p 2222 -T -- host 'sudo -n python3 -IS -" in away.inputs[verb]
            assert f"echo '{name}: cut off from the host" in away.inputs[verb]
    docker, postgres = other["shared-docker"].inputs, other["shared-postgres"].inputs
    assert docker["host"] == "ssh://matt@host:2222" and "StrictHostKeyChecking=yes" in docker["sshOpts"]
    assert (postgres["host"], postgres["port"]) == ("127.0.0.1", "23456")


def test_nothing_is_made_before_what_sweeps_it_nor_a_database_before_the_directory_is_claimed(plan: Recording) -> None:
    made = [each for each in plan.resources.values() if each.type.startswith(("postgresql:", "docker:index"))]
    assert len(made) == 3
    for each in made:
        assert {"mautrix-signal-leftovers", "shared-leftovers"} <= plan.after(each.name), each.name
    own = arguments(plan, "install")["own"]
    assert own["path"] == "/opt/matrix/mautrix-signal" and own["stack"] == facts.STACK
    assert "shared-install" in plan.after("mautrix-signal-role") & plan.after("mautrix-signal-database")
    assert "mautrix-signal-leftovers" in plan["shared-install"].needs


def test_every_database_of_the_settings_is_isolated(plan: Recording) -> None:
    assert arguments(plan, "isolation")["databases"] == ["synapse", "mas"]
    assert [each["database"] for each in arguments(plan, "isolation")["bridges"]] == ["mautrix_signal"]


def test_no_secret_is_outside_a_secret_input(plan: Recording) -> None:
    secrets = [*vars(TOKENS).values(), *vars(DOUBLEPUPPET).values(), KEYS.pickle_key, SEED.seed]
    assert len(secrets) == 9
    assert {name for name, each in plan.resources.items() if "stdin" not in each.secret_inputs and each.stdin} <= {
        "shared-directory", "shared-leftovers", "mautrix-signal-leftovers", "mautrix-signal-registration",
        "shared-doublepuppet-registration", "mautrix-signal-may-go",
    }  # fmt: skip
    for each in plan.resources.values():
        for name, value in each.inputs.items():
            if name not in each.secret_inputs:
                assert not [secret for secret in secrets if secret in json.dumps(value, default=str)], (each.name, name)


def test_what_a_command_s_text_says_has_no_argument(plan: Recording) -> None:
    for each in plan.resources.values():
        if each.type == "command:local:Command":
            kept = "stdin" in each.secret_inputs or each.options.additionalSecretOutputs or "create" not in each.inputs
            assert kept, "what it says at its end is no secret"
            for verb in {"create", "delete"} & each.inputs.keys():
                wanted = r" ([a-z_]+) # scripts\.[a-z_]+ \1$| - # scripts\.generate$"
                assert re.search(wanted, each.inputs[verb])
            assert each.inputs["addPreviousOutputInEnv"] is False


def test_the_container_has_no_secret_and_no_port(plan: Recording) -> None:
    container = plan["mautrix-signal-container"]
    assert container.secret_inputs == set()
    assert not {"envs", "ports", "networkMode", "privileged"} & set(container.inputs)
    assert container.inputs["readOnly"] is True
    assert container.inputs["capabilities"] == {"drops": ["ALL"]}
    assert container.inputs["user"] == "1337:1337"


def test_what_people_send_has_room_on_disk_for_as_long_as_the_container_is_there(plan: Recording) -> None:
    """A read-only root without it loses every file above 5 MiB; a tmpfs is memory, and the real provider cannot add one
    to a container that is there."""
    container = plan["mautrix-signal-container"]
    assert {"containerPath": "/tmp"} in container.inputs["volumes"] and "tmpfs" not in container.inputs
    assert container.inputs.get("removeVolumes") is not False


def test_a_secret_is_made_once_and_turns_with_its_generation_alone(plan: Recording) -> None:
    tokens, keys = plan["shared-tokens"], plan["shared-keys"]
    assert tokens.inputs["triggers"] == [1]
    assert keys.inputs["triggers"] == []
    for each in (tokens, keys):
        assert {"create", "update", "stdin", "environment", "logging"} <= set(each.options.ignoreChanges)
        assert set(each.options.additionalSecretOutputs) == {"stdout", "stderr"}
        assert each.inputs["logging"] == "none"


def test_another_config_replaces_the_container_and_runs_the_check_again_but_not_the_restart(plan: Recording) -> None:
    def versions(recording: Recording) -> tuple[str, str, str]:
        return (
            json.dumps(recording["mautrix-signal-container"].inputs["labels"]),
            arguments(recording, "gate")["check"]["fingerprint"],
            json.dumps(arguments(recording, "synapse-restart")["registrations"]),
        )

    other = record(facts.healthy(), {**facts.defaults(), "homeserverAddress": "http://synapse:8008"})
    assert versions(other)[0] != versions(plan)[0] and versions(other)[1] != versions(plan)[1]
    assert versions(other)[2] == versions(plan)[2], "the registrations are the same: no restart of Synapse"
    same = record(facts.healthy(), facts.defaults())
    assert versions(same) == versions(plan)


def test_a_new_container_is_made_after_the_old_one_is_gone_and_a_gate_never_deletes(plan: Recording) -> None:
    assert plan["mautrix-signal-container"].options.deleteBeforeReplace is True
    for name in ("install", "gate", "readiness"):
        assert not {"triggers", "delete"} & plan[f"shared-{name}"].inputs.keys()


def test_reapply_reaches_every_step_on_the_host(plan: Recording) -> None:
    def stdin(recording: Recording) -> dict[str, object]:
        return {each.name: each.inputs["stdin"] for each in recording.resources.values() if each.stdin}

    other = stdin(record(facts.healthy(), {**facts.defaults(), "reapply": "1"}))
    names = "leftovers registration archive may-go"
    shared = "leftovers directory doublepuppet-registration install isolation backup-script access registrations"
    shared += " synapse-restart gate readiness"
    own = {f"mautrix-signal-{name}" for name in names.split()}
    assert set(other) == own | {f"shared-{name}" for name in shared.split()}
    assert [name for name, text in stdin(plan).items() if text == other[name]] == []


def test_a_deployed_bridge_that_never_got_ready_is_replaced_and_checked_again(plan: Recording) -> None:
    again = record(facts.changed(facts.deployed(), {"ready_mark": ""}), facts.defaults())
    assert {"label": "mautrix-bridge.attempt", "value": "2"} in again["mautrix-signal-container"].inputs["labels"]
    first = arguments(plan, "gate")["check"]["fingerprint"]
    assert arguments(again, "gate")["check"]["fingerprint"] != first


def _waited(wait: str) -> HostFacts:
    mark = f"mautrix-signal-container-id 1 {wait}"
    status = BridgeStatus(container="exited", exit_code=1)
    return facts.changed(facts.deployed(), {"ready_mark": mark, "status": status})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param(facts.healthy(), STATUS, id="a first up: not `absent`, as the host was met"),
        pytest.param(_waited("another"), STATUS, id="this up has waited for it: as the wait saw it"),
        pytest.param(
            _waited("0123abcd"),
            BridgeStatus(container="exited", exit_code=1),
            id="nothing has waited since: as it was met, even if it no longer runs",
        ),
    ],
)
def test_the_bridge_s_status_is_the_newest_that_was_seen(host: HostFacts, status: BridgeStatus) -> None:
    assert plain(output(record(host, facts.defaults()), "status")) == plain(status)


def test_a_problem_on_the_host_registers_nothing() -> None:
    with pytest.raises(pulumi.RunError) as stopped:
        record(replace(facts.healthy(), network=False), facts.defaults())
    assert str(stopped.value).splitlines() == [
        "the host is not ready; nothing was changed. 1 problem:",
        "- network matrix-net: not there: correct the setting network (docker network ls)",
    ]


def test_bad_settings_register_nothing() -> None:
    with pytest.raises(pulumi.RunError, match=r"^bridges\[0\].port: 'x' should be a whole number from 1 to 65535$"):
        record(facts.healthy(), facts.config({"port": "x"}))


def test_names_come_from_the_settings_alone() -> None:
    own = {
        "container": "box-bridge",
        "directory": "/srv/box/bridge",
        "database": "box_db",
        "role": "box_role",
        "registrationFile": "box.yaml",
    }
    box = record(facts.healthy(), facts.config(own))
    for each in box.resources.values():
        told = json.dumps({**each.inputs, "stdin": each.stdin.get("arguments")}, default=str)
        told = told.replace("/usr/bin/mautrix-signal", "").replace("mautrix-signal/contabo", "")
        for name in ("mautrix_signal", "/opt/matrix/mautrix-signal", "://mautrix-signal:", "/data/registration.yaml"):
            assert name not in told, (each.name, name)


def test_the_programs_are_not_in_the_state_but_on_the_host_before_the_first_step(plan: Recording) -> None:
    """A hundred kilobytes in each step are written at every other one: twenty bridges would take minutes."""
    assert {name for name, each in plan.resources.items() if len(str(each.inputs.get("stdin", ""))) > 8_000} == {
        "shared-directory"
    }, "what makes it, and takes it away when they are gone"
    ((verb, kept),) = (told for told in plan.run if told[0] != "read_host")
    assert verb == "create" and kept.within.path == "/opt/matrix/mautrix-bridges"
    (file,) = kept.files
    held = json.loads(file.content.partition("\n")[2])
    assert held.keys() >= {"host_programs.synapse.appservices", "mautrix_bridges"}
    for name, each in plan.resources.items():
        if each.stdin and name != "shared-directory":
            assert each.stdin["stored"]["path"] == file.path, name
            assert each.stdin["stored"]["sha256"] == hashlib.sha256(file.content.encode()).hexdigest()
            assert "shared-directory" in plan.after(name), name


def test_a_preview_and_a_host_that_has_the_programs_leave_them() -> None:
    there = replace(facts.healthy(), programs=True)
    for recorded in (record(there, facts.defaults()), record(facts.healthy(), facts.defaults(), preview=True)):
        assert [verb for verb, _ in recorded.run] == ["read_host"]


# several bridges -------------------------------------------------------------------------------------------------


def test_all_share_one_restart_one_isolation_one_backup_and_one_double_puppet(many: Recording) -> None:
    commands = [each for each in many.resources.values() if each.type == "command:local:Command"]
    for what in (
        "synapse.appservices register_appservices",
        "isolation isolate",
        "nightly_backup apply",
        "install install",
        "gate admit",
    ):
        assert len([each for each in commands if each.inputs.get("create", "").endswith(f" # scripts.{what}")]) == 1
    assert [each["path"].rpartition("/")[2] for each in arguments(many, "synapse-restart")["registrations"]] == [
        "registration.yaml", "mautrix-whatsapp-registration.yaml", "mautrix-irc-registration.yaml", "doublepuppet.yaml",
    ]  # fmt: skip
    assert arguments(many, "synapse-restart")["bridges"] == [*NAMES]
    databases = [each["database"] for each in arguments(many, "isolation")["bridges"]]
    assert databases == [each["database"] for each in arguments(many, "backup-script")["bridges"]]
    assert databases == ["mautrix_signal", "mautrix_whatsapp", "mautrix_irc"]


def test_no_bridge_waits_for_another_after_the_restart(many: Recording) -> None:
    for name in NAMES:
        before = many.after(f"{name}-may-go")
        assert "shared-synapse-restart" in before
        for other in {*NAMES} - {name}:
            assert not {f"{other}-{step}" for step in ("archive", "container", "may-go")} & before
            assert f"{other}-registration" in many.after("shared-synapse-restart")


def test_another_bridge_changes_nothing_of_one_that_is_there_but_what_all_share(
    plan: Recording, many: Recording
) -> None:
    for name, each in plan.resources.items():
        if name.startswith("mautrix-signal") and each.type != "pulumi:pulumi:Stack":
            assert (each.inputs, each.stdin) == (many[name].inputs, many[name].stdin), name
    less = record(facts.healthy(2), facts.config({"kind": "whatsapp"}, [CUSTOM]))  # the first one has gone
    for name, each in less.resources.items():
        if name.startswith(("mautrix-whatsapp", "mautrix-irc")):
            assert (each.inputs, each.stdin) == (many[name].inputs, many[name].stdin), name


def test_outputs_are_a_bridge_s_and_its_tokens_secrets(many: Recording) -> None:
    assert [*many.outputs["bridges"]] == ["signal", "whatsapp", "irc"]
    assert output(many, "bot", "irc") == "@ircbot:echo6.co"
    assert "`!wa login`" in output(many, "nextSteps", "whatsapp")
    for name in ("asToken", "hsToken", "databaseUrl", "provisioningSecret"):
        value = many.outputs["bridges"]["irc"][name]
        assert asyncio.get_event_loop().run_until_complete(value.is_secret()), name


GATE = {"shared-gate whatsapp": Failed("stop-and-check: FAIL: ping: 502")}


def live(recording: Recording) -> dict[str, bool]:
    """By bridge: whether it has a container, and readiness waits for it."""
    waited = recording["shared-readiness"].stdin["arguments"]
    found = {name: (f"{name}-container" in recording.resources, name[8:] in waited) for name in NAMES}
    assert all(made == awaited for made, awaited in found.values())
    return {name: made for name, (made, _) in found.items()}


def test_a_gate_that_fails_keeps_its_bridge_alone_from_going_live_and_ends_the_run() -> None:
    stopped = record(facts.healthy(3), MANY, failing=GATE)
    assert live(stopped) == {"mautrix-signal": True, "mautrix-whatsapp": False, "mautrix-irc": True}
    assert stopped.ended.splitlines() == [
        "1 of 3 bridges did not go live:", "- mautrix-whatsapp: stop-and-check: FAIL: ping: 502",
    ]  # fmt: skip


def test_an_image_that_cannot_be_had_is_one_bridge_s_failure() -> None:
    """As a failed resource of Docker's provider it would end the run for all."""
    failing = {"shared-install whatsapp": Failed("image dock.mau.dev/x: cannot be pulled: manifest unknown")}
    stopped = record(facts.healthy(3), MANY, failing=failing)
    assert live(stopped) == {"mautrix-signal": True, "mautrix-whatsapp": False, "mautrix-irc": True}
    assert stopped["shared-gate"].stdin["arguments"].keys() == {"signal", "irc"}
    assert stopped.ended.splitlines()[1:] == [
        "- mautrix-whatsapp: image dock.mau.dev/x: cannot be pulled: manifest unknown"
    ]


def test_at_preview_all_of_it_is_planned() -> None:
    """What a gate will say is not known then, and what it said once is of no account."""
    planned = record(facts.healthy(3), MANY, failing=GATE, preview=True)
    assert "mautrix-whatsapp-container" in planned.resources and planned.ended == ""


def test_a_destroy_is_not_stopped_by_what_failed_before_it() -> None:
    with patch("components.host_check.making", lambda: False):
        told = record(facts.healthy(3), MANY, failing={"shared-readiness irc": Failed("is not ready"), **GATE})
    assert told.ended == "" and "mautrix-whatsapp-container" in told.resources


def test_data_that_cannot_begin_keeps_the_container_away() -> None:
    """It has one to come: what is in it goes into an archive at the end."""
    stopped = record(facts.healthy(), facts.defaults(), failing={"shared-gate signal": Failed("an archive is damaged")})
    assert "mautrix-signal-archive" in stopped.resources
    assert not {"mautrix-signal-container", "mautrix-signal-may-go"} & stopped.resources.keys()
    assert stopped.ended.splitlines()[1:] == ["- mautrix-signal: an archive is damaged"]


def test_every_bridge_that_fails_has_its_line_and_an_upgrade_its_way_back() -> None:
    failing = {f"shared-readiness {name[8:]}": Failed(f"{name} is not ready after 90 s") for name in NAMES[:2]}
    stopped = record(facts.healthy(3), MANY, failing=failing)
    assert stopped.ended.splitlines() == [
        "2 of 3 bridges did not go live:",
        "- mautrix-signal: mautrix-signal is not ready after 90 s",
        "- mautrix-whatsapp: mautrix-whatsapp is not ready after 90 s",
    ]
    leaving = replace(facts.healthy(3), leaving=("mautrix-old",))
    assert (
        record(leaving, MANY, failing=failing).ended.splitlines()[3].startswith("- mautrix-old: is stopped and out of")
    )
    begun = bridge_data.Begun("none", "/archives/old.tar.gz", "dock.mau.dev/mautrix/signal:v0.2602.0")
    passed = Admitted(Checked("PASS", "all well"), begun)
    with patch.dict(RESULTS, {"bridge.gate admit": passed}):
        stopped = record(facts.deployed(), facts.defaults(), failing=failing)
    assert stopped.ended.endswith(
        "Or go back, the database as it is now being archived first: `pulumi config set --path 'bridges[0].image' "
        "dock.mau.dev/mautrix/signal:v0.2602.0 && pulumi config set --path 'bridges[0].goBackTo' /archives/old.tar.gz "
        "&& pulumi up`"
    )


def test_an_attempt_that_failed_is_made_again(plan: Recording) -> None:
    """Its outcome is in the state: nothing would be asked again unless something differs."""
    again = record(
        facts.changed(facts.healthy(), {"failures": 1, "directory": facts.deployed().bridges[0].directory}),
        facts.defaults(),
    )
    for name in ("install", "gate", "readiness"):
        assert again[f"shared-{name}"].inputs["stdin"] != plan[f"shared-{name}"].inputs["stdin"]
