"""An order that holds only by luck: a container that does not wait for the check, a check that does not wait for the
restart; a secret in plain sight; a change that replaces what it should not, or fails to replace what it should."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pulumi
import pytest

from tests import facts
from tests.components.recorder import Recording, record


@pytest.fixture(scope="module")
def plan() -> Recording:
    return record(facts.fresh(), facts.defaults())


def secrets_of(plan: Recording) -> list[str]:
    made = [each for each in plan.named(r"(token|password|secret|key)$") if each.type == "command:local:Command"]
    return [f"secret{each.name}".replace("-", "").ljust(int(each.inputs["create"].split()[-1]), "x") for each in made]


def test_the_order_is_the_plan_s(plan: Recording) -> None:
    chain = [
        "mautrix-signal-claim",
        "mautrix-signal-role",
        "mautrix-signal-database",
        "mautrix-signal-proof",
        "mautrix-signal-script",
        "mautrix-signal-registration.yaml",
        "mautrix-signal-homeserver",
        "mautrix-signal-check",
        "mautrix-signal-container",
        "mautrix-signal-ready",
    ]
    for before, after in pairwise(chain):
        assert before in plan.after(after), f"{after} does not wait for {before}"


def test_the_restart_waits_for_both_registrations_and_the_bridge_s_config(plan: Recording) -> None:
    assert plan.after("mautrix-signal-homeserver") >= {
        "mautrix-signal-registration.yaml",
        "mautrix-signal-doublepuppet.yaml",
        "mautrix-signal-config",
        "mautrix-signal-remote",
    }


def test_the_container_waits_for_the_check_and_the_check_for_the_restart(plan: Recording) -> None:
    assert "mautrix-signal-check" in plan["mautrix:bridge:Container"].needs
    assert "mautrix:bridge:Container" in plan["mautrix-signal-container"].needs
    assert "mautrix-signal-homeserver" in plan["mautrix:bridge:AuthCheck"].needs
    assert "mautrix:bridge:AuthCheck" in plan["mautrix-signal-check"].needs


def test_a_destroy_archives_after_the_container_is_gone_and_before_anything_else_goes(plan: Recording) -> None:
    assert "mautrix-signal-archive" in plan.after("mautrix-signal-container")
    assert plan.after("mautrix-signal-archive") >= {
        "mautrix-signal-database",
        "mautrix-signal-config",
        "mautrix-signal-registration.yaml",
        "mautrix-signal-doublepuppet.yaml",
    }


def test_an_archive_brings_its_database_and_its_pickle_key(plan: Recording) -> None:
    restored = record(facts.fresh(), {**facts.defaults(), "restore": "latest"})
    assert restored["mautrix-signal-restore"].inputs["create"].endswith(" restore # scripts.final_archive")
    assert plan["mautrix-signal-restore"].inputs["create"].endswith(" keep # scripts.final_archive")
    assert restored["mautrix-signal-pickle-key"].inputs["create"].endswith(" pickle_key # scripts.final_archive")
    config = restored["mautrix-signal-config"].stdin["arguments"]["content"]
    assert 'pickle_key: "archived-key"' in config
    assert set(restored["mautrix-signal-pickle-key"].options.additionalSecretOutputs) == {"stdout", "stderr"}


def test_nothing_is_made_before_the_directory_is_claimed(plan: Recording) -> None:
    made = [each for each in plan.resources.values() if each.type.startswith(("postgresql:", "docker:index"))]
    assert len(made) == 5
    for each in made:
        assert "mautrix-signal-claim" in plan.after(each.name), each.name


def test_the_proof_waits_for_every_database_that_is_closed(plan: Recording) -> None:
    assert plan.after("mautrix-signal-proof") >= {
        "mautrix-signal-public",
        "mautrix-signal-isolation-synapse",
        "mautrix-signal-isolation-mas",
    }
    assert plan["mautrix-signal-proof"].stdin["arguments"]["refused"] == ["synapse", "mas"]


def test_no_secret_is_outside_a_secret_input(plan: Recording) -> None:
    secrets = secrets_of(plan)
    assert len(secrets) == 8
    for each in plan.resources.values():
        for name, value in each.inputs.items():
            if name not in each.secret_inputs:
                assert not [secret for secret in secrets if secret in json.dumps(value, default=str)], (each.name, name)


def test_what_a_command_s_text_says_has_no_argument(plan: Recording) -> None:
    for each in plan.resources.values():
        if each.type == "command:local:Command" and "stdin" in each.inputs:
            assert "stdin" in each.secret_inputs
            assert re.search(r" [a-z]+ # scripts\.[a-z_]+$", each.inputs["create"])
            assert each.inputs["addPreviousOutputInEnv"] is False


def test_the_container_has_no_secret_and_no_port(plan: Recording) -> None:
    container = plan["mautrix-signal-container"]
    assert container.secret_inputs == set()
    assert not {"envs", "ports", "networkMode", "privileged"} & set(container.inputs)
    assert container.inputs["readOnly"] is True
    assert container.inputs["capabilities"] == {"drops": ["ALL"]}
    assert container.inputs["user"] == "1337:1337"


def test_a_secret_is_made_once_and_turns_with_its_generation_alone(plan: Recording) -> None:
    token, pickle = plan["mautrix-signal-as-token"], plan["mautrix-signal-pickle-key"]
    assert token.inputs["triggers"] == [1]
    assert "triggers" not in pickle.inputs, "a restored database needs its old key"
    for each in (token, pickle):
        assert {"create", "update", "stdin", "environment", "logging"} <= set(each.options.ignoreChanges)
        assert set(each.options.additionalSecretOutputs) == {"stdout", "stderr"}
        assert each.inputs["logging"] == "none"


def test_what_public_could_do_is_read_once(plan: Recording) -> None:
    assert {"create", "update", "stdin"} <= set(plan["mautrix-signal-before-synapse"].options.ignoreChanges)
    before = plan["mautrix-signal-isolation-synapse"].stdin["arguments"]["before"]
    assert json.loads(before) == {"public": ["CONNECT", "TEMPORARY"]}


def test_new_tokens_replace_the_container_and_run_the_check_and_the_restart_again(plan: Recording) -> None:
    def versions(recording: Recording) -> tuple[str, str, str]:
        return (
            json.dumps(recording["mautrix-signal-container"].inputs["labels"]),
            recording["mautrix-signal-check"].stdin["arguments"]["fingerprint"],
            recording["mautrix-signal-homeserver"].stdin["arguments"]["fingerprint"],
        )

    other = record(facts.fresh(), {**facts.defaults(), "homeserverAddress": "http://synapse:8008"})
    assert versions(other)[0] != versions(plan)[0] and versions(other)[1] != versions(plan)[1]
    assert versions(other)[2] == versions(plan)[2], "the registrations are the same: no restart of Synapse"
    same = record(facts.fresh(), facts.defaults())
    assert versions(same) == versions(plan)


def test_a_new_container_is_made_after_the_old_one_is_gone_and_a_gate_never_deletes(plan: Recording) -> None:
    assert plan["mautrix-signal-container"].options.deleteBeforeReplace is True
    assert not plan["mautrix-signal-check"].options.deleteBeforeReplace
    assert "triggers" not in plan["mautrix-signal-check"].inputs


def test_reapply_reaches_every_step_on_the_host(plan: Recording) -> None:
    def stdin(recording: Recording) -> dict[str, object]:
        return {each.name: each.stdin["arguments"] for each in recording.resources.values() if each.stdin}

    other = stdin(record(facts.fresh(), {**facts.defaults(), "reapply": "1"}))
    same = {name for name, arguments in stdin(plan).items() if arguments == other[name]}
    assert same == {
        "mautrix-signal-claim",
        "mautrix-signal-before-synapse",
        "mautrix-signal-before-mas",
        "mautrix-signal-restore",
        "mautrix-signal-archive",
    }


def test_a_deployed_bridge_that_never_got_ready_is_replaced_and_checked_again(plan: Recording) -> None:
    host = facts.deployed()
    host["ready_container"] = None
    again = record(host, facts.defaults())
    assert {"label": "mautrix-bridge.attempt", "value": "2"} in again["mautrix-signal-container"].inputs["labels"]
    assert (
        again["mautrix-signal-check"].stdin["arguments"]["fingerprint"]
        != plan["mautrix-signal-check"].stdin["arguments"]["fingerprint"]
    )


def test_a_problem_on_the_host_registers_nothing() -> None:
    host = facts.fresh()
    host["network"] = False
    with pytest.raises(pulumi.RunError) as stopped:
        record(host, facts.defaults())
    assert str(stopped.value).splitlines() == [
        "the host is not ready; nothing was changed. 1 problem:",
        "- network matrix-net: not there: correct the setting network (docker network ls)",
    ]


def test_bad_settings_register_nothing() -> None:
    with pytest.raises(pulumi.RunError, match=r"^bridgePort: 'x' should be a whole number from 1 to 65535$"):
        record(facts.fresh(), {**facts.defaults(), "bridgePort": "x"})


def test_names_come_from_the_settings_alone() -> None:
    config = {
        **facts.defaults(),
        "bridgeContainer": "box-bridge",
        "bridgeDir": "/srv/box/bridge",
        "network": "matrix-net",
        "bridgeDatabase": "box_db",
        "bridgeRole": "box_role",
        "registrationFile": "box.yaml",
    }
    host = facts.fresh()
    host["containers"]["box-bridge"] = host["containers"].pop("mautrix-signal")
    box = record(host, config)
    for each in box.resources.values():
        told = json.dumps({**each.inputs, "stdin": each.stdin.get("arguments")}, default=str)
        told = told.replace("/usr/bin/mautrix-signal", "").replace("mautrix-signal/contabo", "")
        for name in ("mautrix_signal", "/opt/matrix/mautrix-signal", "://mautrix-signal:", "/data/registration.yaml"):
            assert name not in told, (each.name, name)
