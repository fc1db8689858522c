"""Does the bridge take the setting bridgeConfig? A bridge drops an unknown key and a value of the wrong type without an
error. So the bridge's program reads the settings and writes its config, and the two are compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from documents.places import BridgeDeployment
from host_programs import program_file
from host_programs.bridge import config_check_inside
from host_programs.docker import run_docker
from host_programs.messages import ScriptError

# Reads from stdin; `-g` has the bridge read its config, write it whole, and end.
READ_CONFIG = (
    'cat > /tmp/config.yaml && "$0" -g -c /tmp/config.yaml -r /tmp/registration.yaml >&2 && cat /tmp/config.yaml'
)


@dataclass(frozen=True)
class SettingsQuestion:
    """`config`: the setting bridgeConfig; `image` and `binary`: the bridge's; `synapse`: the container that has
    PyYAML."""

    config: dict[str, Any] = field(repr=False)
    image: str
    binary: str
    synapse: str

    @classmethod
    def of(cls, deployment: BridgeDeployment, image: str) -> SettingsQuestion:
        return cls(deployment.config, image, deployment.bridge.binary, deployment.synapse.container)


def find_refused_settings(question: SettingsQuestion) -> tuple[str, ...]:
    """Run the bridge's program on the setting; a line `KEY: why` for each setting that it does not take. ScriptError if
    that cannot be found out."""
    if not question.config:
        return ()
    # The bridge cannot read a config without these.
    asked = {"homeserver": {"domain": "localhost", "address": "http://localhost"}, **question.config}
    asked["bridge"] = {"permissions": {"*": "relay"}, **question.config.get("bridge", {})}
    safe = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
    done = run_docker(
        "run", *safe.split(), "--tmpfs", "/tmp:mode=1777", "--entrypoint", "sh", question.image, "-c", READ_CONFIG,
        question.binary, stdin=json.dumps(asked), check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return (f"bridgeConfig: the bridge cannot read it: {reason}",)
    comparison = config_check_inside.ConfigComparison(question.config, done.stdout)
    try:
        return program_file.run_inside(
            question.synapse, config_check_inside.compare_config, comparison, timeout=60
        ).lines
    except program_file.InsideError as error:
        raise ScriptError(f"bridgeConfig cannot be compared: {error}") from None
