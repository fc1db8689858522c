"""The Pulumi CLI on the lab: its environment, the lab's stack and config, the emulated plugins."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab import which_pulumi
from lab.engine import LabError, run
from lab.place import Place, Say, write
from lab.plugins import NAMES, wrapper
from lab.ssh_server import SshServer, host_over_ssh

PROJECT = "mautrix-signal"
STACK = "lab"
TIMEOUT_SECONDS = 900

# What takes which flag (`pulumi COMMAND --help`).
_TAKES_STACK = {"up", "update", "preview", "refresh", "destroy", "import", "watch", "config", "cancel", "logs", "state"}
_TAKES_CONFIG_FILE = {"up", "update", "preview", "refresh", "destroy", "import", "watch", "config", "logs"}
_STACK_VERBS_WITH_STACK = {"output", "export", "import", "history", "graph", "rm", "tag"}


def pulumi_flags(args: Sequence[str], stack: str, config_file: Path) -> list[str]:
    """The flags that a `pulumi ARGS...` gets so that it asks nothing and works on the lab's stack and config. Pure."""
    flags = ["--non-interactive", "--color", "never"]
    command = args[0] if args else ""
    verb = next((arg for arg in args[1:] if not arg.startswith("-")), "")
    if command in _TAKES_STACK or (command == "stack" and (not verb or verb in _STACK_VERBS_WITH_STACK)):
        flags += ["--stack", stack]
    if command in _TAKES_CONFIG_FILE:
        flags += ["--config-file", str(config_file)]
    return flags


