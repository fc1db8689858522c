"""Pins, with the real Pulumi CLI: a second `up` or a refresh that shows a difference, a preview that touches something,
a secret that comes out, an error that does not say what the provider said, a `destroy` that leaves something.

One program with all three plugins, for each run of the CLI costs seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab.bench import THREE_PROVIDERS
from lab.plugins import NAMES

PROGRAM = """
import json
import pulumi_command as command
import pulumi_docker as docker
import pulumi_postgresql as pg

settings = json.loads(open("settings.json").read())


class Part(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("test:parts:Part", name)


part = Part("part")  # a child's URN names its parents' types too
child = pulumi.ResourceOptions(parent=part)

# --- command
first = command.local.Command(
    "first", create="cat; echo visible-line >&2", stdin=pulumi.Output.secret("s3cr3t-in"), logging="stderr",
    delete=f"echo deleted >> {settings['folder']}/deleted", triggers=[settings["trigger"]],
    opts=pulumi.ResourceOptions(parent=part, additional_secret_outputs=["stdout"]),
)
length = first.stdout.apply(len).apply(str)
second = command.local.Command(
    "second", create="echo b-$LEN", update=settings["update"], environment={"LEN": length}, opts=child
)
if settings["refused"]:
    command.local.Command("refused", create="x", archive_paths=["y"])
pulumi.export("first", first.stdout)
pulumi.export("second", second.stdout)

# --- docker
image = docker.RemoteImage("image", name=settings["image"], keep_locally=True, opts=child)
box = docker.Container(
    "box", name=settings["container"], image=image.image_id, command=[settings["shell"], "-c", "sleep 600"], user="0:0",
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=settings["network"], aliases=["b", "a"])],
    labels=[docker.ContainerLabelArgs(label="v", value=settings["label"])],
    volumes=[docker.ContainerVolumeArgs(host_path=settings["folder"], container_path="/data")],
    healthcheck=docker.ContainerHealthcheckArgs(tests=["CMD", "/bin/true"], interval="1s"),
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]), security_opts=["no-new-privileges:true"],
    log_driver="json-file", log_opts={"max-size": "10m"}, read_only=True, restart=settings["restart"],
    opts=child,
)
pulumi.export("entrypoints", box.entrypoints)
pulumi.export("image", image.image_id)

