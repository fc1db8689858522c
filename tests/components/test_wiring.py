"""An order that holds only by luck: a container that does not wait for the check, a check that does not wait for the
restart; a secret in plain sight; a change that replaces what it should not, or fails to replace what it should; a
preview that shows a replacement which `up` does not make; one bridge's failure that keeps another from going live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pulumi
import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from documents.credentials import DoublePuppet, Keys, Tokens
from documents.marks import owner_comment
from host_programs.program_file import ProgramFile
from host_programs.verbs import VERBS
from tests import facts
from tests.components.recorder import COMMAND, Recording, Resource, Stopped, record
from tests.facts import ARCHIVED_KEY, PERMANENT_SEED, SEED, pickled
from verdicts.host_facts.archive import Manifest, SourceFacts
from verdicts.host_facts.docker import IdRange
from verdicts.host_facts.host import HostFacts, OwnFile, ScheduleFacts

WHATSAPP, CUSTOM = {"kind": "whatsapp"}, {
    "kind": "custom", "name": "irc", "network": "IRC", "image": "example.org/irc:v1.2.3", "port": 29343,
    "binary": "/usr/bin/irc",
}  # fmt: skip
MANY = facts.config(None, [WHATSAPP, CUSTOM])
NAMES = ("mautrix-signal", "mautrix-whatsapp", "mautrix-irc")
SEEDS = {"secrets-rotating-seed", "secrets-permanent-seed"}

TOKENS, DOUBLEPUPPET = SEED.derive_secrets(Tokens, "mautrix-signal"), SEED.derive_secrets(DoublePuppet, "")
KEYS = PERMANENT_SEED.derive_secrets(Keys, "mautrix-signal")


@pytest.fixture(scope="module")
def plan() -> Recording:
    return record(facts.healthy(), facts.defaults())


@pytest.fixture(scope="module")
def many() -> Recording:
    return record(facts.healthy(3), MANY)


def arguments(recording: Recording, name: str) -> Any:
    """What the verb of the step is told."""
    return recording[name].stdin["arguments"]


def config_of(recording: Recording) -> dict[str, Any]:
    """The config's file, as the step that writes it is told."""
    file: dict[str, Any] = arguments(recording, "mautrix-signal-config")["file"]
    return file


def value_of(output: Any) -> Any:
    if not isinstance(output, pulumi.Output):
        return output
    return asyncio.get_event_loop().run_until_complete(output.future())


def is_secret(output: Any) -> bool:
    if not isinstance(output, pulumi.Output):
        return False
    return bool(asyncio.get_event_loop().run_until_complete(output.is_secret()))


# the order -------------------------------------------------------------------------------------------------------


def test_nothing_comes_before_the_step_that_the_plan_puts_before_it(plan: Recording) -> None:
    chain = [
        "host-cleanup",
        "host-programs",
        "mautrix-signal-directory",
        "mautrix-signal-role",
        "mautrix-signal-database",
        "isolation-public",
        "isolation-proof",
        "synapse-appservices",
        "mautrix-signal-stop-and-check",
        "mautrix-signal-config",
        "mautrix-signal-data",
        "mautrix-signal-container",
        "mautrix-signal-readiness",
    ]
    for before, after in pairwise(chain):
        assert before in plan.after(after), f"{after} does not wait for {before}"
    assert "mautrix-signal-database" in plan.after("backup-script"), "the dumps are of the bridge's database"
    assert "backup-script" in plan.after("synapse-appservices"), "Synapse is touched before a backup is proven"
    assert plan.after("isolation-proof") | plan.after("synapse-appservices") >= SEEDS
    for seed in SEEDS:
        assert plan.after(seed) == {"host-cleanup", "host-programs", "host MatrixHost", "secrets Secrets"}


def test_an_output_that_stands_for_an_order_carries_it_by_itself(plan: Recording) -> None:
    """Several ways lead to a container, so that one of them may break unseen, and the order hold by luck."""
    names = plan.program
    synapse = names["synapse"]
    carriers = {
        "host-programs": [names["host"].programs],
        "mautrix-signal-database": [names["databases"]["mautrix-signal"].url, names["config"], names["version"]],
        "isolation-proof": [names["isolation"].proven, names["config"], names["version"]],
        "backup-script": [names["backup"].proven],
        "synapse-appservices": [*synapse.registered.values(), synapse.doublepuppet_as_token],
        "mautrix-signal-container": [names["container"].container_id],
    }
    for name, outputs in carriers.items():
        for output in outputs:
            resources = asyncio.get_event_loop().run_until_complete(output.resources())
            assert name in {resource.pulumi_resource_name for resource in resources}, name


def test_every_step_runs_after_the_programs_are_on_the_host(plan: Recording) -> None:
    for name in plan.steps.keys() - {"host-programs", "host-cleanup"}:
        assert "host-programs" in plan[name].needs, name
    assert plan["host-programs"].needs == {"host-cleanup", "host MatrixHost"}


def test_readiness_is_the_last_of_all(plan: Recording) -> None:
    others = {name for name, found in plan.resources.items() if not found.type.startswith(("mautrix:", "pulumi:"))}
    assert plan.after("mautrix-signal-readiness") >= others - {"mautrix-signal-readiness", "deployment"}


