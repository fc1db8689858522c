"""The plan, and the part of it that stands by itself, as Pulumi components for programs in any language (provider/).

Annotations are read at run time to make the schema of them, so none of them is a string here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi.provider import ConstructResult
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

from mautrix_bridges import components
from mautrix_bridges.documents.places import Database
from mautrix_bridges.plan import deploy
from mautrix_bridges.scripts.wire import plain
from mautrix_bridges.settings import BadSettings, Settings, given, key_of

NAME = "mautrix-bridges"


class BridgesArgs(TypedDict):
    """A stack's settings, as Pulumi.yaml describes them. None of it may be an output: the host is looked at before
    anything is planned."""

    domain: str
    """The homeserver's server_name: the part after the colon of a Matrix id."""
    admin_user: str
    """The user who administers the bridges and whose double puppet is proven; of this domain."""
    bridges: NotRequired[list[dict[str, Any]]]
    """The bridges, each a mapping like {kind: signal}; not given: Signal's alone."""
    settings: NotRequired[dict[str, Any]]
    """All other settings, by their keys."""


class Bridges(pulumi.ComponentResource):
    """The whole plan: bridges beside a running Synapse, checked, started and seen to work; archived when they go."""

    bridges: pulumi.Output[dict[str, Any]]
    """Each bridge's outputs, by its kind or name: verdict, ready, status, bot, nextSteps, asToken and others."""
    backups: pulumi.Output[list[dict[str, Any]]]
    """The dumps that were made and proven before anything went live."""
    backup_cron: pulumi.Output[str]
    """A line for cron where no script of the operator's makes the dumps."""
    doublepuppet_as_token: pulumi.Output[str]
    """The token for double puppeting, a secret."""

    def __init__(self, name: str, args: BridgesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAME}:index:Bridges", name, None, opts)
        deployed = deploy(settings_of(args), name, self)
        # What the outputs do not wait for is not waited for at all.
        self.bridges = deployed.failed.apply(_stop).apply(lambda _: _plain(deployed.bridges))
        self.backups = deployed.backups.apply(plain)
        self.backup_cron = pulumi.Output.from_input(deployed.backup_cron)
        self.doublepuppet_as_token = deployed.doublepuppet_as_token
        self.register_outputs({})


class BridgeDatabaseArgs(TypedDict):
    """Names of the database and of the role that owns it."""

    database: str
    role: str


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as a bridge needs them (no rights beside, UTF8, C locale), through the postgresql provider of
    the options. They stay when this goes: what is in them is not to be lost."""

    database: pulumi.Output[str]
    """The database's name, once it is there."""

    def __init__(self, name: str, args: BridgeDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAME}:index:BridgeDatabase", name, None, opts)
        ours = Database("", args["database"], args["role"])
        made = components.BridgeDatabase(name, ours, opts=pulumi.ResourceOptions(parent=self))
        self.database = made.database.name
        self.register_outputs({})


def _stop(failed: str) -> None:
    if failed:
        raise pulumi.InputPropertiesError(failed, [])


def _plain(value: Any) -> Any:
    """The same with whatever dataclasses the outputs in it hold as mappings; each output stays as secret as it is."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value.apply(plain) if isinstance(value, pulumi.Output) else value


def settings_of(args: Mapping[str, Any]) -> Settings:
    """Raises BadSettings."""
    own = {key_of(key): args[key] for key in ("domain", "admin_user", "bridges") if args.get(key) is not None}
    more = args.get("settings") or {}
    problems = [f"settings.{key}: give {key} beside settings, not in it" for key in sorted(own.keys() & more.keys())]
    values = {**more, **own}
    for key in sorted(key for key, value in values.items() if any(_outputs(value))):
        problems.append(f"{key}: is an output, or a secret: should be known before anything is planned")
    if problems:
        raise BadSettings("\n".join(problems))
    return given(_whole(values))


def _outputs(value: Any) -> Iterator[bool]:
    if isinstance(value, pulumi.Output):
        yield True
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _outputs(each)


def _whole(value: Any) -> Any:
    """Pulumi knows one kind of numbers: 8008 comes as 8008.0."""
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Provider(ComponentProvider):
    """Serves the components. What stops one is said in its own words, without the traceback of a defect."""

    def __init__(self) -> None:
        super().__init__([Bridges, BridgeDatabase], NAME, version="0.1.0")

    def construct(
        self, name: str, resource_type: str, inputs: Any, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            inner = error.inner
            if isinstance(inner, (pulumi.RunError, BadSettings)):
                # [] and not None, which the SDK trips over (pulumi 3.259.0, provider/server.py)
                raise pulumi.InputPropertiesError(str(inner), []) from None
            if isinstance(inner, pulumi.InputPropertiesError):
                raise inner from None
            raise
