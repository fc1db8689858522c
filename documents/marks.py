"""How a later run knows what on the host is ours: labels on the container, comments in Postgres, the first line of each
file that we write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Optional

STACK_LABEL = "mautrix-bridge.stack"  # the stack that made the container
ATTEMPT_LABEL = "mautrix-bridge.attempt"  # a counter, see verdicts/preflight/bridge.py, next_attempt
TOKENS_LABEL = "mautrix-bridge.tokens"  # the tokenGeneration that the container was made with

_COMMENT = "mautrix-bridge: "
_SEAL = "# as written: sha256 "
_WRITTEN = re.compile(r"\A# .*\bwritten by the Pulumi stack (\S+)\.\r?(?:\n|\Z)")


def file_owner(text: str) -> str:
    """The stack that a file's first line names as its writer; "" if it names none."""
    match = _WRITTEN.match(text)
    return match.group(1) if match else ""


def seal(text: str) -> str:
    """The text with a last line, a comment, by which a later look sees whether somebody changed the file since."""
    return f"{text}{_SEAL}{_hash(text)}\n"


def is_sealed(text: str) -> bool:
    """Whether the text is as `seal` made it."""
    written, mark, digest = text.rpartition(_SEAL)
    return bool(mark) and digest == f"{_hash(written)}\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def owner_comment(stack: str, **values: object) -> str:
    """The comment on a role or a database of ours in Postgres. `values` are JSON values to keep with it."""
    return _COMMENT + json.dumps({"stack": stack, **values}, sort_keys=True)


def parse_owner_comment(text: Optional[str]) -> Mapping[str, Any]:
    """The values of an `owner_comment`, with "stack" among them; empty if the text is no such comment."""
    try:
        values = json.loads((text or "").partition(_COMMENT)[2]) if (text or "").startswith(_COMMENT) else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("stack"), str) else {}


def explain_other_owner(comment: str, stack: str, claimed: bool) -> str:
    """Why a role or a database with this comment is not the stack's; "" if it is.

    `claimed`: the claim in the bridge's directory names it. This stack made it then, and may have been killed before it
    could comment on it."""
    owner = parse_owner_comment(comment).get("stack")
    if owner == stack or (claimed and not comment):
        return ""
    return f"belongs to the stack {owner}" if owner else "was not made by this stack"