def test_a_destroy_undoes_the_plan_backwards(plan: Recording) -> None:
    """The engine deletes a resource before those that it needs: the question whether an archive can be made, the
    container, the archive, Synapse, backup and isolation, then what is left of the bridge, at last the programs."""
    undone = [
        ("mautrix-signal-readiness", "archive check"),
        ("mautrix-signal-container", None),
        ("mautrix-signal-data", "database archive"),
        ("mautrix-signal-stop-and-check", None),
        ("synapse-appservices", "synapse unregister"),
        ("isolation-public", "public let-in"),
        ("mautrix-signal-database", None),
        ("mautrix-signal-directory", "bridge cleanup"),
        ("host-programs", None),
        ("host-cleanup", "stack cleanup"),
    ]
    for (first, _), (then, _) in pairwise(undone):
        assert then in plan.after(first), f"{then} is deleted before {first}"
    for name, words in undone:
        assert plan[name].verbs.get("delete") == words, name
    assert "backup-script" in plan.after("synapse-appservices")
    assert "mautrix-signal-database" in plan.after("backup-script")
    assert plan["backup-script"].verbs["delete"] == "backup remove"
    deleting = {name for name, step in plan.steps.items() if "delete" in step.verbs}
    assert deleting == {name for name, words in undone if words} | {"backup-script"}
    archived = arguments(plan, "mautrix-signal-data")["data"]["files"]
    assert [path.rpartition("/")[2] for path in archived] == ["config.yaml", "registration.yaml", "doublepuppet.yaml"]


def test_a_bridge_that_leaves_alone_is_archived_before_its_database_and_directory_go(many: Recording) -> None:
    """What all share stays then, so no order may go through that alone."""
    for name in NAMES:
        bridge = {other for other in many.resources if other.startswith(name)}
        reached: set[str] = set()
        todo = [f"{name}-data"]
        while todo:
            for need in (many[todo.pop()].needs & bridge) - reached:
                reached.add(need)
                todo.append(need)
        assert {f"{name}-database", f"{name}-role", f"{name}-directory"} <= reached


def test_nothing_is_made_before_what_cleans_it_up_nor_a_database_before_its_directory_is_claimed(
    plan: Recording,
) -> None:
    made = [found.name for found in plan.resources.values() if found.type.startswith(("postgresql:", "docker:index"))]
    assert len(made) == 4
    for name in made:
        assert {"mautrix-signal-directory", "host-programs"} <= plan.after(name), name
    steps = {name for name in plan.after("mautrix-signal-image") if plan[name].is_step}
    assert steps == {"host-cleanup", "host-programs", "secrets-permanent-seed", "mautrix-signal-directory"}, (
        "the directory notes whether the image was there, once the keys are judged; a pull takes its time: nothing "
        "that a running bridge needs is changed before it"
    )
    own = arguments(plan, "mautrix-signal-directory")["directory"]
    assert own["path"] == "/opt/matrix/mautrix-signal" and own["stack"] == facts.STACK
    for name in ("mautrix-signal-role", "mautrix-signal-database"):
        assert "mautrix-signal-directory" in plan[name].needs, "its mark says whose they are"


def test_nothing_slow_stands_between_the_first_new_secret_and_the_new_container(plan: Recording) -> None:
    """A rotation: from the role's password on, the bridge that runs has old secrets. Before there is one, the proof
    need not wait for the backup."""
    steps = {"synapse-appservices", *(f"mautrix-signal-{name}" for name in ("stop-and-check", "config", "data"))}
    for recording, more in ((record(facts.deployed(), facts.defaults()), set()), (plan, {"backup-script"})):
        between = recording.after("mautrix-signal-container") - recording.after("isolation-proof") - {"isolation-proof"}
        assert {name for name in between if recording[name].is_step} - SEEDS == steps | more


def test_a_rotation_waits_for_the_images_and_nothing_else_does(plan: Recording) -> None:
    """An image that cannot be pulled left the bridge that ran without its password; but it is one bridge's failure."""
    deployed = facts.deployed()
    rotation = record(deployed, {**facts.defaults(), "tokenGeneration": "2"})
    assert "mautrix-signal-image" in rotation.after("isolation-proof")
    for recording in (plan, record(deployed, facts.defaults())):
        assert "mautrix-signal-image" not in recording.after("isolation-proof")


# the components --------------------------------------------------------------------------------------------------


TREE = {
    "host MatrixHost": ["host-cleanup", "host-programs", "host-docker", "host-postgres", "deployment"],
    "secrets Secrets": ["secrets-rotating-seed", "secrets-permanent-seed"],
    "mautrix-signal Database": ["mautrix-signal-directory", "mautrix-signal-role", "mautrix-signal-database"],
    "backup DatabaseBackup": ["backup-script"],
    "isolation DatabaseIsolation": ["isolation-public", "isolation-proof"],
    "synapse SynapseRegistration": ["synapse-appservices"],
    "mautrix-signal Container": [
        "mautrix-signal-config",
        "mautrix-signal-data",
        "mautrix-signal-container",
        "mautrix-signal-readiness",
    ],
    "": ["mautrix-signal-image", "mautrix-signal-stop-and-check"],
}


def test_the_tree_of_a_preview_is_the_plan_and_no_child_hangs_beside_its_component(plan: Recording) -> None:
    tree: dict[str, list[str]] = {}
    for name, found in plan.resources.items():
        if name not in plan.components:
            tree.setdefault(found.parent, []).append(name)
    assert {parent: sorted(children) for parent, children in tree.items()} == {
        parent: sorted(children) for parent, children in TREE.items()
    }
    assert all(component.parent == "" for component in plan.components.values())
    assert plan["mautrix-signal-stop-and-check"].type == COMMAND, "the check is one Command, and nothing else"


def test_a_component_registers_the_outputs_that_it_annotates(plan: Recording) -> None:
    """Without them Pulumi shows the component as unfinished, and a program that looks at it finds nothing."""
    from tests.components.test_components import COMPONENTS, outputs_of

    registered = {found.type: found.registered for found in plan.components.values()}
    assert len(COMPONENTS) == len(registered)
    for component, type_ in COMPONENTS.items():
        assert (registered[type_] or {}).keys() == outputs_of(component), component.__name__


