"""The unified diff of an edit, without secrets, for a screen or a CI log.

homeserver.yaml and pg_backup.sh hold secrets (macaroon_secret_key, the database's password, MAS's secret), and a diff
shows lines around a change. So a value is shown as `…` if its key looks secret, which means that it has one of the
words password, passwd, passphrase, pass, secret, token, key, macaroon, pepper, salt, credential, private. Hidden are
also all values below such a key, over several lines and in comments, and the password in an address
(scheme://user:password@host). Shown are true, false, null and empty values, file names (a key that ends in _path, _file
or _files), the options about other servers' public keys and, in a shell script, values that are only a reference ($VAR,
$(command)). The lines that this program adds have no such key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

HIDDEN = "…"
_WORD = r"(?:password|passwd|passphrase|pass|pwd|secret|token|key|macaroon|pepper|salt|credential|private)"
_NAME = rf"[\w.-]*{_WORD}[\w.-]*"
_SECRET = re.compile(rf"(?i){_NAME}\Z")
_HARMLESS = re.compile(  # a file's name, and what Synapse's options about other servers' public keys are called
    r"(?i)(?:.*_(?:path|paths|file|files)|trusted_key_servers|old_signing_keys|key_refresh_interval"
    r"|suppress_key_server_warning|accept_keys_insecurely)\Z"
)
_SHOWN = re.compile(r"(?i)(?:true|false|yes|no|on|off|null|~|)\Z")
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*')(?=[\s,}\]]|\Z)|[^\s,}\]#]\S*?(?=[,}\]]*(?:\s|\Z))"
_YAML_PAIR = re.compile(rf"(?i)(?P<name>\b{_NAME})(?P<to>[\"']?[ \t]*:[ \t]+)(?P<value>(?:{_VALUE}))")
_SHELL_PAIR = re.compile(
    rf"(?i)(?P<name>\b{_NAME})(?P<to>=)(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\([^()]*\)|[^\s;|&)]+)"
)
_REFERENCE = re.compile(r"\"?\$(?:\{?[A-Za-z_0-9?@*#!]+\}?|\(.*\))\"?\Z")
_ADDRESS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+(@)")


def looks_secret(key: str) -> bool:
    """Whether a key's value is a secret, by its name."""
    return bool(_SECRET.match(key)) and not _HARMLESS.match(key)


def find_secrets(document: object, hidden: bool = False) -> Iterator[str]:
    """Every text or number of a parsed YAML document below a key that looks secret; all of them, if `hidden`."""
    todo, seen = [(document, hidden)], set()
    while todo:
        value, hidden = todo.pop()
        if isinstance(value, (dict, list)):
            if (id(value), hidden) in seen:
                continue
            seen.add((id(value), hidden))
        if isinstance(value, dict):
            todo += [(item, hidden or looks_secret(str(key))) for key, item in value.items()]
        elif isinstance(value, list):
            todo += [(item, hidden) for item in value]
        elif hidden and value is not None and not isinstance(value, bool):
            yield str(value)


def _spans(node: Node, hidden: bool, seen: set[tuple[int, bool]]) -> Iterator[tuple[int, int]]:
    """Start and end of each value below a key that looks secret."""
    if (id(node), hidden) in seen:
        return
    seen.add((id(node), hidden))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _spans(value, hidden or (isinstance(key, ScalarNode) and looks_secret(key.value)), seen)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _spans(value, hidden, seen)
    elif hidden and isinstance(node, ScalarNode) and not (node.style is None and _SHOWN.match(node.value)):
        yield node.start_mark.index, node.end_mark.index


def _cover(text: str, start: int, end: int) -> str:
    """Hides the span. Line breaks stay, so that line numbers stay right."""
    value = text[start:end]
    body = value.rstrip()
    lines = [HIDDEN if n == 0 or line.strip() else line for n, line in enumerate(re.split(r"(\r\n|\n|\r)", body))]
    return text[:start] + "".join(lines) + value[len(body) :] + text[end:]


def _line_pair(match: re.Match[str]) -> str:
    value = match.group("value")
    keep = not looks_secret(match.group("name")) or _SHOWN.match(value) or HIDDEN in value or _REFERENCE.match(value)
    return match.group(0) if keep else f"{match.group('name')}{match.group('to')}{HIDDEN}"


def conceal(text: str) -> str:
    """Hides the values in a text (YAML or a script) that look secret. Everything else stays, line by line."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None  # a script, or a file that is refused anyway: search its lines
    if isinstance(node, MappingNode):
        for start, end in sorted(set(_spans(node, False, set())), reverse=True):
            text = _cover(text, start, end)
    for pattern in (_YAML_PAIR, _SHELL_PAIR):
        text = pattern.sub(_line_pair, text)
    return _ADDRESS.sub(rf"\1{HIDDEN}\2", text)


def make_diff(old: str, new: str, name: str) -> str:
    """The unified diff with three lines around each change, secrets hidden; "" if the texts are equal."""
    if old == new:
        return ""
    before, after = (re.findall(r"[^\n]*\n|[^\n]+", conceal(text)) for text in (old, new))
    lines = []
    for line in difflib.unified_diff(before, after, f"a/{name.lstrip('/')}", f"b/{name.lstrip('/')}"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)
