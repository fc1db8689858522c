"""One part of the plan a file; wiring only. None reads the config. What other programs import is here."""

from mautrix_bridges.components.auth_check import auth_check
from mautrix_bridges.components.backup import DatabaseBackup
from mautrix_bridges.components.bridge import Bridge, Shared
from mautrix_bridges.components.container import BridgeContainer
from mautrix_bridges.components.data import bridge_data_begun
from mautrix_bridges.components.database import BridgeDatabase, PostgresAccess, postgres_provider
from mautrix_bridges.components.host import LocalHost, SshHost
from mautrix_bridges.components.install import BridgeInstall, DockerMachine, docker_provider
from mautrix_bridges.components.registration import SynapseRegistration, registration_file
from mautrix_bridges.components.secrets import BridgeSecrets
from mautrix_bridges.components.start import Start

__all__ = [
    "Bridge", "BridgeContainer", "BridgeDatabase", "BridgeInstall", "BridgeSecrets", "DatabaseBackup", "DockerMachine",
    "LocalHost", "PostgresAccess", "Shared", "SshHost", "Start", "SynapseRegistration", "auth_check",
    "bridge_data_begun", "docker_provider", "postgres_provider", "registration_file",
]  # fmt: skip