def test_a_bridge_has_eleven_resources_of_its_own_and_shares_the_rest(plan: Recording, many: Recording) -> None:
    """Each is written with the whole state, twice or more: at twenty bridges one more is felt."""
    assert len(plan.resources) <= 27 and len(many.resources) == len(plan.resources) + 2 * 11


# the stop-and-check, and a failure of one bridge ---------------------------------------------------------------------


def went_live(recording: Recording) -> dict[str, bool]:
    """By bridge: whether its container and the proof that it works are registered; both or neither."""
    found = {
        name: {step for step in ("container", "readiness") if f"{name}-{step}" in recording.resources} for name in NAMES
    }
    assert all(len(steps) in (0, 2) for steps in found.values()), found
    return {name: bool(steps) for name, steps in found.items()}


def test_a_check_that_fails_keeps_its_bridge_alone_from_going_live() -> None:
    stopped = record(facts.healthy(3), MANY, failing={"mautrix-whatsapp-stop-and-check"})
    assert went_live(stopped) == {"mautrix-signal": True, "mautrix-whatsapp": False, "mautrix-irc": True}
    assert {name for name in stopped.resources if name.startswith("mautrix-whatsapp")} == {
        "mautrix-whatsapp Database",
        *(f"mautrix-whatsapp-{step}" for step in ("directory", "role", "database", "image", "stop-and-check")),
    }, "neither a config nor data of it: what runs goes on as it is"


@pytest.mark.parametrize("step", ["image", "config", "data"])
def test_what_a_container_is_made_of_is_one_bridge_s_failure_and_keeps_its_container_away(step: str) -> None:
    """An image that cannot be had, settings that the bridge does not take, an archive that is damaged."""
    stopped = record(facts.healthy(3), MANY, failing={f"mautrix-whatsapp-{step}"})
    assert went_live(stopped) == {"mautrix-signal": True, "mautrix-whatsapp": False, "mautrix-irc": True}


def test_a_bridge_that_does_not_get_ready_keeps_no_other_waiting() -> None:
    stopped = record(facts.healthy(3), MANY, failing={"mautrix-whatsapp-readiness"})
    assert went_live(stopped) == dict.fromkeys(NAMES, True)


@pytest.mark.parametrize("step", ["backup-script", "isolation-proof", "synapse-appservices"])
def test_no_check_is_made_and_no_bridge_goes_live_on_ground_that_is_not_proven(step: str) -> None:
    stopped = record(facts.healthy(3), MANY, failing={step})
    assert went_live(stopped) == dict.fromkeys(NAMES, False)
    assert not list(stopped.named("stop-and-check"))


def test_the_check_says_nothing_but_its_verdict_and_deletes_nothing(plan: Recording) -> None:
    check = plan["mautrix-signal-stop-and-check"]
    assert check.verbs == {"create": "synapse stop-and-check"}
    assert not {"triggers", "update", "delete"} & check.inputs.keys()


def test_a_problem_on_the_host_registers_nothing() -> None:
    with pytest.raises(Stopped) as stopped:
        record(replace(facts.healthy(), network=False), facts.defaults())
    assert str(stopped.value).splitlines() == [
        "the host is not ready; nothing was changed. 1 problem:",
        "- network matrix-net: does not exist: correct the setting network (docker network ls)",
    ]
    assert stopped.value.registered == []


def test_bad_settings_register_nothing() -> None:
    with pytest.raises(Stopped, match=r"^bridges\[0\].port: 'x' should be a whole number from 1 to 65535$") as stopped:
        record(facts.healthy(), facts.config({"port": "x"}))
    assert stopped.value.registered == []


def test_nothing_runs_on_the_host_outside_a_resource_but_one_look(plan: Recording) -> None:
    assert [verb for verb, _ in plan.looks] == ["observe"]


# restore, adoption, owners ---------------------------------------------------------------------------------------


ARCHIVE = SourceFacts(
    "/archives/one.tar.gz",
    Manifest(
        4,
        "",
        "destroy",
        facts.STACK,
        "echo6.co",
        "mautrix-signal",
        "",
        {},
        "mautrix_signal",
        "0123456789abcdef",
        (),
        (),
    ),
)


def test_an_archive_brings_its_database_and_its_pickle_key() -> None:
    """Data of one archive beside the key of another: nothing of it could be read again. So both are of one path."""
    host = facts.changed(facts.healthy(), {"restoring": ARCHIVE})
    restored = record(host, facts.config({"restore": "latest"}))
    data = arguments(restored, "mautrix-signal-data")
    assert data["restore"] == arguments(restored, "mautrix-signal-restored-key")["source"] == ARCHIVE.path
    key = restored["mautrix-signal-restored-key"]
    assert key.inputs["triggers"] == [ARCHIVE.path] and key.parent == "secrets Secrets"
    assert data["data"]["pickle_key"] == ARCHIVED_KEY
    assert f'pickle_key: "{ARCHIVED_KEY}"' in config_of(restored)["content"]
    new_keys = arguments(restored, "mautrix-signal-readiness")["new_keys"]
    assert new_keys is False, "its own cross-signing keys are in the archive"


DUMP = "/var/backups/mautrix-bridges/mautrix_signal_20261124T120000Z.mautrix-bridges.sql.gz"


def dumped(key: str, host: HostFacts | None = None) -> HostFacts:
    """With a nightly dump that this pickle key opens, and no config on the host that has it."""
    source = SourceFacts(DUMP, accounts=(pickled(key).hex(),))
    return facts.changed(host or facts.healthy(), {"restoring": source, "going_back": source})


