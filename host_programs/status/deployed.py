"""What is deployed on this host, in a file beside the programs: `status` needs neither Pulumi nor its state."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from documents.places import Deployment
from host_programs.files import safe_files
from host_programs.files.directory import DEPLOYED
from host_programs.messages import ScriptError
from host_programs.wire import WireError, from_json, to_json


@dataclass(frozen=True)
class RecordedDeployment:
    """The file's `path`."""

    path: str


def without_secrets(deployment: Deployment) -> Deployment:
    """The deployment without what the operator wrote into a bridge's config: that may be a secret (an api_hash)."""
    return replace(deployment, bridges=tuple(replace(bridge, config={}) for bridge in deployment.bridges))


def record_deployment(deployment: Deployment) -> RecordedDeployment:
    """Write the file (0600, root's); untouched if it says the same already. ScriptError if the stack's directory is not
    there, or the file is another stack's."""
    path = Path(deployment.shared_directory) / DEPLOYED
    if not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory: `up` makes it before it comes to this step")
    old = safe_files.read_file(path, links=False)
    if old is not None and _stack(old) not in ("", deployment.stack):
        raise ScriptError(f"{path}: is of the stack {_stack(old)}: set another sharedDir")
    data = (json.dumps(to_json(without_secrets(deployment)), indent=1, sort_keys=True) + "\n").encode()
    if old is None or old.data != data or old.status.st_mode & 0o777 != 0o600:
        safe_files.write_file(path, data, mode=0o600)
    return RecordedDeployment(str(path))


def _stack(content: safe_files.Content) -> str:
    """The stack that the file names; "" if it names none."""
    try:
        document = json.loads(content.data)
    except ValueError:
        return ""
    stack = document.get("stack") if isinstance(document, dict) else None
    return stack if isinstance(stack, str) else ""


def read_deployment(path: Path) -> Deployment:
    """What the file tells. ScriptError, with what to do, if there is none or it cannot be read."""
    try:
        content: Optional[safe_files.Content] = safe_files.read_file(path, links=False)
    except PermissionError:
        raise ScriptError(f"{path}: only root may read it: run this as root (sudo)") from None
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror or error}: repair it, or run `pulumi up`") from None
    if content is None:
        raise ScriptError(
            f"{path}: no such file: run the program in the directory sharedDir on the host; if it is that one, run "
            "`pulumi up` to its end, which writes the file"
        )
    try:
        return from_json(Deployment, json.loads(content.data), path.name)
    except (ValueError, WireError) as error:
        raise ScriptError(
            f"{path}: is not what this version of the programs writes ({error}): run the newest .pyz beside it, or "
            "`pulumi up`, which writes it anew"
        ) from None
