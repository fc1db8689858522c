"""By what a later run knows that something on the host is ours: labels on the container, comments in Postgres, the
first line of each file that we write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional

STACK_LABEL = "mautrix-bridge.stack"  # on the container: the stack that made it
CONFIG_LABEL = "mautrix-bridge.config"  # the version of the config that it was made for
ATTEMPT_LABEL = "mautrix-bridge.attempt"  # see verdicts/preflight.py, _attempt
TOKENS_LABEL = "mautrix-bridge.tokens"  # the tokenGeneration that it was made with

_COMMENT = "mautrix-bridge: "
_WRITTEN = re.compile(r"\A# .*\bwritten by the Pulumi stack (\S+)\.\r?(?:\n|\Z)")


def writer(text: str) -> str:
    """The stack that a file names as its writer; "" if it names none."""
    match = _WRITTEN.match(text)
    return match.group(1) if match else ""


def comment(stack: str, **values: object) -> str:
    """The comment on a role or a database of ours in Postgres; `values` are JSON."""
    return _COMMENT + json.dumps({"stack": stack, **values}, sort_keys=True)


def commented(text: Optional[str]) -> Mapping[str, Any]:
    """What such a comment says, "stack" among it; nothing if it is none of ours."""
    try:
        values = json.loads((text or "").partition(_COMMENT)[2]) if (text or "").startswith(_COMMENT) else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("stack"), str) else {}
