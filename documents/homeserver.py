"""homeserver.yaml of somebody else's Synapse: our entries in, our entries out, and not a byte more.

Text in, text out. A YAML parser (PyYAML, as in Synapse) says where things are; the edit is made in the text, never by
a dump, so comments, quoting and line ends stay. Each line of ours ends in a comment that names its stack:

    app_service_config_files:  # pulumi stack mautrix-signal/contabo
      - /data/registration.yaml  # pulumi stack mautrix-signal/contabo
    experimental_features: # pulumi stack mautrix-signal/contabo; before: ~
      msc3202_transaction_extensions: true  # pulumi stack mautrix-signal/contabo, mautrix-whatsapp/contabo

A line that several stacks need names them all and goes with the last one. `; before: …` is what the line held when we
came (`~`, `[]`, `{}`, or `on one line` where a flow list was split); removal puts it back. What stood there without
such a comment is somebody else's: it satisfies us, but it is never owned and never removed.

Laws, checked by the functions themselves on every edit (a violation is `Refused`, never a wrong file):
parse(add(f)) == parse(f) + our entries, and remove(add(f)) == f byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from documents.places import Deployment
from documents.refusal import Problem, Refused

# Plan, section 5b; not needed while encryption.appservice is false, see README.
EXPERIMENTAL_FEATURES = ("msc3202_transaction_extensions", "msc2409_to_device_messages_enabled")
REGISTRATIONS = "app_service_config_files"
FEATURES = "experimental_features"
KEYS = (REGISTRATIONS, FEATURES)

_OWNER = r"[A-Za-z0-9][A-Za-z0-9._/@+-]*"
_MARK = re.compile(rf"# pulumi stack (?P<owners>{_OWNER}(?:, {_OWNER})*)(?P<before>; before: )?")
_MARK_BEHIND = re.compile(rf"[ \t]*,?[ \t]*{_MARK.pattern}")  # from the end of an entry to the mark on its line
_ONE_LINE = "on one line"  # what stood before, of a flow collection that we split
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what PyYAML takes for the end of a line
_EMPTY = re.compile(r"(?:~|[Nn]ull|NULL|\[[ \t]*\]|\{[ \t]*\})")
_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.@+-]*\Z")  # needs no quotes, unless it is a word like yes or null


@dataclass(frozen=True)
class Entries:
    """What one stack needs in homeserver.yaml.

    `owner` names the stack in the comments, as "mautrix-signal/contabo"; `registrations` are paths as Synapse sees
    them, as "/data/registration.yaml"; `experimental_features` are flags that must be true. ValueError on an owner
    that a comment cannot hold, or an entry that is empty or has control characters.
    """

    owner: str
    registrations: tuple[str, ...] = ()
    experimental_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(_OWNER, self.owner):
            raise ValueError(f"owner {self.owner!r}: should be letters, digits and ._/@+-, as mautrix-signal/contabo")
        for value in (*self.registrations, *self.experimental_features):
            if not value or not value.isprintable():
                raise ValueError(f"entry {value!r}: should be a path or a flag's name, without control characters")

    @classmethod
    def of(cls, deployment: Deployment) -> Entries:
        """Those of the plan's section 5b."""
        files = tuple(map(deployment.synapse.inside, deployment.registration_files))
        return cls(deployment.stack, files, EXPERIMENTAL_FEATURES if deployment.experimental_features else ())


# ---- reading


class _Composer(yaml.SafeLoader):
    """Composes nodes for their positions: an alias stays a node of its own where it stands, and anchors, explicit
    tags and an explicit document end are remembered."""

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
class _File:
    """A file as read: its text, what it means, and where its top-level keys are."""

    text: str
    document: dict[Any, Any]
    root: MappingNode
    decorated: dict[int, str]
    ended: int | None

    def line(self, index: int) -> int:
        return _line(self.text, index)

    def pairs(self, key: str) -> list[tuple[ScalarNode, Node]]:
        return [(k, v) for k, v in self.root.value if isinstance(k, ScalarNode) and k.value == key and k.tag == _STR]

    def pair(self, key: str) -> tuple[ScalarNode, Node] | None:
        return next(iter(self.pairs(key)), None)


_STR, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