def test_a_nightly_dump_gets_the_key_that_opens_it() -> None:
    host = dumped(KEYS.pickle_key)
    restored = record(host, facts.config({"restore": DUMP}))
    key = arguments(restored, "mautrix-signal-restored-key")
    assert (key["source"], key["state_key"], len(key["accounts"])) == (DUMP, KEYS.pickle_key, 1)
    assert restored["mautrix-signal-restored-key"].inputs["triggers"] == [DUMP]
    data = arguments(restored, "mautrix-signal-data")
    assert (data["restore"], data["data"]["pickle_key"]) == (DUMP, ARCHIVED_KEY), "what the step found"
    record(host, facts.config({"restore": DUMP}), preview=True, unknown="restored-key$")


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("setting", ["restore", "goBackTo"])
def test_a_dump_that_the_state_s_key_does_not_open_changes_nothing_that_lives(preview: bool, setting: str) -> None:
    """The database was gone, and the bridge dead, by the time that the key was tried."""
    host = dumped("another", facts.deployed() if setting == "goBackTo" else None)
    with pytest.raises(Stopped, match=rf"^{DUMP}: its (pickle key is neither|keys are encrypted with)") as stopped:
        record(host, facts.config({setting: DUMP}), preview=preview, unknown="restored-key$")
    made = {request.name for request in stopped.value.registered if request.custom}
    assert {name for name in made if not name.startswith(("host-", "secrets-"))} <= {
        "mautrix-signal-restored-key", "mautrix-signal-image", "deployment"
    }  # fmt: skip


def test_a_restore_reaches_an_existing_database_neither_with_its_data_nor_with_its_key(plan: Recording) -> None:
    again = record(facts.changed(facts.deployed(), {"restoring": ARCHIVE}), facts.config({"restore": "latest"}))
    name = "mautrix-signal-data"
    assert {**arguments(again, name), "attempt": 0} == {**arguments(plan, name), "attempt": 0}
    assert arguments(plan, name)["data"]["pickle_key"] == KEYS.pickle_key
    assert not {"mautrix-signal-restored-key"} & (again.resources.keys() | plan.resources.keys())


def test_another_directory_or_file_cleans_up_nothing_that_lives(plan: Recording) -> None:
    """The old resource's delete would remove the container, the database, or registrations that Synapse reads."""
    for name in ("host-cleanup", "host-programs", "mautrix-signal-directory", "mautrix-signal-data"):
        assert not plan[name].inputs.get("triggers"), name
    triggered = {name for name, step in plan.steps.items() if step.inputs.get("triggers") and "delete" in step.verbs}
    assert triggered == {"synapse-appservices"}, "the backup's step itself takes the call out of an earlier script"
    assert all(plan[name].options.deleteBeforeReplace for name in triggered), "what is new comes after the old is gone"


def test_role_and_database_outlive_the_provider_and_are_dropped_last(plan: Recording) -> None:
    """It cannot drop what is gone already, and would stop a destroy there; the cleanup can."""
    for name in ("mautrix-signal-role", "mautrix-signal-database"):
        assert plan[name].options.retainOnDelete is True
        assert plan[name].options.importId == ""
    retained = {name for name, found in plan.resources.items() if found.options.retainOnDelete}
    assert retained == {"mautrix-signal-role", "mautrix-signal-database"}
    assert "password" not in plan["mautrix-signal-role"].inputs
    assert plan["host-cleanup"].needs == {"host MatrixHost"} and plan["host MatrixHost"].needs == set()
    again = record(facts.deployed(), facts.defaults())
    for name in ("mautrix-signal-role", "mautrix-signal-database"):
        assert again[name].options.importId == "mautrix_signal", "ours, though no state holds it: taken over"


def test_what_the_host_has_runs_the_dumps_and_no_line_is_left_to_the_operator() -> None:
    """The output told him to add a line to cron, beside a file of ours that runs the same."""
    config = {**facts.defaults(), "backupScript": "none", "backupDir": "/srv/dumps", "backupTime": "04:45"}
    made = {
        scheduler: record(replace(facts.healthy(), schedule=ScheduleFacts(scheduler)), config)
        for scheduler in ("cron", "systemd", "")
    }
    for scheduler, names in (
        ("cron", ["mautrix-bridges_backup"]),
        ("systemd", ["mautrix-bridges_backup.service", "mautrix-bridges_backup.timer"]),
        ("", []),
    ):
        for told in (
            arguments(made[scheduler], "backup-script")["schedule"],
            arguments(made[scheduler], "host-cleanup")["backup"]["schedule"],
        ):
            assert [file["path"].rpartition("/")[2] for file in told if file["text"]] == names
            assert len(told) == 3, "a removal knows all of them, whatever the host has by then"
    lines = {scheduler: value_of(found.outputs["backupCron"]) for scheduler, found in made.items()}
    assert lines == {
        "cron": "",
        "systemd": "",
        "": "45 4 * * * root /opt/matrix/mautrix-bridges/mautrix-backup.sh /srv/dumps >/dev/null",
    }
    beside = record(replace(facts.healthy(), schedule=ScheduleFacts()), facts.defaults())
    assert value_of(beside.outputs["backupCron"]) == "", "his own script calls it"


def test_owners_are_those_that_the_host_sees(plan: Recording) -> None:
    """Where Docker runs without root, uid 1337 of a container is another one outside of it."""
    maps = (IdRange(0, 1000, 1), IdRange(1, 100000, 65536))
    rootless = record(replace(facts.healthy(), uids=maps, gids=maps), facts.defaults())

    def owners(recording: Recording) -> tuple[set[tuple[int, int]], ...]:
        files = [config_of(recording)], arguments(recording, "synapse-appservices")["registrations"]
        return tuple({(file["uid"], file["gid"]) for file in of_step} for of_step in files)

    assert owners(plan) == ({(1337, 1337)}, {(991, 991)})
    assert owners(rootless) == ({(101336, 101336)}, {(100990, 100990)})


