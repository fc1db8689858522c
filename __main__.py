"""The plan, step by step: settings, the host as it is, the bridge's parts in their order, outputs."""

import pulumi
from preflight import refuse_or_tell

from components.archive import FinalArchive
from components.auth_check import AuthCheck
from components.backup import DatabaseBackup
from components.bridge import BridgeContainer, BridgeFiles, BridgeImage
from components.database import BridgeDatabase
from components.directory import BridgeDirectory
from components.host import LocalHost
from components.registration import SynapseRegistration
from components.sdk import tame
from components.secrets import BridgeSecrets
from documents import operator
from documents.bridges import SIGNAL as bridge
from plan import Plan
from settings import BadSettings, read

tame()

try:
    settings = read()
except BadSettings as bad:
    raise pulumi.RunError(str(bad)) from None

# 0. What is there, and whether the plan may touch it. Nothing below runs if not.
host = LocalHost()
stack = f"{pulumi.get_project()}/{pulumi.get_stack()}"
plan = Plan(settings, bridge, stack)
found = refuse_or_tell(host, plan)

# 1. Secrets: the role's password, the tokens, the keys.
secrets = BridgeSecrets(
    bridge.name,
    host,
    generation=settings.token_generation,
    archive_dir=settings.archive_dir,
    restore=settings.restore,
)
texts = plan.texts(secrets)

# 6. The bridge's directory, first of all: by the name in it a later run knows that the rest is ours.
directory = BridgeDirectory(bridge.name, host, directory=settings.bridge_dir, stack=stack)
ours = pulumi.ResourceOptions(depends_on=[directory])

image = BridgeImage(bridge.name, host, image=settings.image, keep=settings.keep_image, opts=ours)

# 2, 3. Role and database with minimal rights, and the proof of it.
database = BridgeDatabase(
    bridge.name,
    host,
    address=found.postgres_address,
    port=settings.postgres_port,
    superuser=settings.postgres_superuser,
    superuser_password=found.superuser_password,
    container=settings.postgres_container,
    role=settings.bridge_role,
    database=settings.bridge_database,
    password=secrets.database_password,
    isolated=settings.isolated_databases,
    reapply=settings.reapply,
    opts=ours,
)

# 4, 5. The backup script with the new dumps, and a backup that is proven, before anything goes live.
backup = DatabaseBackup(
    bridge.name,
    host,
    script=settings.backup_script,
    block=plan.block,
    superuser=settings.postgres_superuser,
    bridge_database=settings.bridge_database,
    databases=[settings.synapse_database, settings.mas_database, settings.bridge_database],
    reapply=settings.reapply,
    opts=pulumi.ResourceOptions(depends_on=[database]),
)

# 7, 8. The bridge's config.
files = BridgeFiles(
    bridge.name,
    host,
    directory=settings.bridge_dir,
    container=settings.bridge_container,
    config=texts.config,
    reapply=settings.reapply,
    opts=ours,
)

# 9 to 14. Both registrations, homeserver.yaml, and one restart of Synapse.
registration = SynapseRegistration(
    bridge.name,
    host,
    directory=settings.synapse_dir,
    data_mount=settings.synapse_data_mount,
    files={settings.registration_file: texts.registration, settings.doublepuppet_file: texts.doublepuppet},
    owner=found.synapse_owner,
    entries=plan.entries,
    container=settings.synapse_container,
    synapse_url=settings.synapse_url,
    deadline=settings.synapse_deadline,
    reapply=settings.reapply,
    opts=pulumi.ResourceOptions(depends_on=[backup, files, image]),
)

# Rollback begins here: a destroy first takes the container away, then archives what it had, then removes the rest.
archive = FinalArchive(
    bridge.name,
    host,
    directory=settings.archive_dir,
    container=settings.postgres_container,
    role=database.role,
    database=database.database,
    files=[files.config, *settings.registration_files],
    restore=settings.restore,
    opts=pulumi.ResourceOptions(depends_on=[database, files, *registration.written]),
)

# 15. STOP-AND-CHECK: no container unless Synapse accepts the appservices beside MAS.
check = AuthCheck(
    bridge.name,
    host,
    synapse_url=settings.synapse_url,
    domain=settings.domain,
    bot_localpart=bridge.bot_localpart,
    appservice_id=bridge.appservice_id,
    as_token=secrets.as_token,
    doublepuppet_id=settings.doublepuppet_id,
    doublepuppet_token=secrets.doublepuppet_as_token,
    admin_user=settings.admin_user,
    mas_hosts=settings.mas_hosts,
    synapse_container=settings.synapse_container,
    mas_container=settings.mas_container,
    evidence_dir=settings.bridge_dir,
    fingerprint=plan.container_version(files.fingerprint, image.image_id, found.attempt),
    reapply=settings.reapply,
    opts=pulumi.ResourceOptions(depends_on=[registration]),
)

# 16 to 18. The container, and the bridge that answers.
container = BridgeContainer(
    bridge.name,
    host,
    bridge=bridge,
    stack=stack,
    image=image,
    container=settings.bridge_container,
    network=settings.network,
    port=settings.bridge_port,
    directory=settings.bridge_dir,
    files=files,
    attempt=found.attempt,
    synapse_url=settings.synapse_url,
    domain=settings.domain,
    as_token=secrets.as_token,
    ready_timeout=settings.ready_timeout,
    new_keys=archive.new_keys,
    reapply=settings.reapply,
    opts=pulumi.ResourceOptions(depends_on=[check, archive]),
)

# 19, 20. What is left for the operator.
pulumi.export("authCheck", check.table)
pulumi.export("verdict", check.verdict)
pulumi.export("ready", container.ready)
pulumi.export("bridgeStatus", found.bridge_status)
pulumi.export("bot", bridge.bot_user_id(settings.domain))
pulumi.export("isolation", database.proof)
pulumi.export("backups", backup.dumps)
pulumi.export("nextSteps", operator.next_steps(bridge, settings.domain, settings.admin_user))
pulumi.export("servicesEntry", plan.services_entry())
pulumi.export("databaseUrl", pulumi.Output.secret(texts.database_url))
pulumi.export("asToken", secrets.as_token)
pulumi.export("hsToken", secrets.hs_token)
pulumi.export("doublepuppetAsToken", secrets.doublepuppet_as_token)
pulumi.export("provisioningSecret", secrets.provisioning_secret)
