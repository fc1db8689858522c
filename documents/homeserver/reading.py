"""homeserver.yaml as read: what it means, and where in its text the top-level keys are.

A YAML parser (PyYAML, as in Synapse) says where things are. Nothing here changes the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from documents.refusal import Problem, Refused


class _Composer(yaml.SafeLoader):
    """Composes nodes for their positions.

    An alias becomes a node of its own at its place. Anchors, explicit tags and an explicit document end are recorded.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.decorated: dict[int, str] = {}  # id of a node -> "anchor" | "tag" | "alias"
        self.ended: int | None = None

    def _next(self) -> Any:
        return self.get_event()  # type: ignore[no-untyped-call]

    def compose_document(self) -> Node | None:
        self._next()
        node = self.compose_node(None, None)
        end = self._next()
        if end.explicit:
            self.ended = end.start_mark.index
        self.anchors = {}
        return node

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        node: Node | None
        if isinstance(event, yaml.AliasEvent):
            start, end = self._next().start_mark, event.end_mark
            node = ScalarNode("alias", event.anchor, start, end)  # type: ignore[arg-type]
            self.decorated[id(node)] = "alias"
            return node
        node = super().compose_node(parent, index)
        if getattr(event, "tag", None) is not None:
            self.decorated[id(node)] = "tag"
        if event.anchor is not None:
            self.decorated[id(node)] = "anchor"
        return node


@dataclass(frozen=True)
class HomeserverFile:
    """A file as read: its text, its document, and where its top-level keys are.

    `decorated` has, by id of a node, anchor, tag or alias; `ended` is where an explicit document end (...) stands.
    """

    text: str
    document: dict[Any, Any]
    root: MappingNode
    decorated: dict[int, str]
    ended: int | None

    def line(self, index: int) -> int:
        return line_number(self.text, index)

    def pairs(self, key: str) -> list[tuple[ScalarNode, Node]]:
        return [(k, v) for k, v in self.root.value if isinstance(k, ScalarNode) and k.value == key and k.tag == STR_TAG]

    def pair(self, key: str) -> tuple[ScalarNode, Node] | None:
        return next(iter(self.pairs(key)), None)


STR_TAG, NULL_TAG, MERGE_TAG = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


def line_number(text: str, index: int) -> int:
    return len(re.findall("\r\n|\n|\r", text[:index])) + 1


def _without_quotes(problem: str | None) -> str:
    """PyYAML's message without its quotes from the file: it may have read an unquoted password as an alias or a tag."""
    quoted = re.compile(r"'[^']*'|\"[^\"]*\"")
    known = re.compile(r".(?:.?|<[a-z ]+>).")  # a single character, or PyYAML's name of a token
    return quoted.sub(lambda quote: quote[0] if known.fullmatch(quote[0]) else "…", problem or "no reason given")


@lru_cache(maxsize=16)  # an edit reads a few texts many times; no caller changes the result
def read_document(text: str) -> Any:
    """The document as Synapse loads it. Raises Refused if PyYAML cannot load it."""
    try:
        return yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise Refused(
            [
                Problem(
                    line_number(text, error.position), f"the character U+{code:04X} is not allowed in YAML", "delete it"
                )
            ]
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = line_number(text, mark.index) if mark else 1
        if error.problem == "but found another document":
            problem = Problem(where, "a second YAML document starts here", "keep one document in the file")
        elif isinstance(error, yaml.constructor.ConstructorError) and "tag" in (error.problem or ""):
            problem = Problem(where, "a tag that Synapse cannot load", "write the value without a tag")
        else:
            reason = f"not valid YAML ({_without_quotes(error.problem)})"
            problem = Problem(where, reason, "fix this line, Synapse cannot load it either")
        raise Refused([problem]) from None
    except RecursionError:
        raise Refused([Problem(1, "nested too deeply to be read", "write it with less nesting")]) from None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, yaml.YAMLError):
        raise Refused(
            [Problem(1, "a value that PyYAML cannot load (a date, a number?)", "quote the value that is meant as text")]
        ) from None


@lru_cache(maxsize=16)
def read_file(text: str) -> HomeserverFile:
    """The file's meaning and positions. Raises Refused unless it is one document with a block mapping at its top."""
    document = read_document(text)
    composer = _Composer(text)
    try:
        root = composer.get_single_node()
    finally:
        composer.dispose()
    if document is None:
        raise Refused([Problem(1, "the file holds no settings", "it should be the homeserver.yaml of the Synapse")])
    if not isinstance(root, MappingNode) or not isinstance(document, dict):
        line = line_number(text, root.start_mark.index) if root else 1
        raise Refused([Problem(line, "the top level is no mapping", "it should be `key: value` lines")])
    if root.flow_style:
        where = line_number(text, root.start_mark.index)
        raise Refused([Problem(where, "the top level is in braces", "write the top level as `key: value` lines")])
    return HomeserverFile(text, document, root, composer.decorated, composer.ended)


def find_duplicates(
    file: HomeserverFile, node: MappingNode, prefix: str = "", among: Sequence[str] = ()
) -> Iterator[Problem]:
    """Keys that a mapping sets twice; only those `among`, if it is not empty. `prefix` goes before their names."""
    seen: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag in (MERGE_TAG, "alias"):
            continue
        name, line = (key.tag, key.value), file.line(key.start_mark.index)
        if name in seen and (not among or key.value in among):
            reason = f"{prefix}{key.value} is set a second time (first on line {seen[name]})"
            yield Problem(line, reason, "keep one of them")
        seen.setdefault(name, line)
