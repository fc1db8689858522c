"""The plan, step by step: mautrix bridges beside a Synapse, MAS and Postgres stack that runs on one host."""

from typing import Any

import pulumi

from components.backup import DatabaseBackup, DatabaseBackupArgs
from components.cleanup import stack_parts
from components.container import BridgeContainer, BridgeContainerArgs, bridge_image, config_text, container_version
from components.database import BridgeDatabase, BridgeDatabaseArgs
from components.guard import guard_program
from components.host import MatrixHost, MatrixHostArgs
from components.isolation import DatabaseIsolation, DatabaseIsolationArgs
from components.outputs import bridge_outputs, export
from components.preflight import machine_of, observe_host
from components.registration import SynapseRegistration, SynapseRegistrationArgs
from components.secrets import StackSecrets, StackSecretsArgs
from components.stop_and_check import StopAndCheckArgs, stop_and_check
from settings.reader import read

guard_program()

# Before the plan: the settings, one look at the host, and whether the plan may touch it. Nothing is registered if not.
settings = read()
deployment = settings.deployment(f"{pulumi.get_project()}/{pulumi.get_stack()}")
machine = machine_of(settings, deployment)
observed = observe_host(machine, settings, deployment)
parts = stack_parts(deployment, settings.isolated, observed.scheduler)
host = MatrixHost("host", MatrixHostArgs(machine, deployment, observed, parts, settings.reapply))
bridges = {bridge.bridge.name: bridge for bridge in deployment.bridges}

# Step 1. Passwords, tokens and keys.
secrets = StackSecrets("secrets", StackSecretsArgs(host, bridges, settings.token_generation))
doublepuppet, tokens, keys = secrets.doublepuppet, secrets.tokens, secrets.keys

# Steps 2 and 6. Each bridge's directory, role and database; its image, beside all that follows. What lives changes only
# once each database has the key that it needs.
databases = {
    name: BridgeDatabase(name, BridgeDatabaseArgs(host, bridge, tokens[name], settings.isolated, after=secrets.judged))
    for name, bridge in bridges.items()
}
images = {name: bridge_image(name, host, bridge, databases[name].claimed) for name, bridge in bridges.items()}
database_names = pulumi.Output.all(*(database.database for database in databases.values()))

# Steps 4 and 5. The nightly dumps with the bridges' among them, one run, every dump proven.
backup = DatabaseBackup("backup", DatabaseBackupArgs(host, database_names, parts.backup))

# Step 3. The roles reach their own databases and no other, proven. From here on a bridge that runs may have an old
# password: all that is slow, or that may fail, comes before.
slow: list[pulumi.Output[Any]] = [backup.proven] if observed.deployed else []
slow += [image.image_id for image in images.values()] if observed.rotates else []
isolation = DatabaseIsolation(
    "isolation", DatabaseIsolationArgs(host, deployment, database_names, tokens, settings.isolated, after=slow)
)

# Steps 9 to 14. The registrations, homeserver.yaml, and one restart of Synapse; not before backup and proof.
synapse = SynapseRegistration(
    "synapse",
    SynapseRegistrationArgs(host, deployment, tokens, keys, doublepuppet, after=[backup.proven, isolation.proven]),
)
generation, timeout = settings.token_generation, settings.ready_timeout
puppet_token = synapse.doublepuppet_as_token

outputs = {}
for name, bridge in bridges.items():
    # Steps 7 and 8. The bridge's config, with a password that is proven.
    config = config_text(bridge, databases[name].url, isolation.proven, tokens[name], keys[name], doublepuppet)
    registered, version = synapse.registered[bridge.key], container_version(host, bridge, config, generation)

    # Step 15. STOP-AND-CHECK: no container unless Synapse accepts its appservice beside MAS.
    check = stop_and_check(name, StopAndCheckArgs(host, bridge, registered, puppet_token, version, generation))

    # Steps 16 to 18. The container, and the proof that the bridge works.
    container = BridgeContainer(
        name,
        BridgeContainerArgs(
            host, bridge, images[name].image_id, config, keys[name], registered, puppet_token, generation, timeout
        ),
        # The verdict is no input of the container: it is unknown at preview whenever the check will run, and would show
        # a replacement that `up` does not make.
        opts=pulumi.ResourceOptions(depends_on=[check.resource]),
    )
    outputs[bridge.key] = bridge_outputs(observed, bridge, check, container, databases[name], isolation, tokens[name])

# Steps 19 and 20. What is left for the operator; on the host, what `status` needs to know.
host.record(deployment, after=synapse.running)
export(observed, deployment, outputs, backup, puppet_token)