class PulumiCli:
    """Runs the Pulumi CLI on one lab's stack."""

    def __init__(self, place: Place, say: Say) -> None:
        self.place = place
        self.say = say

    def env(self) -> dict[str, str]:
        """The environment in which a Pulumi CLI works on this lab: this process' own, with PATH and PULUMI_* set.

        LAB_PLUGINS names a folder with pulumi-resource-* to use in place of the emulated ones; empty: none, Pulumi
        downloads them.
        """
        given = os.environ.get("LAB_PLUGINS")
        path = which_pulumi.path_with_pulumi()
        if given != "":
            path = f"{self.place.plugins_dir if given is None else Path(given).resolve()}{os.pathsep}{path}"
        env = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        env |= {
            "PATH": path,
            "VIRTUAL_ENV": str(which_pulumi.VENV),
            "PULUMI_HOME": str(self.place.dir / "pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self.place.state_dir}",
            "PULUMI_CONFIG_PASSPHRASE": self.place.notes().passphrase,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        if given != "":
            env["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
        return env

    def run(
        self,
        *args: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        capture: bool = True,
        timeout: float = TIMEOUT_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run the Pulumi CLI on the lab's stack, which is made first if need be.

        `env`: added to `env()`. `capture`: its output in the result, else it goes where this process' goes.
        `timeout`: seconds, after which it is interrupted as by Ctrl-C, then killed. Raises LabError if it cannot be
        run, takes too long, or, with `check`, exits non-zero (the error has its whole output).
        """
        self._ensure_stack()
        words = [*args]
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = pulumi_flags(args, STACK, self.place.config_file)
        whole = {**self.env(), **(env or {})}
        return _run(words, cwd=self.place.root, check=check, env=whole, capture=capture, timeout=timeout)

    def write_config(
        self,
        bridge: Mapping[str, object] | None = None,
        others: Sequence[Mapping[str, object]] = (),
        /,
        **changes: object,
    ) -> None:
        """Write .lab/Pulumi.lab.yaml: the committed Pulumi.lab.yaml, this checkout's config over it, then `changes`;
        those of Signal's entry of `bridges` are in `bridge`, and behind it stand `others`.

        What was set by `pulumi config set` in the lab's file is lost.
        """
        committed = self.place.root / f"Pulumi.{STACK}.yaml"
        document: dict[str, object] = (yaml.safe_load(committed.read_text()) if committed.is_file() else None) or {}
        document.pop("encryptionsalt", None)
        salt = self.place.notes().salt
        if salt:
            document["encryptionsalt"] = salt
        over_ssh = SshServer(self.place).config() if host_over_ssh() else {}
        bridges = {"bridges": [{**self.place.own_bridge, **(bridge or {})}, *others]}
        whole = {**self.place.config, **bridges, **over_ssh, **changes}
        own = {f"{PROJECT}:{key}": value for key, value in whole.items()}
        shared = document.get("config")
        document["config"] = {**(shared if isinstance(shared, dict) else {}), **own}
        text = "# Written by `python -m lab`: Pulumi.lab.yaml with the names of this checkout's lab.\n"
        write(self.place.config_file, text + yaml.safe_dump(document, sort_keys=False), 0o600)

    def custom_bridge(self, name: str, **more: object) -> dict[str, Any]:
        """An entry of the setting bridges: one more on the bridge core, with names and places of this lab's own."""
        place = self.place
        return {
            "kind": "custom", "name": name, "network": "Elsewhere", "image": place.bridge_image, "port": 29400,
            "binary": "/usr/bin/mautrix-signal", "container": f"{place.prefix}-{name}",
            "directory": str(place.host_dir / f"{name}-bridge"),
            "archiveDir": str(place.host_root / f"var/backups/{name}"), **more,
        }  # fmt: skip

    def outputs(self, bridge: str = "signal", secrets: bool = True) -> dict[str, Any]:
        """The stack's outputs, and those of one bridge among them."""
        words = ["stack", "output", "--json", *(["--show-secrets"] if secrets else [])]
        known: dict[str, Any] = json.loads(self.run(*words).stdout)
        return {**known, **known.get(bridge, {})}

    def write_plugins(self) -> None:
        """Write the executables of the emulated plugins. Raises LabError if LAB_PLUGINS lacks one of them."""
        given = os.environ.get("LAB_PLUGINS")
        files = [f"pulumi-resource-{name}" for name in NAMES]
        if given:
            missing = [file for file in files if not os.access(Path(given, file), os.X_OK)]
            if missing:
                raise LabError(f"LAB_PLUGINS={given} lacks {', '.join(missing)}")
        self.place.plugins_dir.mkdir(exist_ok=True)
        for name, file in zip(NAMES, files, strict=True):
            path = self.place.plugins_dir / file
            text = wrapper(name, which_pulumi.VENV / "bin/python", which_pulumi.ROOT)
            if not path.is_file() or path.read_text() != text:
                write(path, text, 0o755)

    def clear_stale_locks(self) -> None:
        """Remove locks on the state that belong to a CLI which is gone: killed, it could not."""
        for path in self.place.state_dir.glob(".pulumi/locks/**/*.json"):
            try:
                holder = json.loads(path.read_text())
                alive = holder["hostname"] != socket.gethostname() or Path(f"/proc/{int(holder['pid'])}").exists()
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if not alive:
                path.unlink(missing_ok=True)
                self.say(f"removed the lock of a Pulumi run that was killed (pid {holder['pid']})")

    def _ensure_stack(self) -> None:
        """Make the stack if the state has none.

        `pulumi stack init` writes the salt of the passphrase into the project's Pulumi.lab.yaml, wherever --config-file
        points, so it runs in a project of the same name under .lab/, and the salt moves into the lab's config.
        """
        place = self.place
        if (place.state_dir / f".pulumi/stacks/{PROJECT}/{STACK}.json").is_file():
            return
        if not place.config_file.is_file():
            raise LabError("the lab is not up: python -m lab up")
        scratch = place.dir / "stack"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        place.state_dir.mkdir(exist_ok=True)
        try:
            (scratch / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
            words = ["stack", "init", STACK, "--non-interactive", "--color", "never"]
            _run(words, cwd=scratch, check=True, env=self.env(), capture=True, timeout=120)
            salt = yaml.safe_load((scratch / f"Pulumi.{STACK}.yaml").read_text())["encryptionsalt"]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        place.note(salt=salt)
        # Into the file as it is: what a test has set before the first run of the CLI stays.
        config = yaml.safe_load(place.config_file.read_text())
        write(place.config_file, yaml.safe_dump({**config, "encryptionsalt": salt}, sort_keys=False), 0o600)
        # An empty stack to go back to: `reset` need not run the CLI.
        kept = place.pristine / "state"
        if place.pristine.is_dir() and not kept.exists():
            run(["cp", "-a", place.state_dir, kept])


def cli() -> str:
    """Path of the CLI. Raises LabError if there is none."""
    program = which_pulumi.program()
    if program is None:
        wanted = os.environ.get("LAB_PULUMI") or "pulumi"
        raise LabError(f"no Pulumi CLI: no {wanted}; `make setup` builds one, LAB_PULUMI may name one")
    return program


def _run(
    words: Sequence[str], *, cwd: Path, check: bool, env: Mapping[str, str], capture: bool, timeout: float
) -> subprocess.CompletedProcess[str]:
    program = cli()
    pipe = subprocess.PIPE if capture else None
    sys.stdout.flush()
    process = subprocess.Popen(
        [program, *words], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        # Interrupted, it lets go of its lock on the state.
        process.send_signal(2)
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            said = (out or "") + (err or "")
            raise LabError(f"`pulumi {words[0]}` took longer than {timeout:.0f} s:\n{said}") from None
        raise
    out, err = out or "", err or ""
    if check and process.returncode != 0:
        raise LabError(f"`pulumi {words[0]}` failed with exit code {process.returncode}:\n{out}{err}")
    return subprocess.CompletedProcess([program, *words], process.returncode, out, err)
