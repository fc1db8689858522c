"""Emulated `docker` provider: Container and RemoteImage, with the inputs that the program uses.

Behaves as pulumi-docker 5.2.0, which bridges terraform-provider-docker 4.5.0. What a change does:

    Container, replaced (deleted first): name image command entrypoints user readOnly capabilities securityOpts volumes
        labels logDriver logOpts networksAdvanced
    Container, in place, done at once: restart; mustRun (true starts it)
    Container, in place, only remembered: destroyGraceSeconds removeVolumes healthcheck (the last one keeps its old
        value in the container: the real provider does that too, and shows the difference again after a refresh;
        replace the container by something else that changes with it)
    RemoteImage, replaced: name; in place: keepLocally

As the real provider:

- a container that was made but does not start stays, and is kept in the state as one that failed; the next `up` clears
  that without starting it, the next refresh sees it stopped;
- a container that has stopped is no error: a read writes `mustRun: false` into the state, so the next `up` starts it;
- an unset `destroyGraceSeconds` kills at once;
- durations come back as Go writes them ("1m0s"), so an input written otherwise ("60s") is a difference for ever;
- an image that is not there is pulled; deleting a RemoteImage removes its name, and the image with the last name.

Unlike the real provider:

- a container needs a name; `wait` may only be false, since nothing here waits for a container's health;
- drift is seen in the inputs above alone.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from lab.plugins.base import (
    BridgedProvider,
    InitFailed,
    Prop,
    ProviderError,
    Resource,
    Schema,
    at_least,
    not_implemented_unless,
    one_of,
    serve,
    strings,
)

if TYPE_CHECKING:
    from docker.api.client import APIClient

CONTAINER = "docker:index/container:Container"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


# --- durations as Go writes them -------------------------------------------------------------------------------------
def parse_duration(text: str) -> int:
    """Nanoseconds from a Go duration like "1m30s" or "500ms". Raises ValueError with what it should be."""
    if text == "0":
        return 0
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'is {text!r}; it should be a duration like "30s", "500ms" or "1m30s"')
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def format_duration(nanoseconds: int) -> str:
    """As Go's Duration.String: "0s", "500ms", "30s", "1m0s"."""
    if nanoseconds == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if nanoseconds < _UNITS[unit] * 1000 and nanoseconds < 10**9:
            return f"{nanoseconds / _UNITS[unit]:.9g}{unit}"
    minutes, rest = divmod(nanoseconds, _UNITS["m"])
    seconds = f"{rest / 10**9:.11g}s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def _duration(value: str) -> str | None:
    try:
        parse_duration(value)
    except ValueError as error:
        return str(error)
    return None


def _absolute(value: str) -> str | None:
    return None if value.startswith("/") else f"is {value!r}; it should be an absolute path"


# --- the engine's API ------------------------------------------------------------------------------------------------
class Engine:
    """The Docker API client, made at its first use: a preview that needs none does not pay for it.

    An address ssh://… is reached as the real provider does (github.com/docker/cli, cli/connhelper): each connection is
    the OpenSSH client, with `sshOpts`, that runs `docker system dial-stdio` there.
    """

    def __init__(self, host: Callable[[], str], ssh_options: Callable[[], Sequence[str]] = tuple) -> None:
        self._host, self._ssh_options = host, ssh_options
        self._client: APIClient | None = None

    @property
    def api(self) -> APIClient:
        """The client. Raises ProviderError when no engine answers."""
        if self._client is None:
            from docker.api.client import APIClient
            from docker.errors import DockerException

            host = self._host()
            address = dial_through_ssh(host, self._ssh_options()) if host.startswith("ssh://") else host
            try:
                self._client = APIClient(base_url=address, version="auto", timeout=600)
            except DockerException as error:
                raise ProviderError(f"Error pinging Docker server at {host}: {error}") from None
        return self._client


def ssh_words(host: str, options: Sequence[str]) -> list[str]:
    """The command line for one connection to the engine behind `host`, as docker/cli's connhelper builds it."""
    parts = urlsplit(host)
    socket_path = parts.path.rstrip("/")
    login = [*(["-l", parts.username] if parts.username else []), *(["-p", str(parts.port)] if parts.port else [])]
    remote = ["docker", *([f"--host=unix://{socket_path}"] if socket_path else []), "system", "dial-stdio"]
    return ["ssh", *options, "-o ConnectTimeout=30", "-T", *login, "--", parts.hostname or "", *remote]