def _line(text: str, index: int) -> int:
    return len(re.findall("\r\n|\n|\r", text[:index])) + 1


def _without_quotes(problem: str | None) -> str:
    """PyYAML's words without what it quotes from the file: an unquoted password may be read as an alias or a tag."""
    quoted = re.compile(r"'[^']*'|\"[^\"]*\"")
    known = re.compile(r".(?:.?|<[a-z ]+>).")  # a single character, or PyYAML's name of a token
    return quoted.sub(lambda quote: quote[0] if known.fullmatch(quote[0]) else "…", problem or "no reason given")


@lru_cache(maxsize=16)  # an edit looks at few texts many times; nobody changes what comes back
def _meaning(text: str) -> Any:
    """What the file means to Synapse; Refused if PyYAML cannot tell."""
    try:
        return yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise Refused(
            [Problem(_line(text, error.position), f"the character U+{code:04X} is not allowed in YAML", "delete it")]
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _line(text, mark.index) if mark else 1
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
def _read(text: str) -> _File:
    """The file's meaning and positions; Refused unless it is one document with a block mapping at its top."""
    document = _meaning(text)
    composer = _Composer(text)
    try:
        root = composer.get_single_node()
    finally:
        composer.dispose()
    if document is None:
        raise Refused([Problem(1, "the file holds no settings", "it should be the homeserver.yaml of the Synapse")])
    if not isinstance(root, MappingNode) or not isinstance(document, dict):
        line = _line(text, root.start_mark.index) if root else 1
        raise Refused([Problem(line, "the top level is no mapping", "it should be `key: value` lines")])
    if root.flow_style:
        where = _line(text, root.start_mark.index)
        raise Refused([Problem(where, "the top level is in braces", "write the top level as `key: value` lines")])
    return _File(text, document, root, composer.decorated, composer.ended)


def _duplicates(file: _File, node: MappingNode, inside: str = "", among: Sequence[str] = ()) -> Iterator[Problem]:
    """Keys of a mapping that are set twice (only those `among`, if given); `inside` goes before their names."""
    seen: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag in (_MERGE, "alias"):
            continue
        name, line = (key.tag, key.value), file.line(key.start_mark.index)
        if name in seen and (not among or key.value in among):
            reason = f"{inside}{key.value} is set a second time (first on line {seen[name]})"
            yield Problem(line, reason, "keep one of them")
        seen.setdefault(name, line)


def doubled(text: str) -> tuple[Problem, ...]:
    """Top-level keys, our two aside, that the file sets twice: Synapse takes the last one without a word. Refused if
    the file cannot be read."""
    file = _read(text)
    refused = {*_duplicates(file, file.root, among=KEYS)}
    return tuple(each for each in _duplicates(file, file.root) if each not in refused)


def _unfit(file: _File, key: str, flags: Sequence[str]) -> Iterator[Problem]:
    """Why we cannot write below one of our two keys; `flags` are those that have to be true there."""
    pair = file.pair(key)
    if pair is None:
        if key in file.document:
            merge = next((k for k, _ in file.root.value if k.tag == _MERGE), file.root)
            at = file.line(merge.start_mark.index)
            yield Problem(at, f"{key} comes from a merge key (<<)", f"write {key} out at the top level")
        return
    node, value = pair
    for part in (node, value):
        if id(part) in file.decorated:
            reason = {"tag": "a tag", "anchor": "an anchor (&)", "alias": "an alias (*)"}[file.decorated[id(part)]]
            yield Problem(file.line(part.start_mark.index), f"{key} has {reason}", f"write {key} without it")
            return
    if isinstance(value, ScalarNode) and value.tag == _NULL:
        return
    shape: type[Node] = SequenceNode if key == REGISTRATIONS else MappingNode
    if not isinstance(value, shape):
        word = "a list of file names" if key == REGISTRATIONS else "a mapping of flags"
        at = file.line(value.start_mark.index)
        yield Problem(at, f"{key} has a value of the wrong type", f"it should be {word}")
    elif isinstance(value, SequenceNode):
        yield from _unfit_registrations(file, value)
    elif isinstance(value, MappingNode):
        yield from _duplicates(file, value, f"{key}.")
        yield from _unfit_flags(file, value, flags)


def _unfit_registrations(file: _File, listed: SequenceNode) -> Iterator[Problem]:
    for child, item in zip(listed.value, file.document[REGISTRATIONS]):
        at = file.line(child.start_mark.index)
        if file.decorated.get(id(child)) == "tag":
            yield Problem(at, f"an entry of {REGISTRATIONS} has a tag", "write it without the tag")
        elif not isinstance(item, str):
            yield Problem(at, f"an entry of {REGISTRATIONS} is no file name", "it should be text")


def _unfit_flags(file: _File, features: MappingNode, needed: Sequence[str]) -> Iterator[Problem]:
    for name, setting in features.value:
        at, flag = file.line(name.start_mark.index), f"{FEATURES}.{name.value}"
        if name.tag == _MERGE:
            yield Problem(at, f"{FEATURES} has a merge key (<<)", "write its flags out")
        elif file.decorated.get(id(name)) == "alias":
            yield Problem(at, f"{FEATURES} has an alias for a key", "write the flag's name out")
        elif name.value in needed and name.tag == _STR:
            value = file.document[FEATURES].get(name.value)
            if file.decorated.get(id(setting)) == "tag":
                yield Problem(at, f"{flag} has a tag", "write it without the tag")
            elif value is False or value is None:
                reason = f"{flag} is {'false' if value is False else 'empty'}, but the bridge needs it true"
                fix = "set it to true, or delete the line, or set experimentalFeatures to false"
                yield Problem(at, reason, fix)
            elif value is not True:
                yield Problem(at, f"{flag} has a value of the wrong type", "it should be true")


def _checked(text: str, entries: Entries) -> _File:
    """The file, if these entries can be written into it; else Refused with every reason."""
    file = _read(text)
    problems = list(_duplicates(file, file.root, among=KEYS))
    if file.ended is not None:
        problems.append(Problem(file.line(file.ended), "the document ends here (...)", "delete the line"))
    if not problems:
        for key in KEYS:
            problems += _unfit(file, key, entries.experimental_features)
    if problems:
        raise Refused(problems)
    return file


# ---- lines


def _line_start(text: str, index: int) -> int:
    """Where the line of `index` starts; a byte order mark belongs to no line."""
    start = 1 if text.startswith("\ufeff") else 0
    for each in _BREAK.finditer(text):
        if each.end() > index:
            break
        start = each.end()
    return start


def _line_end(text: str, index: int) -> int:
    """Where the line after that of `index` starts (the end of the text, if there is none)."""
    match = _BREAK.search(text, index)
    return match.end() if match else len(text)


def _line_break(text: str, index: int) -> str:
    """How lines end about `index`: as the line before it does, else as the first one."""
    breaks = [each.group() for each in _BREAK.finditer(text, 0, index) if each.group() in ("\r\n", "\n", "\r")]
    first = re.search("\r\n|\n|\r", text)
    return breaks[-1] if breaks else first.group() if first else "\n"


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def _apply(text: str, edits: Iterable[_Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _insertion(text: str, at: int, lines: Sequence[str]) -> _Edit:
    """New lines at the start of a line; at the end of a file without a last line break it still has none after it."""
    end = _line_break(text, at)
    if at == len(text) and not _ends_in_break(text):
        return _Edit(at, at, "".join(end + line for line in lines))
    return _Edit(at, at, "".join(line + end for line in lines))


def _ends_in_break(text: str) -> bool:
    return text == "" or text[-1] in "\n\r\x85\u2028\u2029"


def _without_lines(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` without whole lines. If the last line goes and had no line break, the new last line has none either."""
    bare = not _ends_in_break(text)
    last_goes = False
    for start, end in sorted(spans, reverse=True):
        last_goes = last_goes or end >= len(text)
        text = text[:start] + text[end:]
    if bare and last_goes:
        broken = [each for each in _BREAK.finditer(text) if each.end() == len(text)]
        text = text[: broken[0].start()] if broken else text
    return text


# ---- our two keys


def _end(text: str, node: Node) -> int:
    """Where a node's own text ends (PyYAML lets a collection without brackets run on to the next token)."""
    if isinstance(node, ScalarNode):
        if node.style in ("|", ">"):
            head = text[node.start_mark.index : _line_end(text, node.start_mark.index)]
            whole = text[: node.end_mark.index]
            return len(whole) - 1 if "+" in head.split("#")[0] and _ends_in_break(whole) else len(whole.rstrip())
        return int(node.end_mark.index)
    end = int(node.end_mark.index)
    if isinstance(node, (SequenceNode, MappingNode)) and node.value:
        closed = node.flow_style and text[end - 1] in "]}"  # a mapping in a flow list may have none: [a: b]
        last = node.value[-1]
        return end if closed else _end(text, last[1] if isinstance(last, tuple) else last)
    return end


@dataclass(frozen=True)
class _Child:
    """An entry under one of our keys: its name (path or flag), its text's place, and who put it there."""

    name: Any
    start: int
    end: int
    mark: re.Match[str] | None  # ours, with the owners; None: somebody else's

    @property
    def owners(self) -> list[str]:
        return _owners(self.mark) if self.mark else []


def _owners(mark: re.Match[str]) -> list[str]:
    return mark.group("owners").split(", ")


def _children(file: _File, key: str) -> list[_Child]:
    pair = file.pair(key)
    if pair is None or not isinstance(pair[1], (SequenceNode, MappingNode)):
        return []
    children = []
    for part in pair[1].value:
        first, last = part if isinstance(part, tuple) else (part, part)
        end = _end(file.text, last)
        mark = _MARK_BEHIND.match(file.text, end)
        mark = None if mark and mark.group("before") else mark
        if mark and _BREAK.search(file.text, first.start_mark.index, end):  # ours have one line each
            reason = f"an entry of {mark.group('owners')} runs together with what stands above it"
            fix = "give each a comma or a dash of its own"
            raise Refused([Problem(file.line(first.start_mark.index), reason, fix)])
        name = first.value if isinstance(first, ScalarNode) else None
        children.append(_Child(name, first.start_mark.index, end, mark))
    if isinstance(pair[1], SequenceNode):  # an alias among them has no value of its own here
        names = file.document.get(key) or []
        children = [_Child(name, c.start, c.end, c.mark) for name, c in zip(names, children)]
    return children


def _head(file: _File, key: str) -> re.Match[str] | None:
    """The mark between a key and its value: the key is ours, or what was there before was replaced. On the key's own
    line either; below it, among somebody's comments, only the second: null may stand on a line of its own."""
    pair = file.pair(key)
    if pair is None:
        return None
    text = file.text
    colon = re.compile(r"\s*:").match(text, pair[0].end_mark.index)
    at = colon.end() if colon else pair[0].end_mark.index
    first = True
    blank = re.compile(r"[ \t]*")
    while True:
        match = blank.match(text, at)
        assert match
        at = match.end()
        if at < len(text) and text[at] == "#":
            mark = _MARK.match(text, at)
            if mark and (first or mark.group("before")):
                return mark
        elif at < len(text) and not _BREAK.match(text, at):
            return None
        at, first = _line_end(text, at), False
        if at == len(text):
            return None


def _split(file: _File, key: str) -> re.Match[str] | None:
    """The mark where a flow collection that was on one line goes on in the next."""
    pair = file.pair(key)
    if pair is None or not isinstance(pair[1], (SequenceNode, MappingNode)) or not pair[1].flow_style:
        return None
    for part in pair[1].value:
        mark = _MARK_BEHIND.match(file.text, _end(file.text, part[1] if isinstance(part, tuple) else part))
        if mark and mark.group("before") and file.text.startswith(_ONE_LINE, mark.end()):
            return mark
    return None


def _key_marks(file: _File, key: str) -> list[re.Match[str]]:
    """Our marks that belong to the key or its value as a whole, not to one entry."""
    return [mark for mark in (_head(file, key), _split(file, key)) if mark]


def _comment(owners: Sequence[str]) -> str:
    return f"# pulumi stack {', '.join(owners)}"


def _rename(mark: re.Match[str], owners: Sequence[str]) -> _Edit:
    return _Edit(mark.start("owners"), mark.end("owners"), ", ".join(owners))


# ---- adding


def _scalar(value: str) -> str:
    """A string as YAML text that means it, in block and flow style alike."""
    if _PLAIN.match(value) and yaml.load(value, Loader=yaml.SafeLoader) == value:
        return value
    return '"' + "".join(f"\\{char}" if char in '"\\' else char for char in value) + '"'


def _wanted(key: str, entries: Entries) -> tuple[str, ...]:
    return tuple(dict.fromkeys(entries.registrations if key == REGISTRATIONS else entries.experimental_features))


def _texts(key: str, names: Sequence[str]) -> list[str]:
    return [_scalar(name) if key == REGISTRATIONS else f"{_scalar(name)}: true" for name in names]


def _add(text: str, key: str, entries: Entries, at_top: bool) -> str:
    """`text`, in which this owner has nothing, with its entries of one of the two keys."""
    file = _checked(text, entries)
    owner, note = entries.owner, f"  {_comment([entries.owner])}"
    children = _children(file, key)
    new: list[str] = []
    edits: list[_Edit] = []
    for name in _wanted(key, entries):
        held = [child for child in children if child.name == name]
        if not held:
            new.append(name)
        elif all(child.mark for child in held):  # another stack's alone: it is ours too from now on
            mark = held[0].mark
            assert mark
            edits.append(_rename(mark, [*_owners(mark), owner]))
    if not new and not edits:
        return text
    edits += [_rename(mark, [*_owners(mark), owner]) for mark in _key_marks(file, key)]
    margin = " " * file.root.start_mark.column
    dash = "- " if key == REGISTRATIONS else ""
    texts = _texts(key, new)

    def lines(indent: str) -> list[str]:
        return [f"{indent}{dash}{words}{note}" for words in texts]

    pair = file.pair(key)
    value = pair[1] if pair else None
    if not texts:
        pass
    elif value is None:
        at = _line_start(text, file.root.start_mark.index) if at_top else len(text)
        edits.append(_insertion(text, at, [f"{margin}{key}:{note}", *lines(f"{margin}  ")]))
    elif isinstance(value, (SequenceNode, MappingNode)) and not value.flow_style:
        edits.append(_insertion(text, _line_end(text, children[-1].end), lines(" " * value.start_mark.column)))
    elif children or _BREAK.search(text, value.start_mark.index, value.end_mark.index):
        edits += _into_flow(text, margin, value, children, texts, owner)
    else:  # nothing, ~, [] or {}
        start, end = value.start_mark.index, value.end_mark.index
        if start != end:
            edits.append(_Edit(start, start, f"{_comment([owner])}; before: "))
        edits.append(_insertion(text, _line_end(text, end), lines(f"{margin}  ")))
    return _apply(text, edits)


def _into_flow(
    text: str, margin: str, value: Node, children: Sequence[_Child], texts: Sequence[str], owner: str
) -> list[_Edit]:
    """Entries as lines of their own inside [ ] or { }, each with its comma, so that each line can go by itself."""
    note = f"  {_comment([owner])}"
    if not children:
        at = _line_end(text, value.start_mark.index)
        return [_insertion(text, at, [f"{margin}  {words},{note}" for words in texts])]
    last = children[-1]
    lead = text[_line_start(text, last.start) : last.start]
    indent = re.match("[ ]*", lead.lstrip("\ufeff"))
    margin_here = indent.group() if indent and not lead.strip(" ,") else f"{margin}  "
    rest = re.compile(r"[ \t]*(,?)[ \t]*(?:#[^\n\r\x85\u2028\u2029]*)?(?=[\n\r\x85\u2028\u2029])").match(text, last.end)
    if rest:
        comma = rest.group(1) == ","
        lines = [f"{margin_here}{words},{note}" if comma else f"{margin_here}, {words}{note}" for words in texts]
        return [_insertion(text, _line_end(text, last.end), lines)]
    feed = _line_break(text, last.end)
    lines = [f"{note}; before: {_ONE_LINE}", *(f"{margin}  , {words}{note}" for words in texts), f"{margin}  "]
    return [_Edit(last.end, last.end, feed.join(lines))]


def _settled(file: _File, entries: Entries) -> bool:
    """Whether the file holds just what this owner would add, so that there is nothing to do."""
    owner = entries.owner
    for key in KEYS:
        children, wanted = _children(file, key), _wanted(key, entries)
        mine = [child for child in children if owner in child.owners]
        if any(child.name not in wanted for child in mine):
            return False
        for name in wanted:
            held = [child for child in children if child.name == name]
            if not any(owner in child.owners or not child.mark for child in held):
                return False
        if not mine and any(owner in _owners(mark) for mark in _key_marks(file, key)):
            return False
    return True


def add(text: str, entries: Entries) -> str:
    """The file with this owner's entries in it, as wanted now: what it had before and wants no more goes.

    Unchanged if it holds them already, whoever put them there. Refused, with every problem that was found, if it
    cannot be done safely.
    """
    if _settled(_checked(text, entries), entries):
        return text
    base = remove(text, entries.owner)
    file = _checked(base, entries)
    want = expected(file.document, entries)
    for at_top in (False, True):  # the end is where people look; it does not do after an open block scalar
        new = base
        try:
            for key in KEYS:
                new = _add(new, key, entries, at_top)
            if _same(_meaning(new), want) and remove(new, entries.owner) == base:
                return new
        except Refused:
            continue
    raise Refused([_no_safe_edit(file)])


def _no_safe_edit(file: _File) -> Problem:
    """The refusal when every edit tried would break one of the two laws."""
    pair = file.pair(REGISTRATIONS) or file.pair(FEATURES)
    line = file.line(pair[0].start_mark.index) if pair else file.line(len(file.text))
    fix = f"write {REGISTRATIONS} and {FEATURES} in block style, one entry a line"
    if not _ends_in_break(file.text):
        fix = "end the file's last line with a line break"
    return Problem(line, "an edit here would change other settings or could not be undone", fix)


# ---- removing


def remove(text: str, owner: str) -> str:
    """The file without what carries this owner's mark; the rest, later edits by others included, stays as it is.

    What was replaced comes back; a key of ours stays while somebody else's entries are under it. Unchanged, and not
    even parsed, if the mark is nowhere in it. Refused if the file cannot be read or something else would change.
    """
    if not any(owner in _owners(mark) for mark in _MARK.finditer(text)):
        return text
    file = _read(text)
    if twice := list(_duplicates(file, file.root, among=KEYS)):
        raise Refused(twice)
    rest = dict(file.document)
    new = text
    for key in KEYS:
        now = _read(new)
        pair, children = now.pair(key), _children(now, key)
        gone = [n for n, child in enumerate(children) if set(child.owners) == {owner}]
        if pair and gone:
            if isinstance(pair[1], SequenceNode):
                rest[key] = [value for n, value in enumerate(rest[key]) if n not in gone]
            else:
                names = {children[n].name for n in gone}
                rest[key] = {name: value for name, value in rest[key].items() if name not in names}
        for step in (_remove_name, _remove_entries, _remove_head, _remove_split):
            new = step(new, key, owner)
    if new != text and not _leaves(_meaning(new), rest):
        reason = f"the lines of {owner} cannot be taken out without changing others"
        fix = "give each of its entries a line of its own, or take them out by hand"
        raise Refused([Problem(_first_line(text, owner), reason, fix)])
    return new


def _first_line(text: str, owner: str) -> int:
    return next(_line(text, mark.start()) for mark in _MARK.finditer(text) if owner in _owners(mark))


def _leaves(document: Any, rest: dict[Any, Any]) -> bool:
    """Whether `document` is `rest`, where a key of ours that is empty may be gone, null or empty."""
    if not isinstance(document, dict):
        return document is None and not any(rest.values())
    for key in KEYS:
        if not rest.get(key) and not document.get(key):
            rest = {name: value for name, value in rest.items() if name != key}
            document = {name: value for name, value in document.items() if name != key}
    return _same(document, rest)


def _remove_name(text: str, key: str, owner: str) -> str:
    """Where other stacks need a line too, only the owner's name goes."""
    file = _read(text)
    marks = [*(child.mark for child in _children(file, key) if child.mark), *_key_marks(file, key)]
    others = [(mark, [name for name in _owners(mark) if name != owner]) for mark in marks]
    return _apply(text, [_rename(mark, names) for mark, names in others if names and names != _owners(mark)])


def _remove_entries(text: str, key: str, owner: str) -> str:
    """Entries of this owner alone go with their lines."""
    gone = [child for child in _children(_read(text), key) if set(child.owners) == {owner}]
    return _without_lines(text, [(_line_start(text, child.start), _line_end(text, child.end)) for child in gone])


def _remove_head(text: str, key: str, owner: str) -> str:
    """A key of this owner alone goes with its line, or loses the mark if somebody has entries there; what the mark
    says was there before comes back."""
    file = _file_or_none(text)
    mark = _head(file, key) if file else None
    if file is None or mark is None or set(_owners(mark)) != {owner}:
        return text
    pair = file.pair(key)
    assert pair
    empty = isinstance(pair[1], ScalarNode)
    if mark.group("before"):
        if empty:
            return _apply(text, [_Edit(mark.start(), mark.end(), "")])
        old = _EMPTY.match(text, mark.end())
        tail = re.compile(r"[ \t]*").match(text, old.end() if old else mark.end())
        assert tail
        start = mark.start() if text.startswith("#", tail.end()) else len(text[: mark.start()].rstrip(" \t"))
        return _apply(text, [_Edit(start, tail.end(), "")])
    if empty:
        return _without_lines(text, [(_line_start(text, pair[0].start_mark.index), _line_end(text, mark.end()))])
    return _apply(text, [_Edit(len(text[: mark.start()].rstrip(" \t")), mark.end(), "")])


def _remove_split(text: str, key: str, owner: str) -> str:
    """A flow collection that this owner alone had split is joined again, as far as nobody wrote in between."""
    file = _file_or_none(text)
    mark = _split(file, key) if file else None
    if file is None or mark is None or set(_owners(mark)) != {owner}:
        return text
    end = mark.end() + len(_ONE_LINE)
    start = len(text[: mark.start("owners") - len("# pulumi stack ")].rstrip(" \t"))
    margin = " " * (file.root.start_mark.column + 2)
    joint = re.compile(rf"(?:\r\n|[\n\r]){margin}(?=[ \t]*,?[ \t]*[\]}}])").match(text, end)
    return _apply(text, [_Edit(start, joint.end() if joint else end, "")])


def _file_or_none(text: str) -> _File | None:
    """The file between two steps of a removal; None when nothing is left in it."""
    return None if _meaning(text) is None else _read(text)


# ---- meaning


def expected(document: dict[Any, Any], entries: Entries) -> dict[Any, Any]:
    """What the file must mean after `add`: the document as it was, with our entries."""
    result = dict(document)
    listed = document.get(REGISTRATIONS) or []
    new = [name for name in _wanted(REGISTRATIONS, entries) if name not in listed]
    if new:
        result[REGISTRATIONS] = [*listed, *new]
    flags = document.get(FEATURES) or {}
    raised = [name for name in _wanted(FEATURES, entries) if flags.get(name) is not True]
    if raised:
        result[FEATURES] = {**flags, **dict.fromkeys(raised, True)}
    return result


def missing(text: str, entries: Entries) -> tuple[str, ...]:
    """Our entries that the file does not hold, as `app_service_config_files: /data/x.yaml` and
    `experimental_features: flag`; empty if all is there, whoever put it there. Refused if it cannot be read."""
    document = _meaning(text)
    document = document if isinstance(document, dict) else {}
    listed, flags = document.get(REGISTRATIONS), document.get(FEATURES)
    listed, flags = listed if isinstance(listed, list) else [], flags if isinstance(flags, dict) else {}
    return (
        *(f"{REGISTRATIONS}: {name}" for name in _wanted(REGISTRATIONS, entries) if name not in listed),
        *(f"{FEATURES}: {name}" for name in _wanted(FEATURES, entries) if flags.get(name) is not True),
    )


def _same(one: Any, other: Any) -> bool:
    """Equal in value and type, all the way down; a NaN equals a NaN. Each pair is looked at once (aliases)."""
    todo, seen = [(one, other)], set()
    while todo:
        a, b = todo.pop()
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            if len(a) != len(b) or a.keys() != b.keys():
                return False
            todo += [(a[key], b[key]) for key in a]
        elif isinstance(a, (list, tuple)):
            if len(a) != len(b):
                return False
            todo += zip(a, b)
        elif a != b and not (a != a and b != b):
            return False
    return True
