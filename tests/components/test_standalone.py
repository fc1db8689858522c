"""A part of the plan that touches what is another's: a registration that makes a container, a container that archives
or drops a database that it did not make, a bridge with other tokens than those that it was given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pulumi
import pytest

from mautrix_bridges.components.bridge import Given
from mautrix_bridges.scripts.wire import Failed
from mautrix_bridges.settings import BadSettings
from mautrix_bridges.standalone import register, run
from tests import facts
from tests.components.recorder import Recording, record

GIVEN = {
    "as_token": "given-as", "hs_token": "given-hs", "database_password": "given-password", "pickle_key": "given-pickle",
}  # fmt: skip
OURS = {
    "command:local:Command", "pulumi:providers:docker", "docker:index/container:Container", "mautrix:bridges:Bridge",
}  # fmt: skip


def value(output: Any) -> Any:
    return asyncio.get_event_loop().run_until_complete(output.future())


def recorded(main: Callable[[], Awaitable[None]], **more: Any) -> Recording:
    return record(facts.healthy(), facts.defaults(), main=main, **more)


def alone(failing: dict[str, Failed] | None = None) -> tuple[Recording, dict[str, Any]]:
    """The container's part, and its outputs with `failed` among them."""
    told: dict[str, Any] = {}

    async def main() -> None:
        given = Given(**{key: pulumi.Output.secret(text) for key, text in GIVEN.items()})
        running = run(facts.settings(), given, pulumi.Output.secret("given-puppet"), "c")
        told.update(running.outputs, failed=running.failed)

    return recorded(main, failing=failing), told


def test_the_registration_is_all_that_its_part_makes() -> None:
    told: dict[str, Any] = {}

    async def main() -> None:
        registered = register(facts.settings(), "r")
        told.update(signal=registered.registrations["signal"], puppet=registered.doublepuppet_as_token)

    made = recorded(main)
    assert {*made.resources} - {"mautrix-signal-contabo"} == {  # the stack
        "r-shared-directory", "r-shared-leftovers", "r-shared-tokens", "r-shared-keys", "r-mautrix-signal-registration",
        "r-shared-doublepuppet-registration", "r-shared-registrations", "r-shared-synapse-restart",
    }  # fmt: skip
    assert made["r-shared-leftovers"].stdin["arguments"]["postgres"] is None
    assert {"r-mautrix-signal-registration", "r-shared-leftovers"} <= made.after("r-shared-synapse-restart")
    assert value(told["signal"]) == {
        "asToken": facts.TOKENS.as_token, "hsToken": facts.TOKENS.hs_token,
    }  # fmt: skip
    assert value(told["puppet"]) == facts.DOUBLEPUPPET.as_token
    assert all(asyncio.get_event_loop().run_until_complete(output.is_secret()) for output in told.values())


def test_the_container_s_part_leaves_the_database_and_synapse_alone() -> None:
    made, told = alone()
    assert {each.type for each in made.resources.values()} == OURS
    assert not [*made.named("archive|may-go|registration|restart|isolation|access|backup|role|database")]
    for name in ("c-shared-leftovers", "c-mautrix-signal-leftovers"):
        assert made[name].stdin["arguments"]["postgres"] is None
    assert made["c-shared-readiness"].stdin["arguments"]["signal"]["new_keys"] is False
    assert made["c-shared-gate"].stdin["arguments"]["signal"]["data"] is None
    assert "c-shared-gate" in made.after("c-mautrix-signal-container")
    assert (value(told["failed"]), value(told["verdict"])) == ("", "PASS")


def test_the_bridge_has_the_secrets_that_were_given() -> None:
    made, _ = alone()
    check = made["c-shared-gate"].stdin["arguments"]["signal"]["check"]
    assert (check["as_token"], check["doublepuppet_as_token"]) == ("given-as", "given-puppet")
    config = made["c-shared-install"].stdin["arguments"]["signal"]["config"]["content"]
    assert all(text in config for text in GIVEN.values()) and "given-puppet" in config
    assert facts.TOKENS.provisioning_secret in config and facts.TOKENS.as_token not in config
    shown = json.dumps([[*each.inputs.items()] for each in made.resources.values() if "stdin" in each.secret_inputs])
    assert "given-" not in shown


def test_one_that_synapse_does_not_accept_is_not_started() -> None:
    made, told = alone({"c-shared-gate signal": Failed("stop-and-check: FAIL")})
    assert not [*made.named("container$")] and made["c-shared-readiness"].stdin["arguments"] == {}
    assert (value(told["failed"]), value(told["verdict"])) == ("mautrix-signal: stop-and-check: FAIL", "FAIL")


def test_what_is_wrong_with_the_one_bridge_is_named_as_its_owner_wrote_it() -> None:
    from mautrix_bridges.provider import settings_of_one

    args = {"domain": "echo6.co", "admin_user": "@matt:echo6.co"}
    assert settings_of_one(args, "c").deployment("p/s").bridges[0].setting == "bridge"
    for bridge, name, line in (
        ({"kind": "signal", "restore": "latest"}, "c", "bridge.restore: is not to be set: the database is somebody"),
        ({"kind": "signal", "goBackTo": "/a/b.tar.gz"}, "c", "bridge.goBackTo: is not to be set: the database is"),
        ({"kind": "signal", "port": 0.5}, "c", "bridge.port: should be a whole number"),
        ({"kind": "x"}, "c", "bridge: should be "),
        ({"kind": "signal"}, "a b", "sharedDir: '/opt/matrix/mautrix-a b' should be"),
    ):
        with pytest.raises(BadSettings) as bad:
            settings_of_one({**args, "bridge": bridge}, name)
        assert str(bad.value).startswith(line)
