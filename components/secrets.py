"""All secrets: made once, and kept, encrypted, in the stack's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import pulumi

from components.host import MatrixHost
from documents.credentials import DoublePuppet, Keys, PermanentSeed, Seed, Tokens
from documents.places import NO_ARCHIVE, BridgeDeployment
from host_programs.bridge.pickle_keys import KeyPlace, KeyPlaces, find_key, make_permanent_seed
from host_programs.secrets import NoArguments, make_seed
from host_programs.wire import to_json
from verdicts.preflight.keys import LivingKey, check_key, check_missing_key, describe_taken_key

T = TypeVar("T")


@dataclass
class StackSecretsArgs:
    """`bridges` by name. Another `generation` rotates what may rotate."""

    host: MatrixHost
    bridges: Mapping[str, BridgeDeployment]
    generation: int


class StackSecrets(pulumi.ComponentResource):
    """`mautrix:stack:Secrets`: two random seeds, of which every secret is made (documents/credentials.py).

    Makes: the seed of the tokens, which the generation rotates; the seed of the keys, which never rotates; for a bridge
    whose database begins with an archive or a nightly dump, the pickle key that this needs. What is made anew beside a
    database that lives takes that database's key from the host.
    Outputs, secret: `doublepuppet`; `tokens` and `keys` of each bridge, by its name. `judged`: True once each key is
    that of its database; nothing that lives may change before.
    Errors: another pickle key than a database's, or none on the host either; at preview, too.
    """

    doublepuppet: pulumi.Output[DoublePuppet]
    tokens: dict[str, pulumi.Output[Tokens]]
    keys: dict[str, pulumi.Output[Keys]]
    judged: pulumi.Output[bool]

    def __init__(self, name: str, args: StackSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:Secrets", name, None, opts)
        host, child = args.host, pulumi.ResourceOptions(parent=self)
        found = {bridge: host.observed.bridges[deployment.key] for bridge, deployment in args.bridges.items()}
        places = {
            bridge: KeyPlace(
                bridge,
                it.key.database,
                it.key.fingerprint,
                it.key.directory,
                it.restore,
                it.key.accounts if it.key.is_of_state else (),
            )
            for bridge, it in found.items()
        }
        rotating = host.secret_once(
            f"{name}-rotating-seed", NoArguments(), make_seed, triggers=[args.generation], opts=child
        ).secret
        permanent = host.secret_once(
            f"{name}-permanent-seed", KeyPlaces(tuple(places.values())), make_permanent_seed, triggers=[], opts=child
        ).secret
        self.doublepuppet = rotating.apply(lambda seed: seed.derive_secrets(DoublePuppet, ""))
        self.tokens = {bridge: _derive_tokens(rotating, bridge) for bridge in places}
        of_state = {bridge: _derive_keys(permanent, bridge) for bridge in places}
        self.keys = dict(of_state)
        for bridge, place in places.items():
            if place.source != NO_ARCHIVE:
                restored = host.secret_once(
                    f"{bridge}-restored-key",
                    _with_state_key(place, of_state[bridge]),
                    find_key,
                    triggers=[place.source],
                    opts=child,
                ).secret
                self.keys[bridge] = pulumi.Output.all(of_state[bridge], restored).apply(
                    lambda both: replace(both[0], pickle_key=both[1].pickle_key)
                )
        judged = [
            # What finds the key is unknown at preview. If no file on the host has it, it can only be the state's.
            _judge(of_state[bridge] if it.key.is_of_state else self.keys[bridge], it.key)
            for bridge, it in found.items()
        ]
        self.judged = pulumi.Output.unsecret(pulumi.Output.all(*judged)).apply(all)
        self.register_outputs(
            {
                "doublepuppet": self.doublepuppet.apply(to_json),
                "tokens": pulumi.Output.all(**self.tokens).apply(to_json),
                "keys": pulumi.Output.all(**self.keys).apply(to_json),
                "judged": self.judged,
            }
        )


def _derive_tokens(seed: pulumi.Output[Seed], bridge: str) -> pulumi.Output[Tokens]:
    return seed.apply(lambda value: value.derive_secrets(Tokens, bridge))


def _derive_keys(seed: pulumi.Output[PermanentSeed], bridge: str) -> pulumi.Output[Keys]:
    return seed.apply(lambda value: value.derive_keys(bridge))


def _with_state_key(place: KeyPlace, keys: pulumi.Output[Keys]) -> pulumi.Output[KeyPlace]:
    return keys.apply(lambda value: replace(place, state_key=value.pickle_key))


def _judge(keys: pulumi.Output[Keys], living: LivingKey) -> pulumi.Output[bool]:
    """Stops the program, also at preview, if these keys are not those of the database that is there. Keys that are not
    known at preview are not in the state."""

    def judge(value: Keys | pulumi.output.Unknown) -> bool:
        if isinstance(value, Keys):
            problem, warning = check_key(living, value.pickle_key), ""
        else:
            problem, warning = check_missing_key(living), describe_taken_key(living)
        if problem:
            raise pulumi.RunError(problem)
        if warning:
            pulumi.log.warn(warning)
        return True

    return keys.apply(judge, run_with_unknowns=True)
