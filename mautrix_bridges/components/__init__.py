"""One part of the plan a file; wiring only. None reads the config. What other programs import is here."""

from mautrix_bridges.components.backup import DatabaseBackup
from mautrix_bridges.components.bridge import Bridge, Shared, go_live, installed
from mautrix_bridges.components.container import BridgeContainer
from mautrix_bridges.components.database import BridgeDatabase, PostgresAccess, postgres_provider
from mautrix_bridges.components.host import LocalHost, SshHost
from mautrix_bridges.components.install import BridgeConfig, DockerMachine, docker_provider
from mautrix_bridges.components.registration import SynapseRegistration, registration
from mautrix_bridges.components.secrets import StackSecrets
from mautrix_bridges.components.start import Start

__all__ = [
    "Bridge", "BridgeConfig", "BridgeContainer", "BridgeDatabase", "DatabaseBackup", "DockerMachine", "LocalHost",
    "PostgresAccess", "Shared", "SshHost", "StackSecrets", "Start", "SynapseRegistration", "docker_provider", "go_live",
    "installed", "postgres_provider", "registration",
]  # fmt: skip