def dial_through_ssh(host: str, options: Sequence[str]) -> str:
    """The address of a socket of this process whose connections go through SSH to the engine."""
    words = ssh_words(host, options)
    path = Path(tempfile.mkdtemp(prefix="pulumi-docker-")) / "docker.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve_each() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                subprocess.Popen(words, stdin=connection.fileno(), stdout=connection.fileno())

    threading.Thread(target=serve_each, daemon=True).start()
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return f"unix://{path}"


def said(error: Any) -> str:
    """What the Docker engine said, in the words of its Go client."""
    return f"Error response from daemon: {getattr(error, 'explanation', None) or error}"


def find_image(api: APIClient, name: str) -> dict[str, Any]:
    """The image of this name or id, pulled when it is not there. Raises ProviderError."""
    from docker.errors import APIError, NotFound

    if not name:
        raise ProviderError("empty image name is not allowed")
    try:
        return dict(api.inspect_image(name))
    except NotFound:
        pass
    except APIError as error:
        raise ProviderError(f"unable to inspect image {name}: {said(error)}") from None
    try:
        for line in api.pull(name, stream=True, decode=True):
            if "error" in line:
                raise ProviderError(f"unable to pull image {name}: {line['error']}")
        return dict(api.inspect_image(name))
    except APIError as error:
        message = f"unable to pull image {name}: error pulling image {name}: {said(error)}"
        raise ProviderError(message) from None


# --- Container -------------------------------------------------------------------------------------------------------
_CONTAINER: Schema = {
    "name": Prop(required=True, replace=True),
    "image": Prop(required=True, replace=True),
    "command": strings(replace=True, computed=True),
    "entrypoints": strings(replace=True, computed=True),
    "user": Prop(replace=True, computed=True),
    "readOnly": Prop("boolean", default=False, replace=True),
    "capabilities": Prop("object", replace=True, fields={"adds": strings("set"), "drops": strings("set")}),
    "securityOpts": strings("set", replace=True, computed=True),
    "volumes": Prop(
        "set",
        replace=True,
        of=Prop(
            "object",
            fields={
                "containerPath": Prop(required=True),
                "hostPath": Prop(validate=_absolute),
                "readOnly": Prop("boolean"),
                "selinuxRelabel": Prop(validate=one_of("z", "Z")),
            },
        ),
    ),
    "labels": Prop(
        "set",
        replace=True,
        computed=True,
        of=Prop("object", fields={"label": Prop(required=True), "value": Prop(required=True)}),
    ),
    "logDriver": Prop(replace=True, computed=True),
    "logOpts": strings("map", replace=True),
    "networksAdvanced": Prop(
        "set", replace=True, of=Prop("object", fields={"name": Prop(required=True), "aliases": strings("set")})
    ),
    "restart": Prop(default="no", validate=one_of("no", "on-failure", "always", "unless-stopped")),
    "mustRun": Prop("boolean", default=True),
    "wait": Prop("boolean", default=False, validate=not_implemented_unless(False)),
    "destroyGraceSeconds": Prop("integer"),
    "removeVolumes": Prop("boolean", default=True),
    "healthcheck": Prop(
        "object",
        computed=True,
        fields={
            "tests": strings(),
            "interval": Prop(default="0s", validate=_duration),
            "timeout": Prop(default="0s", validate=_duration),
            "startPeriod": Prop(default="0s", validate=_duration),
            "retries": Prop("integer", default=0, validate=at_least(0)),
        },
    ),
}

_DURATIONS = {
    "Interval": "interval",
    "Timeout": "timeout",
    "StartPeriod": "startPeriod",
}


