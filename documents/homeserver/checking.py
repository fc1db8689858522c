"""Whether a homeserver.yaml can hold our entries, with every reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS, Entries
from documents.homeserver.reading import MERGE_TAG, NULL_TAG, STR_TAG, HomeserverFile, find_duplicates, read_file
from documents.refusal import Problem, Refused


def _find_obstacles(file: HomeserverFile, key: str, flags: Sequence[str]) -> Iterator[Problem]:
    """Reasons why no entry can be written under one of our two keys. `flags` have to be true there."""
    pair = file.pair(key)
    if pair is None:
        if key in file.document:
            merge = next((k for k, _ in file.root.value if k.tag == MERGE_TAG), file.root)
            at = file.line(merge.start_mark.index)
            yield Problem(at, f"{key} comes from a merge key (<<)", f"write {key} out at the top level")
        return
    node, value = pair
    for part in (node, value):
        if id(part) in file.decorated:
            reason = {"tag": "a tag", "anchor": "an anchor (&)", "alias": "an alias (*)"}[file.decorated[id(part)]]
            yield Problem(file.line(part.start_mark.index), f"{key} has {reason}", f"write {key} without it")
            return
    if isinstance(value, ScalarNode) and value.tag == NULL_TAG:
        return
    shape: type[Node] = SequenceNode if key == REGISTRATIONS else MappingNode
    if not isinstance(value, shape):
        word = "a list of file names" if key == REGISTRATIONS else "a mapping of flags"
        at = file.line(value.start_mark.index)
        yield Problem(at, f"{key} has a value of the wrong type", f"it should be {word}")
    elif isinstance(value, SequenceNode):
        yield from _find_registration_obstacles(file, value)
    elif isinstance(value, MappingNode):
        yield from find_duplicates(file, value, f"{key}.")
        yield from _find_flag_obstacles(file, value, flags)


def _find_registration_obstacles(file: HomeserverFile, listed: SequenceNode) -> Iterator[Problem]:
    for child, item in zip(listed.value, file.document[REGISTRATIONS]):
        at = file.line(child.start_mark.index)
        if file.decorated.get(id(child)) == "tag":
            yield Problem(at, f"an entry of {REGISTRATIONS} has a tag", "write it without the tag")
        elif not isinstance(item, str):
            yield Problem(at, f"an entry of {REGISTRATIONS} is no file name", "it should be text")


def _find_flag_obstacles(file: HomeserverFile, features: MappingNode, needed: Sequence[str]) -> Iterator[Problem]:
    for name, setting in features.value:
        at, flag = file.line(name.start_mark.index), f"{FEATURES}.{name.value}"
        if name.tag == MERGE_TAG:
            yield Problem(at, f"{FEATURES} has a merge key (<<)", "write its flags out")
        elif file.decorated.get(id(name)) == "alias":
            yield Problem(at, f"{FEATURES} has an alias for a key", "write the flag's name out")
        elif name.value in needed and name.tag == STR_TAG:
            value = file.document[FEATURES].get(name.value)
            if file.decorated.get(id(setting)) == "tag":
                yield Problem(at, f"{flag} has a tag", "write it without the tag")
            elif value is False or value is None:
                reason = f"{flag} is {'false' if value is False else 'empty'}, but the bridge needs it true"
                fix = "set it to true, or delete the line, or set experimentalFeatures to false"
                yield Problem(at, reason, fix)
            elif value is not True:
                yield Problem(at, f"{flag} has a value of the wrong type", "it should be true")


def read_writable_file(text: str, entries: Entries) -> HomeserverFile:
    """The file, if it can hold these entries. Raises Refused with every reason why it cannot."""
    file = read_file(text)
    problems = list(find_duplicates(file, file.root, among=KEYS))
    if file.ended is not None:
        problems.append(Problem(file.line(file.ended), "the document ends here (...)", "delete the line"))
    if not problems:
        for key in KEYS:
            problems += _find_obstacles(file, key, entries.experimental_features)
    if problems:
        raise Refused(problems)
    return file
