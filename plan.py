"""What the settings mean for each part: names that recur, and the texts that are made of secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi

from components.secrets import BridgeSecrets
from documents import appservice, operator
from documents.backup_script import Block, Dump
from documents.bridge_config import BridgeConfig, bridge_config, database_url
from documents.bridges import Bridge
from documents.fingerprint import fingerprint
from documents.homeserver import Entries
from settings import Settings

# Plan, section 5b; not needed while encryption.appservice is false, see README.
EXPERIMENTAL_FEATURES = ("msc3202_transaction_extensions", "msc2409_to_device_messages_enabled")


@dataclass(frozen=True)
class Texts:
    """The files that hold secrets; all are secret outputs."""

    config: pulumi.Output[str]
    registration: pulumi.Output[str]
    doublepuppet: pulumi.Output[str]
    database_url: pulumi.Output[str]


class Plan:
    """The plan for one stack: `stack` is "project/name", which also marks our lines in shared files."""

    def __init__(self, settings: Settings, bridge: Bridge, stack: str) -> None:
        self.settings, self.bridge, self.stack = settings, bridge, stack
        self.entries = Entries(
            owner=stack,
            registrations=tuple(
                settings.seen_by_synapse(name) for name in (settings.registration_file, settings.doublepuppet_file)
            ),
            experimental_features=EXPERIMENTAL_FEATURES if settings.experimental_features else (),
        )
        self.block = Block(
            owner=stack,
            container=settings.postgres_container,
            dumps=(
                Dump(settings.bridge_database, settings.bridge_role),
                Dump(settings.mas_database, settings.mas_role),
            ),
        )

    @property
    def bridge_address(self) -> str:
        """The bridge's URL as Synapse reaches it."""
        return f"http://{self.settings.bridge_container}:{self.settings.bridge_port}"

    def texts(self, secrets: BridgeSecrets) -> Texts:
        """The bridge's config, both registrations and the database's URL."""
        known = pulumi.Output.all(
            password=secrets.database_password,
            as_token=secrets.as_token,
            hs_token=secrets.hs_token,
            puppet_as_token=secrets.doublepuppet_as_token,
            puppet_hs_token=secrets.doublepuppet_hs_token,
            provisioning=secrets.provisioning_secret,
            media=secrets.public_media_key,
            pickle=secrets.pickle_key,
            sender=secrets.sender_localpart,
        )
        return Texts(
            config=known.apply(self._config),
            registration=known.apply(self._registration),
            doublepuppet=known.apply(self._doublepuppet),
            database_url=secrets.database_password.apply(self._database_url),
        )

    def _database_url(self, password: str) -> str:
        settings = self.settings
        return database_url(
            settings.bridge_role,
            password,
            settings.postgres_container,
            settings.postgres_port,
            settings.bridge_database,
        )

    def _config(self, known: dict[str, Any]) -> str:
        return bridge_config(
            BridgeConfig(
                bridge=self.bridge,
                stack=self.stack,
                domain=self.settings.domain,
                admin_user=self.settings.admin_user,
                homeserver_address=self.settings.homeserver_address,
                bridge_address=self.bridge_address,
                port=self.settings.bridge_port,
                database_url=self._database_url(known["password"]),
                as_token=known["as_token"],
                hs_token=known["hs_token"],
                doublepuppet_as_token=known["puppet_as_token"],
                pickle_key=known["pickle"],
                provisioning_secret=known["provisioning"],
                public_media_key=known["media"],
            )
        )

    def _registration(self, known: dict[str, Any]) -> str:
        return appservice.bridge_registration(
            appservice.BridgeRegistration(
                bridge=self.bridge,
                stack=self.stack,
                domain=self.settings.domain,
                bridge_address=self.bridge_address,
                sender_localpart=known["sender"],
                as_token=known["as_token"],
                hs_token=known["hs_token"],
            )
        )

    def _doublepuppet(self, known: dict[str, Any]) -> str:
        return appservice.doublepuppet_registration(
            appservice.DoublePuppetRegistration(
                stack=self.stack,
                domain=self.settings.domain,
                as_token=known["puppet_as_token"],
                hs_token=known["puppet_hs_token"],
                appservice_id=self.settings.doublepuppet_id,
                sender_localpart=f"_{self.settings.doublepuppet_id}",
            )
        )

    def container_version(
        self, config: pulumi.Output[str], image_id: pulumi.Output[str], attempt: int
    ) -> pulumi.Output[str]:
        """Changes with everything that replaces the container, so that the check comes before the new one."""
        settings = self.settings
        still = (
            settings.bridge_container,
            settings.network,
            settings.bridge_dir,
            str(settings.bridge_port),
            str(attempt),
        )
        return pulumi.Output.all(config, image_id).apply(lambda known: fingerprint(*known, *still))

    def services_entry(self) -> str:
        """Markdown for the operator's services.md."""
        settings = self.settings
        return operator.services_entry(
            self.bridge,
            image=settings.image,
            container=settings.bridge_container,
            network=settings.network,
            port=settings.bridge_port,
            directory=settings.bridge_dir,
            database=settings.bridge_database,
            postgres=settings.postgres_container,
            domain=settings.domain,
            backup_script=settings.backup_script,
        )