def container_config(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /containers/create (Docker Engine API) for these inputs."""
    binds: list[str] = []
    anonymous: dict[str, Any] = {}
    for volume in inputs.get("volumes", []):
        if source := volume.get("hostPath"):
            options = ["ro" if volume.get("readOnly") else "rw", *filter(None, [volume.get("selinuxRelabel")])]
            binds.append(f"{source}:{volume['containerPath']}:{','.join(options)}")
        else:
            anonymous[volume["containerPath"]] = {}
    config: dict[str, Any] = {
        "Image": inputs["image"],
        "User": inputs.get("user", ""),
        "Cmd": inputs.get("command") or None,
        "Entrypoint": inputs.get("entrypoints") or None,
        "Labels": {item["label"]: item["value"] for item in inputs.get("labels", [])},
        "Volumes": anonymous,
        "HostConfig": {
            "Binds": binds,
            "RestartPolicy": {"Name": inputs["restart"], "MaximumRetryCount": 0},
            "ReadonlyRootfs": inputs["readOnly"],
            "LogConfig": {"Type": inputs.get("logDriver", ""), "Config": inputs.get("logOpts", {})},
            "NetworkMode": "bridge",
            "Init": False,
            "CapAdd": inputs.get("capabilities", {}).get("adds"),
            "CapDrop": inputs.get("capabilities", {}).get("drops"),
            "SecurityOpt": inputs.get("securityOpts"),
        },
    }
    if check := inputs.get("healthcheck"):
        config["Healthcheck"] = {
            "Test": check.get("tests"),
            "Retries": check.get("retries", 0),
            **{theirs: parse_duration(check.get(ours, "0s")) for theirs, ours in _DURATIONS.items()},
        }
    return config


def container_state(inspected: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a read: `before` with what the engine says of the container (GET /containers/ID/json).

    As in the real provider labels, volumes and networksAdvanced are not read back.
    """
    config, host = inspected["Config"], inspected["HostConfig"]
    state = {
        **before,
        "name": inspected["Name"].lstrip("/"),
        "image": inspected["Image"] if before.get("image", "").startswith("sha256:") else config["Image"],
        "command": config.get("Cmd") or [],
        "entrypoints": config.get("Entrypoint") or [],
        "user": config.get("User", ""),
        "readOnly": host.get("ReadonlyRootfs", False),
        "restart": host["RestartPolicy"]["Name"],
        "securityOpts": host.get("SecurityOpt") or [],
        "logDriver": host["LogConfig"]["Type"],
        "logOpts": host["LogConfig"]["Config"] if before.get("logOpts") else None,
    }
    adds, drops = host.get("CapAdd") or [], host.get("CapDrop") or []
    if adds or drops:
        state["capabilities"] = {"adds": adds, "drops": drops}
    if check := config.get("Healthcheck"):
        durations = {ours: format_duration(check.get(theirs) or 0) for theirs, ours in _DURATIONS.items()}
        state["healthcheck"] = {"tests": check.get("Test") or [], "retries": check.get("Retries") or 0, **durations}
    if not inspected["State"]["Running"]:
        state["exitCode"] = inspected["State"]["ExitCode"]
        state["mustRun"] = False
    return state


class Container(Resource):
    """docker:index/container:Container."""

    schema: ClassVar[Schema] = _CONTAINER
    outputs = ("exitCode",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def delete_before_replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Always, as pulumi-docker says of it."""
        return True

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Makes it, joins its networks and starts it."""
        from docker.errors import APIError

        api = self._engine.api
        try:
            find_image(api, inputs["image"])
        except ProviderError as error:
            raise ProviderError(f"Unable to create container with image {inputs['image']}: {error}") from None
        if any(argument == "" for argument in inputs.get("command", [])):
            raise ProviderError("values for command may not be empty")
        try:
            made = api.create_container_from_config(container_config(inputs), inputs["name"])
        except APIError as error:
            raise ProviderError(f"Unable to create container: {said(error)}") from None
        container = made["Id"]
        try:
            self._join(api, container, inputs.get("networksAdvanced", []))
            self._start(api, container)
        except ProviderError as error:
            raise InitFailed(container, inputs, inputs, str(error)) from None
        except Exception as error:  # whatever happens: a container that was made must not be forgotten
            raise InitFailed(container, inputs, inputs, f"{type(error).__name__}: {error}") from None
        return container, container_state(api.inspect_container(container), inputs)

    @staticmethod
    def _join(api: APIClient, container: str, networks: Sequence[Mapping[str, Any]]) -> None:
        from docker.errors import APIError

        if not networks:
            return
        try:
            api.disconnect_container_from_network(container, "bridge")
        except APIError as error:
            if "is not connected to" not in said(error):
                raise ProviderError(f"Unable to disconnect the default network: {said(error)}") from None
        for network in networks:
            try:
                api.connect_container_to_network(container, network["name"], aliases=network.get("aliases"))
            except APIError as error:
                raise ProviderError(f"Unable to connect to network '{network['name']}': {said(error)}") from None

    @staticmethod
    def _start(api: APIClient, container: str) -> None:
        from docker.errors import APIError

        try:
            api.start(container)
        except APIError as error:
            raise ProviderError(f"Unable to start container: {said(error)}") from None

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The container as the engine has it."""
        from docker.errors import APIError, NotFound

        try:
            inspected = self._engine.api.inspect_container(resource_id)
        except NotFound:
            return None
        except APIError as error:
            raise ProviderError(said(error)) from None
        return inspected["Id"], container_state(inspected, state)

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """Starts it again, or changes its restart policy; anything else is only remembered."""
        from docker.errors import APIError

        api = self._engine.api
        if "mustRun" in changed and new["mustRun"]:
            self._start(api, resource_id)
        if "restart" in changed:
            try:
                api.update_container(resource_id, restart_policy={"Name": new["restart"]})
            except APIError as error:
                raise ProviderError(f"Unable to update a container: {said(error)}") from None
        return new

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Stops it within `destroyGraceSeconds` (unset: at once), removes it with its anonymous volumes."""
        from docker.errors import APIError, NotFound

        api = self._engine.api
        try:
            api.stop(resource_id, timeout=max(state.get("destroyGraceSeconds") or 0, 0))
        except NotFound:
            return
        except APIError as error:
            raise ProviderError(f"Error stopping container {resource_id}: {said(error)}") from None
        try:
            api.remove_container(resource_id, v=state.get("removeVolumes", True), force=True)
            api.wait(resource_id, condition="not-running")
        except NotFound:
            pass
        except APIError as error:
            if "is already in progress" not in said(error):
                raise ProviderError(f"Error deleting container {resource_id}: {said(error)}") from None


# --- RemoteImage -----------------------------------------------------------------------------------------------------
class RemoteImage(Resource):
    """docker:index/remoteImage:RemoteImage. Its id is the image's id with the name behind it, as in the real one."""

    schema: ClassVar[Schema] = {
        "name": Prop(required=True, replace=True),
        "keepLocally": Prop("boolean"),
    }
    outputs = ("imageId", "repoDigest")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def delete_before_replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Never: two images do not collide."""
        return False

    @staticmethod
    def _state(image: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        digests = image.get("RepoDigests") or []
        repository = re.sub(r":[^/:]+$", "", state["name"].partition("@")[0])
        digest = next((item for item in digests if item.partition("@")[0] == repository), "")
        return image["Id"] + state["name"], {**state, "imageId": image["Id"], "repoDigest": digest}

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Finds the image here, else pulls it."""
        try:
            image = find_image(self._engine.api, inputs["name"])
        except ProviderError as error:
            raise ProviderError(f"Unable to read Docker image into resource: {error}") from None
        return self._state(image, inputs)

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The image that has the name now."""
        from docker.errors import APIError, NotFound

        try:
            return self._state(self._engine.api.inspect_image(state["name"]), state)
        except NotFound:
            return None
        except APIError as error:
            raise ProviderError(f"unable to inspect image {state['name']}: {said(error)}") from None

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """Remembers the new settings and reads the image again."""
        return self.create(new)[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Removes the name (and the image, when it was the last), unless it is to be kept."""
        from docker.errors import APIError, NotFound

        if state.get("keepLocally"):
            return
        try:
            self._engine.api.remove_image(state["name"])
        except NotFound:
            pass
        except APIError as error:
            raise ProviderError(f"Unable to remove Docker image: {said(error)}") from None


# --- the provider ----------------------------------------------------------------------------------------------------
class DockerProvider(BridgedProvider):
    """The provider."""

    name = "docker"
    config_schema: ClassVar[Schema] = {
        "host": Prop(),
        "sshOpts": strings(),
    }

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(self._host, lambda: self.config.get("sshOpts") or ())
        self.resources = {
            CONTAINER: Container(self.engine),
            REMOTE_IMAGE: RemoteImage(self.engine),
        }

    def _host(self) -> str:
        return self.config.get("host") or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def main() -> None:
    """Runs the plugin; the engine's address is the first argument."""
    serve(DockerProvider(), "pulumi_docker")


if __name__ == "__main__":
    main()