def test_docker_s_address_is_one_for_all(plan: Recording) -> None:
    assert plan["host-docker"].inputs["host"] == "unix:///var/run/docker.sock", "what docker context says"
    address = "unix:///run/user/1000/docker.sock"
    host = replace(facts.healthy(), docker_host=address)
    other = record(host, {**facts.defaults(), "dockerHost": address})
    assert other["host-docker"].inputs["host"] == address
    assert {step.stdin["docker_host"] for step in other.steps.values()} == {address}
    assert f"export DOCKER_HOST={address}" in arguments(other, "backup-script")["dump_script"]
    for found in other.resources.values():
        expected = {"docker:": "host-docker", "postgresql:": "host-postgres"}
        wanted = next((name for type_, name in expected.items() if found.type.startswith(type_)), "")
        assert (found.options.provider.split("::")[-2] if found.options.provider else "") == wanted, found.name


def test_over_ssh_the_ways_are_others_and_nothing_else_is(plan: Recording) -> None:
    access = {"host": "ssh://matt@host:2222", "become": "sudo", "sshKey": "~/.ssh/id", "postgresLocalPort": "23456"}
    other = record(facts.healthy(), {**facts.defaults(), **access})
    for name, remote in other.resources.items():
        local = plan[name]
        assert (remote.needs, remote.stdin, remote.secret_inputs) == (local.needs, local.stdin, local.secret_inputs)
        differing = {key for key in {*local.inputs, *remote.inputs} if local.inputs.get(key) != remote.inputs.get(key)}
        assert differing <= {
            COMMAND: {"create", "update", "delete", "interpreter"},
            "pulumi:providers:docker": {"host", "sshOpts"},
            "pulumi:providers:postgresql": {"host", "port", "sslmode", "sslrootcert"},
        }.get(local.type, set()), name
        assert remote.verbs == local.verbs if local.is_step else True, name
        if local.is_step:
            assert f"echo '{name}: cut off from the host" in remote.inputs["interpreter"][-1]
        for key in differing & {"create", "update", "delete"}:
            text = remote.inputs[key]
            assert "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes" in text
            assert "-l matt -p 2222 -T -- host 'sudo -n python3 -I " in text
    docker, postgres = other["host-docker"].inputs, other["host-postgres"].inputs
    assert docker["host"] == "ssh://matt@host:2222" and "StrictHostKeyChecking=yes" in docker["sshOpts"]
    assert (postgres["host"], postgres["port"]) == ("127.0.0.1", "23456")
    assert (postgres["sslmode"], postgres["sslrootcert"]) == ("verify-ca", ".host-programs/postgres-23456.crt")


def test_every_database_of_the_settings_is_isolated(plan: Recording) -> None:
    wanted = arguments(plan, "isolation-public")
    assert wanted["databases"] == ["synapse", "mas"]
    assert [database["database"] for database in wanted["bridges"]] == ["mautrix_signal"]
    assert plan["isolation-public"].verbs == {
        "create": "public shut-out", "update": "public renew", "delete": "public let-in",
    }  # fmt: skip


# secrets ---------------------------------------------------------------------------------------------------------

SECRETS = [*vars(TOKENS).values(), *vars(DOUBLEPUPPET).values(), KEYS.pickle_key, SEED.seed, PERMANENT_SEED.seed]


def test_no_secret_is_outside_a_secret_input(plan: Recording) -> None:
    assert len(SECRETS) == 10
    assert "stdin" not in plan["host-programs"].secret_inputs, "it holds none"
    for name, found in plan.resources.items():
        if found.is_step and name != "host-programs":
            assert "stdin" in found.secret_inputs, name
        for key, value in found.inputs.items():
            if key not in found.secret_inputs:
                text = json.dumps(value, default=str)
                assert not [secret for secret in SECRETS if secret in text], (name, key)
    assert plan["host-postgres"].secret_inputs == {"password"}


def test_a_setting_that_was_set_as_a_secret_is_in_secret_inputs_alone() -> None:
    """A passphrase in backupFilter stood in the state in the clear."""
    secret = {
        "backupFilter": "gpg --passphrase hunter2-filter -c",
        "postgresPassword": "hunter2-postgres",
        "bridges": json.dumps([{"kind": "signal", "bridgeConfig": {"network": {"api_hash": "hunter2-hash"}}}]),
    }
    config = {**facts.defaults(), "backupFilterSuffix": ".gpg", **secret}
    made = record(facts.healthy(), config, secret=secret)
    for name, found in made.resources.items():
        plain = {key: value for key, value in found.inputs.items() if key not in found.secret_inputs}
        assert "hunter2" not in json.dumps([plain, found.registered], default=str), name
    told = [made.told, *(value_of(output) for output in made.outputs.values() if not is_secret(output))]
    assert "hunter2" not in json.dumps(told, default=str)
    assert "hunter2-filter" in made["backup-script"].inputs["stdin"], "it is there, and this looks at the right place"


