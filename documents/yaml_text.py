"""Writes YAML for files that two parsers read: PyYAML (Synapse) and Go's yaml.v3 (the bridge).

The two disagree about plain scalars: `1e3` and `0o17` are text to PyYAML and numbers to Go. The bridge ignores a
setting of the wrong type, with one line in its log. So every text value is double-quoted; only keys that are plain
words are not. The same document always gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

_WORD = re.compile(r"[a-z][a-z_]*(\.?[a-z0-9_]+)*\Z")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')


def _mapping(dumper: yaml.SafeDumper, value: Mapping[object, object]) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", value.items())
    for key, _ in node.value:
        # PyYAML still quotes a bare word that would be read as something else (`on`, `null`).
        if isinstance(key, yaml.ScalarNode) and _WORD.match(key.value):
            key.style = None
    return node


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)


def render_yaml(document: Mapping[str, object], *header: str) -> str:
    """The document as YAML text, below one comment line for each of `header`. Keys keep their order.

    Raises ValueError for a character in `header` that is not printable: it could end the comment early.
    """
    for line in header:
        if not line.isprintable():
            raise ValueError(f"the comment {line!r} holds a character that is not printable")
    body = yaml.dump(dict(document), Dumper=_Dumper, default_flow_style=False, sort_keys=False, width=2**31)
    return "".join(f"# {line}\n" for line in header) + body
