"""One ComponentResource a file; wiring only. No component reads the config. What other programs import is here."""

from mautrix_bridges.components.auth_check import AuthCheck
from mautrix_bridges.components.backup import DatabaseBackup
from mautrix_bridges.components.bridge import BridgeParts, Shared
from mautrix_bridges.components.container import BridgeContainer, Start
from mautrix_bridges.components.data import BridgeData
from mautrix_bridges.components.database import BridgeDatabase, PostgresAccess, postgres_provider
from mautrix_bridges.components.host import LocalHost, SshHost
from mautrix_bridges.components.install import BridgeInstall, DockerMachine, docker_provider
from mautrix_bridges.components.registration import SynapseRegistration, registration_file
from mautrix_bridges.components.secrets import BridgeSecrets

__all__ = [
    "AuthCheck", "BridgeContainer", "BridgeData", "BridgeDatabase", "BridgeInstall", "BridgeParts", "BridgeSecrets",
    "DatabaseBackup", "DockerMachine", "LocalHost", "PostgresAccess", "Shared", "SshHost", "Start",
    "SynapseRegistration", "docker_provider", "postgres_provider", "registration_file",
]  # fmt: skip