def test_a_command_s_text_says_what_it_does_and_holds_no_argument(plan: Recording) -> None:
    path = arguments(plan, "host-programs")["path"]
    for name, step in plan.steps.items():
        for key, words in step.verbs.items():
            assert words in VERBS
            file = f".host-programs/{path.rpartition('/')[2]}" if (name, key) == ("host-programs", "create") else path
            condition = "test ! -e /opt/matrix/mautrix-bridges || " if name == "host-cleanup" else ""
            assert step.inputs[key] == f"{condition}python3 -I {file} {words}"
        assert step.inputs["addPreviousOutputInEnv"] is False
        assert step.inputs["logging"] in ("stderr", "none"), "what a step prints is its result, which may be secret"


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
    rotating, permanent = plan["secrets-rotating-seed"], plan["secrets-permanent-seed"]
    assert rotating.inputs["triggers"] == [1]
    assert permanent.inputs["triggers"] == []
    for seed in (rotating, permanent):
        assert {"create", "update", "stdin", "environment", "logging"} <= set(seed.options.ignoreChanges)
        assert set(seed.options.additionalSecretOutputs) == {"stdout", "stderr"}
        assert seed.inputs["logging"] == "none"
    other = record(facts.healthy(), {**facts.defaults(), "tokenGeneration": "2"})
    assert other["secrets-rotating-seed"].inputs["triggers"] == [2]
    assert other["secrets-permanent-seed"].inputs["triggers"] == [], "the pickle key never turns"


CONFIG = "/opt/matrix/mautrix-signal/config-0/config.yaml"
OTHER_KEY = "0123456789abcdef"  # of the database that is there; the state's is another one


def living(archive: str = "none", keys: Mapping[str, str] | None = None) -> HostFacts:
    """A deployed host whose database has another key than this state."""
    host, comment = facts.deployed(), owner_comment(facts.STACK, began=archive, key=OTHER_KEY)
    postgres = replace(host.postgres, databases={**host.postgres.databases, "mautrix_signal": comment})
    return facts.changed(host, {"keys": keys or {}}, postgres=postgres)


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("archive", ["none", ARCHIVE.path])
def test_a_state_with_another_pickle_key_changes_nothing_that_lives(preview: bool, archive: str) -> None:
    """The role's password and Synapse's registrations were new by the time that the key was found to be a wrong one:
    the bridge was dead, and the way back overwrote the last copy of the true key."""
    with pytest.raises(Stopped) as stopped:
        record(living(archive, {OTHER_KEY: CONFIG}), facts.defaults(), preview=preview)
    resource = "secrets-permanent-seed" if archive == "none" else "mautrix-signal-restored-key"
    assert str(stopped.value) == (
        "database mautrix_signal: its keys are encrypted with another pickle key than this state's: was the state "
        "lost, or made anew? Bring the old one back (`pulumi stack import`); if it is gone, `pulumi up "
        f"--target-replace '**{resource}'` takes it from {CONFIG}"
    )
    made = {request.name for request in stopped.value.registered if request.custom}
    assert {name for name in made if not name.startswith(("host-", "secrets-"))} <= {
        "mautrix-signal-restored-key", "mautrix-signal-image", "deployment"
    }  # fmt: skip


def test_a_state_without_keys_says_at_preview_where_up_takes_them_from_or_stops() -> None:
    """A lost state looked like a first `up`: all to be created, and no word of the database that lives."""
    told = record(living(keys={OTHER_KEY: CONFIG}), facts.defaults(), preview=True, unknown="^secrets-").told
    assert [line for line in told if f"does not hold its pickle key: was the state lost, or made anew? `up` takes the "
            f"key from {CONFIG}" in line]  # fmt: skip
    with pytest.raises(Stopped, match=r"if it is gone, put the bridge's config\.yaml, which each of its archives"):
        record(living(), facts.defaults(), preview=True, unknown="^secrets-")
    first = record(facts.healthy(), facts.defaults(), preview=True, unknown=".").told
    assert not [line for line in first if "pickle key" in line], "a first `up` has nothing to lose"


def test_the_step_that_makes_keys_knows_those_of_the_databases_that_live() -> None:
    told = record(living(keys={OTHER_KEY: CONFIG}), facts.defaults(), preview=True, unknown="^secrets-")
    assert arguments(told, "secrets-permanent-seed")["places"] == [
        {
            "bridge": "mautrix-signal",
            "database": "mautrix_signal",
            "fingerprint": OTHER_KEY,
            "directory": "/opt/matrix/mautrix-signal",
            "source": "none",
            "accounts": [],
            "state_key": "",
        }
    ]


def test_a_container_that_the_state_does_not_know_makes_way_for_the_next_one(plan: Recording) -> None:
    """Every `up` ended in `name … already in use`, for all bridges."""
    name = "mautrix-signal-container"
    hooks = record(facts.deployed(), facts.defaults())[name].options.hooks
    assert [*hooks.before_create] == ["mautrix-signal-make-way"]
    assert not [*hooks.before_delete], "a destroy needs no program"
    assert not [*plan[name].options.hooks.before_create], "where there is none, none is looked for"


def test_no_output_that_is_not_secret_holds_a_secret_and_tokens_are_secrets(plan: Recording, many: Recording) -> None:
    tokens = {"asToken", "hsToken", "databaseUrl", "provisioningSecret"}
    of_bridges: list[Mapping[str, Any]] = [plan.outputs, *(many.outputs[key] for key in ("signal", "whatsapp", "irc"))]
    for outputs in of_bridges:
        secret = {name for name, output in outputs.items() if is_secret(output)}
        assert secret == tokens | ({"doublepuppetAsToken"} if outputs is plan.outputs else set())
        for name in outputs.keys() - secret:
            text = str(value_of(outputs[name]))
            assert not [value for value in SECRETS if value in text], name
    assert is_secret(many.outputs["doublepuppetAsToken"])
    assert value_of(plan.outputs["asToken"]) == TOKENS.as_token
    assert value_of(plan.outputs["doublepuppetAsToken"]) == DOUBLEPUPPET.as_token


def test_a_registered_output_that_holds_a_secret_is_one(plan: Recording) -> None:
    secret = set()
    for name, component in plan.components.items():
        for key, value in (component.registered or {}).items():
            if rpc.is_rpc_secret(value):
                secret.add((name, key))
            else:
                assert not [text for text in SECRETS if text in str(value)], (name, key)
    assert secret == {
        ("mautrix-signal Database", "url"),
        *(("secrets Secrets", key) for key in ("doublepuppet", "tokens", "keys")),
        *(("synapse SynapseRegistration", key) for key in ("registered", "doublepuppet_as_token")),
    }