# --- postgresql
server = pg.Provider("server", sslmode="disable", connect_timeout=10, superuser=False, **settings["server"])
opts = pulumi.ResourceOptions(parent=part, provider=server)
role = pg.Role("role", name="cli_role", login=True, opts=opts)
database = pg.Database(
    "database", name="cli_db", owner=role.name, template="template0", encoding="UTF8", lc_collate="C", lc_ctype="C",
    opts=opts,
)
pulumi.export("owner", database.owner)
"""


def test_the_life_of_a_stack(workspace: Any, sandbox: Any, postgres: Any, tmp_path: Path) -> None:
    settings = {
        "folder": str(tmp_path),
        "trigger": 1,
        "update": None,
        "refused": False,
        "network": sandbox.network,
        "image": sandbox.image,
        "container": sandbox.name("cli"),
        "shell": "/bin/sh",
        "label": "1",
        "restart": "unless-stopped",
        "server": postgres.settings,
    }

    def set_to(**changes: Any) -> None:
        settings.update(changes)
        (workspace.folder / "settings.json").write_text(json.dumps(settings))

    workspace.program(PROGRAM)
    shown = []

    # What is not implemented stops it at preview, and nothing has been touched.
    set_to(refused=True)
    refused = workspace.pulumi("preview", fails=True)
    assert "archivePaths" in refused and "is not implemented by the lab's emulated plugin" in refused
    assert not sandbox.exists("cli") and not list(tmp_path.glob("deleted"))
    assert postgres.query("SELECT 1 FROM pg_roles WHERE rolname = 'cli_role'") == []

    # Made, after a preview that does not know what is decided later.
    set_to(refused=False)
    shown.append(workspace.pulumi("up", "--yes"))
    assert "9 to create" in shown[-1] and re.search(r"second *: \[unknown\]", shown[-1])
    assert "visible-line" in shown[-1]
    container = sandbox.inspect("cli")
    assert workspace.outputs() == {
        "first": "s3cr3t-in",
        "second": "b-9",
        "entrypoints": [],
        "image": sandbox.api.inspect_image(sandbox.image)["Id"],
        "owner": "cli_role",
    }
    assert list(container["NetworkSettings"]["Networks"]) == [sandbox.network]
    query = (
        "SELECT pg_get_userbyid(datdba), rolcanlogin, rolsuper FROM pg_database JOIN pg_roles ON rolname = 'cli_role'"
    )
    assert postgres.query(f"{query} WHERE datname = 'cli_db'") == [("cli_role", True, False)]

    # No difference, neither to the inputs nor to what is there.
    workspace.pulumi("preview", "--refresh", "--expect-no-changes")

    # Changes, and drift: a trigger replaces, a label replaces, a right and an owner are put back in place.
    postgres.query("ALTER ROLE cli_role SUPERUSER")
    postgres.query("ALTER DATABASE cli_db OWNER TO boss")
    set_to(trigger=2, update="echo u-$PULUMI_COMMAND_STDOUT", label="2")
    shown.append(workspace.up("--refresh"))
    assert "3 updated" in shown[-1] and "2 replaced" in shown[-1]
    assert workspace.outputs()["second"] == "u-b-9"
    assert (tmp_path / "deleted").read_text() == "deleted\n"
    replaced = sandbox.inspect("cli")
    assert replaced["Id"] != container["Id"] and replaced["Config"]["Labels"]["v"] == "2"
    assert postgres.query(f"{query} WHERE datname = 'cli_db'") == [("cli_role", True, False)]
    set_to(restart="no")
    workspace.up()
    updated = sandbox.inspect("cli")
    assert (updated["Id"], updated["HostConfig"]["RestartPolicy"]["Name"]) == (replaced["Id"], "no")

    # Failures say what the provider said. The container was taken away by somebody else; its successor does not start.
    sandbox.api.remove_container(sandbox.name("cli"), force=True)
    set_to(update='echo "oh"; false', shell="/bin/none")
    shown.append(workspace.up("--refresh", "--continue-on-error", fails=True))
    assert 'error: exit status 1: running "echo \\"oh\\"; false":' in shown[-1] and "Unexpected" not in shown[-1]
    assert "* Unable to start container: Error response from daemon" in shown[-1]
    assert sandbox.inspect("cli")["State"]["Status"] == "created"
    state = workspace.state()
    assert '"initErrors"' in state

    # No secret has come out.
    secrets = ["s3cr3t-in", postgres.password]
    assert [secret for secret in secrets if secret in state] == []
    assert [secret for secret in secrets if any(secret in text for text in shown)] == []

    shown.append(workspace.pulumi("destroy", "--yes", "--skip-preview"))
    assert (tmp_path / "deleted").read_text() == "deleted\ndeleted\n"
    assert not sandbox.exists("cli") and sandbox.api.inspect_image(sandbox.image)
    assert postgres.query("SELECT 1 FROM pg_database WHERE datname = 'cli_db'") == []
    assert postgres.query("SELECT 1 FROM pg_roles WHERE rolname = 'cli_role'") == []


def test_the_benchmark_s_small_program_starts_all_three_plugins(workspace: Any) -> None:
    """Else the floor that it measures is too low."""
    workspace.program(THREE_PROVIDERS)
    assert "4 created" in workspace.up()
    assert set(re.findall(r"pulumi:providers:\w+", workspace.state())) == {f"pulumi:providers:{name}" for name in NAMES}


def test_a_role_and_a_database_that_exist_are_taken_over(workspace: Any, postgres: Any) -> None:
    """As after a run that was killed: the state does not hold what the server has."""
    (workspace.folder / "settings.json").write_text(json.dumps(postgres.settings))
    workspace.program(
        """
        import json
        import pulumi_postgresql as pg

        server = pg.Provider("server", superuser=False, **json.loads(open("settings.json").read()))

        def opts(name):
            return pulumi.ResourceOptions(provider=server, import_=name)

        role = pg.Role("role", name="taken", login=True, superuser=False, create_role=False, opts=opts("taken"))
        pg.Database(
            "database", name="taken", owner=role.name, template="template0", encoding="UTF8", lc_collate="C",
            lc_ctype="C", opts=opts("taken"),
        )
        """
    )
    postgres.query("CREATE ROLE taken LOGIN PASSWORD 'x'")
    postgres.query("CREATE DATABASE taken OWNER taken TEMPLATE template0")
    assert "2 imported" in workspace.up()
    workspace.pulumi("preview", "--refresh", "--expect-no-changes")
    workspace.pulumi("destroy", "--yes", "--skip-preview")
    assert postgres.query("SELECT 1 FROM pg_roles WHERE rolname = 'taken'") == []
