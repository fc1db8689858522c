"""The plan, and the parts of it that stand alone, as Pulumi components for programs in any language (provider/).

Annotations are read at run time to make the schema of them, so none of them is a string here; docstrings are its
descriptions, as they are: of one line.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi.provider import ConstructResult
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

from mautrix_bridges import components
from mautrix_bridges.components.bridge import Given
from mautrix_bridges.documents.places import NOTHING, Database
from mautrix_bridges.plan import deploy
from mautrix_bridges.scripts.wire import plain
from mautrix_bridges.settings import ENTRY, BadSettings, Settings, given, key_of
from mautrix_bridges.standalone import register, run

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


class SynapseRegistration(pulumi.ComponentResource):
    """Bridges' appservices in Synapse: tokens, registrations, the lines in homeserver.yaml, one restart."""

    # Its settings are all of Bridges', but the sharedDir that it has if they name none.

    registrations: pulumi.Output[dict[str, Any]]
    """Of each bridge, by its kind or name: asToken and hsToken, secrets."""
    doublepuppet_as_token: pulumi.Output[str]
    """The token for double puppeting, a secret."""

    def __init__(self, name: str, args: BridgesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAME}:index:SynapseRegistration", name, None, opts)
        registered = register(settings_of(args, name), name, self)
        self.registrations = pulumi.Output.from_input(registered.registrations)
        self.doublepuppet_as_token = registered.doublepuppet_as_token
        self.register_outputs({})


class BridgeDatabaseArgs(TypedDict):
    """Names of the database and of the role that owns it, and where. Without a host it is the server of the provider
    postgresql in the options."""

    database: str
    role: str
    password: NotRequired[pulumi.Input[str]]
    """The role's; not given: it has none."""
    host: NotRequired[pulumi.Input[str]]
    port: NotRequired[pulumi.Input[int]]
    """Not given: 5432."""
    superuser: NotRequired[pulumi.Input[str]]
    """Not given: postgres."""
    superuser_password: NotRequired[pulumi.Input[str]]
    sslmode: NotRequired[pulumi.Input[str]]
    """disable or require; not given: disable."""


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as a bridge needs them: no rights beside, UTF8, C locale. They stay when this goes."""

    database: pulumi.Output[str]
    """The database's name, once it is there."""

    def __init__(self, name: str, args: BridgeDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAME}:index:BridgeDatabase", name, None, opts)
        ours, own = Database("", args["database"], args["role"]), pulumi.ResourceOptions(parent=self)
        server = None
        if args.get("host") is not None:
            access = components.PostgresAccess(
                address=args["host"],
                port=args.get("port") or 5432,
                superuser=args.get("superuser") or "postgres",
                password=args.get("superuser_password"),
                sslmode=args.get("sslmode") or "disable",
            )
            server = components.postgres_provider(name, access, own)
        made = components.BridgeDatabase(name, ours, server, password=args.get("password"), opts=own)
        self.database = made.database.name
        self.register_outputs({})


class BridgeContainerArgs(TypedDict):
    """The one bridge, as of Bridges, and what was made for it: of the settings of databases the names count alone.
    Without a sharedDir in `settings` it is one of the component's own."""

    domain: str
    """The homeserver's server_name: the part after the colon of a Matrix id."""
    admin_user: str
    """The user who administers the bridge and whose double puppet is proven; of this domain."""
    bridge: NotRequired[dict[str, Any]]
    """A mapping like {kind: signal}, which is also what it is if not given."""
    settings: NotRequired[dict[str, Any]]
    """All other settings, by their keys."""
    as_token: pulumi.Input[str]
    """Of the bridge's registration, which Synapse has."""
    hs_token: pulumi.Input[str]
    doublepuppet_as_token: pulumi.Input[str]
    """Of the registration for double puppeting."""
    database_password: pulumi.Input[str]
    """The role's."""
    pickle_key: pulumi.Input[str]
    """What the bridge's database is encrypted with: whoever loses it loses what is in there."""


class BridgeContainer(pulumi.ComponentResource):
    """A bridge whose registration and database are there: config, image, the gate, the container, the wait."""

    verdict: pulumi.Output[str]
    """PASS: Synapse accepts the appservice beside MAS."""
    status: pulumi.Output[dict[str, Any]]
    """How the bridge is."""
    bot: pulumi.Output[str]
    """The bot's user id."""
    next_steps: pulumi.Output[str]
    """How to link the first account."""

    def __init__(self, name: str, args: BridgeContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAME}:index:BridgeContainer", name, None, opts)
        settings = settings_of_one(args, name)
        secret = pulumi.Output.secret
        given = Given(
            as_token=secret(args["as_token"]),
            hs_token=secret(args["hs_token"]),
            database_password=secret(args["database_password"]),
            pickle_key=secret(args["pickle_key"]),
        )
        running = run(settings, given, secret(args["doublepuppet_as_token"]), name, self)
        live, outputs = running.failed.apply(_stop), running.outputs
        self.verdict = live.apply(lambda _: outputs["verdict"])
        self.status = live.apply(lambda _: outputs["status"].apply(plain))
        self.bot = pulumi.Output.from_input(outputs["bot"])
        self.next_steps = pulumi.Output.from_input(outputs["nextSteps"])
        self.register_outputs({})


def _stop(failed: str) -> None:
    if failed:
        raise pulumi.InputPropertiesError(failed, [])


def _plain(value: Any) -> Any:
    """The same with whatever dataclasses the outputs in it hold as mappings; each output stays as secret as it is."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value.apply(plain) if isinstance(value, pulumi.Output) else value


def settings_of(args: Mapping[str, Any], alone: str = "", where: str = ENTRY) -> Settings:
    """`alone`: the name of the part that this is, which then has a sharedDir of its own; `where` as of `parse`. Raises
    BadSettings."""
    own = {key_of(key): args[key] for key in ("domain", "admin_user", "bridges") if args.get(key) is not None}
    more = args.get("settings") or {}
    problems = [f"settings.{key}: give {key} beside settings, not in it" for key in sorted(own.keys() & more.keys())]
    values = {**more, **own}
    for key in sorted(key for key, value in values.items() if any(_outputs(value))):
        problems.append(f"{key}: is an output, or a secret: should be known before anything is planned")
    if problems:
        raise BadSettings("\n".join(problems))
    if alone:
        values.setdefault("sharedDir", f"/opt/matrix/mautrix-{alone}")
    return given(_whole(values), where)


def settings_of_one(args: Mapping[str, Any], alone: str) -> Settings:
    """The same for the one `bridge` of the arguments, whose data is somebody else's. Raises BadSettings."""
    own = args.get("bridge") or {"kind": "signal"}
    settings = settings_of({**args, "bridges": [own]}, alone, where="bridge")
    (bridge,) = settings.bridges
    for key, value in (("restore", bridge.restore), ("goBackTo", bridge.go_back_to)):
        if value not in ("", NOTHING):
            raise BadSettings(f"bridge.{key}: is not to be set: the database is somebody else's")
    return settings


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
        super().__init__([Bridges, SynapseRegistration, BridgeDatabase, BridgeContainer], NAME, version="0.1.0")

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