# what changes what -----------------------------------------------------------------------------------------------


def test_another_config_replaces_the_container_and_runs_the_check_again_but_not_the_restart(plan: Recording) -> None:
    def versions(recording: Recording) -> tuple[str, str, object]:
        files = arguments(recording, "synapse-appservices")
        return (
            json.dumps([recording["mautrix-signal-container"].inputs[key] for key in ("labels", "volumes")]),
            arguments(recording, "mautrix-signal-stop-and-check")["fingerprint"],
            [files[key] for key in ("registrations", "experimental_features")],
        )

    other = record(facts.healthy(), {**facts.defaults(), "homeserverAddress": "http://synapse:8008"})
    assert versions(other)[0] != versions(plan)[0] and versions(other)[1] != versions(plan)[1]
    assert versions(other)[2] == versions(plan)[2], "the registrations are the same: no restart of Synapse"
    same = record(facts.healthy(), facts.defaults())
    assert versions(same) == versions(plan)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"tokenGeneration": "2"}, id="turned tokens"),
        pytest.param({"bridges": json.dumps([{"kind": "signal", "image": "example.org/signal:v2"}])}, id="an image"),
        pytest.param({"bridges": json.dumps([{"kind": "signal", "container": "other"}])}, id="a name"),
    ],
)
def test_whatever_replaces_the_container_has_the_check_run_again(plan: Recording, changed: dict[str, str]) -> None:
    other = record(facts.healthy(), {**facts.defaults(), **changed})
    check, container = "mautrix-signal-stop-and-check", "mautrix-signal-container"
    assert other[container].inputs != plan[container].inputs
    assert arguments(other, check)["fingerprint"] != arguments(plan, check)["fingerprint"]


def test_a_new_container_is_made_after_the_old_one_is_gone_and_keeps_the_config_that_it_has(plan: Recording) -> None:
    assert plan["mautrix-signal-container"].options.deleteBeforeReplace is True
    for name in ("config", "data", "stop-and-check", "readiness"):
        assert "triggers" not in plan[f"mautrix-signal-{name}"].inputs, "a step that was replaced would delete first"
    volume = next(each for each in plan["mautrix-signal-container"].inputs["volumes"] if "hostPath" in each)
    assert config_of(plan)["path"] == f"{volume['hostPath']}/config.yaml"
    other = record(facts.healthy(), {**facts.defaults(), "homeserverAddress": "http://synapse:8008"})
    assert config_of(other)["path"] != config_of(plan)["path"], "the running container's config stays as it is"


def test_where_docker_enforces_selinux_the_config_s_directory_gets_the_label_that_lets_a_container_read_it(
    plan: Recording,
) -> None:
    def volume(recording: Recording) -> dict[str, Any]:
        volumes = recording["mautrix-signal-container"].inputs["volumes"]
        return next(each for each in volumes if "hostPath" in each)

    confined = record(replace(facts.healthy(), selinux=True), facts.defaults())
    assert volume(confined) == {**volume(plan), "selinuxRelabel": "z"} and "selinuxRelabel" not in volume(plan)


def test_reapply_reaches_every_step_on_the_host(plan: Recording) -> None:
    other = record(facts.healthy(), {**facts.defaults(), "reapply": "1"})
    assert [name for name, step in plan.steps.items() if step.inputs["stdin"] == other[name].inputs["stdin"]] == []
    assert {name for name, step in other.steps.items() if "stdin" in step.options.ignoreChanges} == SEEDS
    differing = {name for name, found in other.resources.items() if found.inputs != plan[name].inputs}
    assert differing == set(plan.steps), "and nothing else: no container is replaced"


def test_a_deployed_bridge_that_never_got_ready_is_replaced_and_checked_again(plan: Recording) -> None:
    again = record(facts.changed(facts.deployed(), {"ready_mark": ""}), facts.defaults())
    assert {"label": "mautrix-bridge.attempt", "value": "2"} in again["mautrix-signal-container"].inputs["labels"]
    name = "mautrix-signal-stop-and-check"
    assert arguments(again, name)["fingerprint"] != arguments(plan, name)["fingerprint"]


