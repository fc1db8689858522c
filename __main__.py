"""The plan, step by step: settings, the host as it is, the bridge's parts in their order, outputs."""

import pulumi

from components.auth_check import AuthCheck
from components.backup import DatabaseBackup, backup_arguments
from components.container import BridgeContainer, Start, container_version
from components.data import BridgeData, archive_check
from components.database import BridgeDatabase, database_access
from components.install import BridgeInstall
from components.leftovers import leftovers_of
from components.registration import SynapseRegistration
from components.sdk import prepare_process
from components.secrets import BridgeSecrets
from documents import operator
from documents.appservice import bridge_registration, doublepuppet_registration
from documents.bridge_config import bridge_config, bridge_database_url
from host_check import host_of, refuse_or_tell
from scripts.isolation import Isolation
from settings import read

prepare_process()
settings = read()
deployment = settings.deployment(f"{pulumi.get_project()}/{pulumi.get_stack()}")
name = deployment.bridge.name
host = host_of(settings, deployment)

# Before the plan: what is there, and whether the plan may touch it. Nothing below runs if not.
checked = refuse_or_tell(host, settings, deployment)

# What a destroy ends with: whatever of this stack is then still there.
isolated = Isolation(deployment.stack, deployment.postgres, deployment.place.database, settings.isolated)
backup_plan = backup_arguments(deployment, settings.synapse_database)
leftovers = leftovers_of(name, host, deployment, isolated, backup_plan)

# Step 1. The role's password, the tokens, the keys; and the texts that are made of them.
secrets = BridgeSecrets(name, host, settings.token_generation, checked.restore)
tokens, known = secrets.tokens, pulumi.Output.all(secrets.tokens, secrets.keys)
as_token = tokens.apply(lambda each: each.as_token)
config = known.apply(lambda both: bridge_config(deployment, *both))
registration = known.apply(lambda both: bridge_registration(deployment, *both))
doublepuppet = tokens.apply(lambda each: doublepuppet_registration(deployment, each))

# Steps 6 to 8. The bridge's directory (first: its mark says that the rest is this stack's), its config, its image.
first = pulumi.ResourceOptions(depends_on=[leftovers])
install = BridgeInstall(name, host, deployment, config, checked.machine, opts=first)

# Steps 2 and 3. Role and database, and PUBLIC shut out.
after_directory = pulumi.ResourceOptions(depends_on=[install.directory])
database = BridgeDatabase(name, host, deployment, checked.postgres, isolated, opts=after_directory)

# Steps 4 and 5. The nightly dumps with the bridge's among them, and a backup that is proven, before anything goes live.
after_database = pulumi.ResourceOptions(depends_on=[database])
backup = DatabaseBackup(name, host, backup_plan, opts=after_database)

# Step 3 again: the role's password, and the proof. From here on a bridge that runs has old tokens: nothing slow now.
ready_to_turn = pulumi.ResourceOptions(depends_on=[backup, install])
password = tokens.apply(lambda each: each.database_password)
access = database_access(name, host, isolated, password, ready_to_turn)

# Steps 9 to 14. Both registrations, homeserver.yaml, and one restart of Synapse.
synapse = SynapseRegistration(
    name, host, deployment, (registration, doublepuppet), checked.synapse_owner,
    opts=pulumi.ResourceOptions(depends_on=[access.resource]),
)  # fmt: skip

# Step 15. STOP-AND-CHECK: no container unless Synapse accepts the appservices beside MAS.
start = Start(checked.attempt, settings.ready_timeout, settings.token_generation, checked.restore)
version = container_version(install, deployment, start)
check = AuthCheck(name, host, deployment, tokens, start, version, opts=pulumi.ResourceOptions(depends_on=[synapse]))

# The data: its beginning, its archive before another image, and, once a destroy took the container, the last archive.
after_check = pulumi.ResourceOptions(depends_on=[check, database, install, synapse])
data = BridgeData(name, host, deployment, install.config_file, secrets.keys, start, opts=after_check)

# Steps 16 to 18. The container, and the bridge that answers.
after_data = pulumi.ResourceOptions(depends_on=[check, data])
container = BridgeContainer(name, host, deployment, install, as_token, start, opts=after_data)

# A destroy begins here, and stops with everything as it is if the archive could not be made.
archive_check(name, host, deployment, pulumi.ResourceOptions(depends_on=[container]))

# Steps 19 and 20. What is left for the operator.
pulumi.export("verdict", check.verdict)
pulumi.export("authCheck", check.table)
pulumi.export("ready", container.ready)
pulumi.export("bridgeStatus", checked.bridge_status(container.ready))
pulumi.export("previousVersion", data.begun.previous)
pulumi.export("bot", deployment.bot)
pulumi.export("isolation", access.result)
pulumi.export("backups", backup.dumps)
pulumi.export("backupCron", operator.backup_cron(deployment))
pulumi.export("nextSteps", operator.next_steps(deployment))
pulumi.export("servicesEntry", operator.services_entry(deployment))
pulumi.export("databaseUrl", tokens.apply(lambda each: bridge_database_url(deployment, each)))
pulumi.export("asToken", as_token)
pulumi.export("hsToken", tokens.apply(lambda each: each.hs_token))
pulumi.export("doublepuppetAsToken", tokens.apply(lambda each: each.doublepuppet_as_token))
pulumi.export("provisioningSecret", tokens.apply(lambda each: each.provisioning_secret))
