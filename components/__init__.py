"""One part of the plan a file; wiring only. None reads the config. What other programs import is here."""

from components.backup import DatabaseBackup
from components.bridge import Bridge, Shared, go_live, installed
from components.container import BridgeContainer
from components.database import BridgeDatabase, PostgresAccess, postgres_provider
from components.host import LocalHost, SshHost
from components.install import BridgeConfig, DockerMachine, docker_provider
from components.registration import SynapseRegistration, registration
from components.secrets import StackSecrets
from components.start import Start

__all__ = [
    "Bridge", "BridgeConfig", "BridgeContainer", "BridgeDatabase", "DatabaseBackup", "DockerMachine", "LocalHost",
    "PostgresAccess", "Shared", "SshHost", "StackSecrets", "Start", "SynapseRegistration", "docker_provider", "go_live",
    "installed", "postgres_provider", "registration",
]  # fmt: skip