def unknown_in(found: Resource) -> Iterator[str]:
    """The inputs that are not known, in whole or in part."""

    def holds(value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(holds(item) for item in value.values())
        if isinstance(value, list):
            return any(holds(item) for item in value)
        return isinstance(value, Unknown)

    return (key for key, value in found.inputs.items() if holds(value))


def test_a_preview_shows_no_replacement_that_up_does_not_make() -> None:
    """Every step will run again, so nothing that one prints is known: neither the container nor what it is made of may
    look changed. Secrets are never made again, so they are known."""
    again = record(facts.deployed(), facts.defaults(), preview=True, unknown="^(?!secrets-)")
    assert {name: [*unknown_in(found)] for name, found in again.resources.items() if [*unknown_in(found)]} == {}
    same = record(facts.deployed(), facts.defaults())
    for name, found in again.resources.items():
        assert (found.inputs, found.stdin) == (same[name].inputs, same[name].stdin), name
    first = record(facts.healthy(), facts.defaults(), preview=True, unknown=".")
    assert "volumes" in [*unknown_in(first["mautrix-signal-container"])], "so this test would see one"
    assert first.resources.keys() == same.resources.keys(), "a first preview shows all that up will make"


def test_another_version_of_the_programs_runs_steps_again_and_replaces_nothing(plan: Recording) -> None:
    with patch("components.preflight.build_program_file", lambda stack: ProgramFile(f"# {stack}\nother".encode())):
        other = record(facts.healthy(), facts.defaults())
    assert other.resources.keys() == plan.resources.keys()
    for name, found in other.resources.items():
        differing = {key for key, value in found.inputs.items() if value != plan[name].inputs.get(key)}
        texts = set(found.verbs) if found.is_step else set()
        assert differing == texts | ({"stdin"} if name == "host-programs" else set()), name
        if name in SEEDS:
            assert differing <= set(found.options.ignoreChanges), "a new version would turn every secret"


def test_no_program_is_in_the_state(plan: Recording) -> None:
    """A hundred kilobytes in each step are written at every other one: twenty bridges would take minutes."""
    assert {name for name, step in plan.steps.items() if len(step.inputs["stdin"]) > 8_000} == set()
    assert not [name for name, step in plan.steps.items() if "import " in str(step.inputs)]


def test_names_come_from_the_settings_alone() -> None:
    own = {
        "container": "box-bridge",
        "directory": "/srv/box/bridge",
        "database": "box_db",
        "role": "box_role",
        "registrationFile": "box.yaml",
    }
    box = record(facts.healthy(), facts.config(own))
    for found in box.resources.values():
        told = json.dumps({**found.inputs, "stdin": found.stdin.get("arguments")}, default=str)
        told = told.replace("/usr/bin/mautrix-signal", "").replace("mautrix-signal/contabo", "")
        for name in ("mautrix_signal", "/opt/matrix/mautrix-signal", "://mautrix-signal:", "/data/registration.yaml"):
            assert name not in told, (found.name, name)


# several bridges -------------------------------------------------------------------------------------------------


def test_all_share_one_restart_one_isolation_one_backup_and_one_double_puppet(many: Recording) -> None:
    created = [step.verbs.get("create", "") for step in many.steps.values()]
    for words in ("synapse register", "public shut-out", "passwords prove", "backup install", "programs install"):
        assert created.count(words) == 1, words
    assert created.count("secrets make-seed") == created.count("secrets make-permanent") == 1
    synapse = arguments(many, "synapse-appservices")
    wanted = [
        "registration.yaml", "mautrix-whatsapp-registration.yaml", "mautrix-irc-registration.yaml", "doublepuppet.yaml",
    ]  # fmt: skip
    assert [file["path"].rpartition("/")[2] for file in synapse["registrations"]] == wanted
    assert synapse["bridges"] == [*NAMES]
    databases = [database["database"] for database in arguments(many, "isolation-public")["bridges"]]
    assert databases == [database["database"] for database in arguments(many, "backup-script")["bridges"]]
    assert databases == ["mautrix_signal", "mautrix_whatsapp", "mautrix_irc"]


def test_no_bridge_waits_for_another_after_the_restart(many: Recording) -> None:
    for name in NAMES:
        before = many.after(f"{name}-readiness")
        assert "synapse-appservices" in before
        for other in {*NAMES} - {name}:
            later = ("stop-and-check", "image", "config", "data", "container", "readiness")
            assert not {f"{other}-{step}" for step in later} & before
            assert f"{other}-database" in many.after("synapse-appservices"), "one restart, once all are there"


def test_another_bridge_changes_nothing_of_one_that_is_there_but_what_all_share(
    plan: Recording, many: Recording
) -> None:
    for name, found in plan.resources.items():
        if name.startswith("mautrix-signal"):
            assert (found.inputs, found.stdin) == (many[name].inputs, many[name].stdin), name
    less = record(facts.healthy(2), facts.config({"kind": "whatsapp"}, [CUSTOM]))  # the first one has gone
    for name, found in less.resources.items():
        if name.startswith(("mautrix-whatsapp", "mautrix-irc")):
            assert (found.inputs, found.stdin) == (many[name].inputs, many[name].stdin), name


def test_one_bridge_s_outputs_are_at_the_top_and_several_are_objects(plan: Recording, many: Recording) -> None:
    of_stack = {"doublepuppetAsToken", "backups", "backupCron"}
    of_bridge = plan.outputs.keys() - of_stack
    assert of_bridge >= {"asToken", "hsToken", "databaseUrl", "verdict", "bot", "nextSteps"}
    assert many.outputs.keys() == {"signal", "whatsapp", "irc"} | of_stack
    for key in ("signal", "whatsapp", "irc"):
        assert many.outputs[key].keys() == of_bridge
    assert value_of(plan.outputs["verdict"]) == "PASS"
    assert value_of(many.outputs["irc"]["bot"]) == "@ircbot:echo6.co"
    assert "`!wa login`" in value_of(many.outputs["whatsapp"]["nextSteps"])


def test_a_proof_that_cannot_stand_is_not_shown_as_a_pass_unless_it_was_made_anew() -> None:
    """Somebody changed a registration by hand: `verdict PASS`, and the bridge ended with exit code 16."""
    assert facts.deployed().bridges[0].registration is not None
    spoilt = facts.changed(facts.deployed(), {"registration": replace(OwnFile(facts.STACK, 991, 991), changed=True)})
    shown = {
        began: record(spoilt, facts.defaults(), began=began).outputs
        for began in ("2026-11-24T14:12:35.123457+00:00", "2026-11-24T14:12:35.123455+00:00")  # after and before AT
    }
    stale, fresh = shown.values()
    for name in ("verdict", "stopAndCheck", "ready"):
        told = value_of(stale[name])
        assert told.startswith("not proven now: /opt/matrix/synapse/registration.yaml: was changed since `up` wrote it")
        assert value_of(fresh[name]) == value_of(record(facts.deployed(), facts.defaults()).outputs[name])
    assert value_of(stale["isolation"]) == value_of(fresh["isolation"])
