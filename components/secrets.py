"""All secrets of one bridge."""

from __future__ import annotations

import json

import pulumi

from components.archive import NOTHING
from components.host import Host
from components.secret import MADE_ONCE, secret
from documents.appservice import SENDER_LENGTH, TOKEN_LENGTH


def _key(stdout: str) -> str:
    """The key itself, or the result of the script that took it out of an archive."""
    return str(json.loads(stdout)["pickle_key"]) if stdout.startswith("{") else stdout


class BridgeSecrets(pulumi.ComponentResource):
    """The password, the tokens of both registrations and the keys; each an output of letters and digits.

    A new `generation` makes new tokens and a new password. The pickle key, which the keys in the bridge's database are
    encrypted with, and the sender's name never change; a database that comes from the archive `restore` brings its
    pickle key along.
    """

    database_password: pulumi.Output[str]
    as_token: pulumi.Output[str]
    hs_token: pulumi.Output[str]
    doublepuppet_as_token: pulumi.Output[str]
    doublepuppet_hs_token: pulumi.Output[str]
    provisioning_secret: pulumi.Output[str]
    public_media_key: pulumi.Output[str]
    pickle_key: pulumi.Output[str]
    sender_localpart: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        generation: int,
        archive_dir: str,
        restore: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Secrets", name, None, opts)

        def make(what: str, length: int, turns: bool = True) -> pulumi.Output[str]:
            return secret(f"{name}-{what}", length, generation if turns else None, self)

        self.database_password = make("database-password", 64)
        self.as_token = make("as-token", TOKEN_LENGTH)
        self.hs_token = make("hs-token", TOKEN_LENGTH)
        self.doublepuppet_as_token = make("doublepuppet-as-token", TOKEN_LENGTH)
        self.doublepuppet_hs_token = make("doublepuppet-hs-token", TOKEN_LENGTH)
        self.provisioning_secret = make("provisioning-secret", 64)
        self.public_media_key = make("public-media-key", 64)
        if restore == NOTHING:
            self.pickle_key = make("pickle-key", 64, turns=False)
        else:
            archived = host.script(
                f"{name}-pickle-key",
                "scripts.final_archive",
                {"archive_dir": archive_dir, "archive": restore, "bridge": name},
                create="pickle_key",
                opts=pulumi.ResourceOptions(
                    parent=self,
                    ignore_changes=[*MADE_ONCE],
                    additional_secret_outputs=["stdout", "stderr"],
                ),
            )
            self.pickle_key = pulumi.Output.secret(archived.stdout)
        # What the state keeps is what the first `up` put there, whatever the setting says by now.
        self.pickle_key = self.pickle_key.apply(_key)
        self.sender_localpart = pulumi.Output.unsecret(make("sender-localpart", SENDER_LENGTH, turns=False))
        self.register_outputs({})
