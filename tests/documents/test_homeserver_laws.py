"""The laws of the homeserver.yaml edit, on generated files and on a corpus of realistic ones.

parse(add(f)) == parse(f) + our entries; remove(add(f)) == f byte for byte; with somebody's edits in between only ours
goes; twice is once; without add nothing changes; two stacks do not disturb each other. What the file means is worked
out here with yaml.safe_load alone, not with the module's own ideas of it. Pins the silent failure: a file that looks
edited right and means something else, or a rollback that leaves a trace.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from documents.homeserver.meaning import expected_document, find_missing_entries
from documents.homeserver.removing import remove_entries
from documents.refusal import Refused

CORPUS = {
    path.stem: path.read_bytes().decode() for path in sorted(Path(__file__).parent.glob("corpus/homeserver/*.yaml"))
}
KEYS = ("app_service_config_files", "experimental_features")
SIGNAL = Entries(
    "mautrix-signal/contabo",
    ("/data/registration.yaml", "/data/doublepuppet.yaml"),
    ("msc3202_transaction_extensions", "msc2409_to_device_messages_enabled"),
)
WHATSAPP = Entries(
    "mautrix-whatsapp/contabo",
    ("/data/wa.yaml", "/data/doublepuppet.yaml"),
    ("msc3202_transaction_extensions", "msc4190"),
)
OTHERS = [
    Entries("s/1", ("/data/registration.yaml",)),
    Entries("s/2", (), ("msc3202_transaction_extensions",)),
    Entries("s/3"),
    SIGNAL,
    WHATSAPP,
]
BUDGET = settings(suppress_health_check=[HealthCheck.too_slow])


def meaning(text: str) -> Any:
    """As Synapse's loader has it; NaN and what holds itself (an alias inside its anchor) made comparable."""
    return comparable(yaml.safe_load(text))


def comparable(value: Any, above: tuple[int, ...] = ()) -> Any:
    if id(value) in above:
        return "what it is in"
    above = (*above, id(value))
    if isinstance(value, dict):
        return {key: comparable(item, above) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item, above) for item in value]
    return "NaN" if value != value else value


def plus(document: dict[str, Any], entries: Entries) -> dict[str, Any]:
    document = copy.deepcopy(document)
    for path in entries.registrations:
        if path not in (document.get(KEYS[0]) or []):
            document[KEYS[0]] = [*(document.get(KEYS[0]) or []), path]
    for flag in entries.experimental_features:
        document[KEYS[1]] = {**(document.get(KEYS[1]) or {}), flag: True}
    return document


def obeys(text: str, entries: Entries) -> str:
    """Both laws and both idempotences on one file."""
    done = add_entries(text, entries)
    assert meaning(done) == plus(meaning(text), entries)
    assert remove_entries(done, entries.owner) == text
    assert add_entries(done, entries) == done
    assert find_missing_entries(done, entries) == ()
    assert expected_document(yaml.safe_load(text), entries).keys() == meaning(done).keys()
    there = text.lstrip("\ufeff").splitlines()
    added = [line for line in done.lstrip("\ufeff").splitlines() if line not in there]
    assert all(entries.owner in line or line.strip() in ("]", "}") or line.strip()[:1] in "]},#" for line in added)
    return done


def variants(text: str) -> list[str]:
    """The same file with other line ends, with a byte order mark, without its last line break."""
    text = text.replace("\r\n", "\n")
    bare = text.rstrip("\n")
    kinds = [text.replace("\n", "\r\n"), bare.replace("\n", "\r\n"), text, bare]
    return [start + kind for start, kind in itertools.product(("", "\ufeff"), kinds)]


def loads(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), dict)
    except (yaml.YAMLError, ValueError):
        return False


# ---- the corpus


def test_the_corpus_is_not_empty() -> None:
    assert len(CORPUS) >= 10
    assert all(any(key in meaning(text) for text in CORPUS.values()) for key in KEYS)


@pytest.mark.parametrize("name", CORPUS)
def test_the_laws_on_a_realistic_file(name: str) -> None:
    for text in variants(CORPUS[name]):
        obeys(text, SIGNAL)
        assert remove_entries(text, SIGNAL.owner) == text


@pytest.mark.parametrize("name", CORPUS)
def test_two_stacks_on_a_realistic_file(name: str) -> None:
    text = CORPUS[name]
    two = add_entries(obeys(text, SIGNAL), WHATSAPP)
    assert meaning(two) == plus(plus(meaning(text), SIGNAL), WHATSAPP)
    without = remove_entries(two, SIGNAL.owner)
    assert find_missing_entries(without, WHATSAPP) == ()
    assert remove_entries(without, WHATSAPP.owner) == text
    assert remove_entries(remove_entries(two, WHATSAPP.owner), SIGNAL.owner) == text
    assert add_entries(two, SIGNAL) == two


@pytest.mark.parametrize("name", CORPUS)
def test_somebodys_edits_elsewhere_stand(name: str) -> None:
    """A comment, a blank line, a new setting between any two top-level settings, made after us or without us."""
    text = CORPUS[name]
    margin = "  " if text.startswith("  ") else ""
    done = add_entries(text, SIGNAL)
    for edit in ("# somebody was here\n", "\n", f"{margin}added_later: {{a: [1]}}\n"):
        for anchor in ("report_stats", "presence", "modules", "retention", "turn_uris", "enable_metrics", "rc_login",
                       "  user_consent", "suppress_key_server_warning", "signing_key_path", "listeners",
                       "require_auth_for_profile_requests"):  # fmt: skip
            if f"\n{anchor}:" in text:
                with_us = done.replace(f"\n{anchor}:", f"\n{edit}{anchor}:")
                without_us = text.replace(f"\n{anchor}:", f"\n{edit}{anchor}:")
                assert remove_entries(with_us, SIGNAL.owner) == without_us
                break
        else:
            pytest.fail("no place for an edit in this file: name one")


# ---- generated files

words = st.sampled_from(
    ["/data/irc.yaml", "'/data/it''s.yaml'", '"/data/q\\u00e9.yaml"', "/data/registration.yaml", "b-3"]
)
flags = st.sampled_from(["msc1: true", "msc2: false", "'msc3': {a: [1, 2]}", 'msc4: "x # y"', "msc5:  off"])
note = st.sampled_from(["", "", "  # note", " # a\ttab", " #"])
gap = st.sampled_from(["", "", "\n", "# comment\n", "\n\n# app_service_config_files:\n#  - /x\n", "   \n"])
OTHER = [
    'server_name: "x.org"\n',
    "database:\n    name: psycopg2\n    args: {password: 'a: b # c', host: db}\n",
    "listeners:\n- port: 8008\n  resources:\n  - names: [client]\n",
    "text: |\n  # pulumi stack mautrix-signal/contabo\n  app_service_config_files: [x]\n\n",
    "keep: |+\n   two blank lines\n\n\n",
    "fold: >-\n  a\n  b\n",
    "plain: over\n  several lines\n",
    'quoted: "over\n  several\n\n  lines"\n',
    "anchor: &a {k: 1}\nalias: *a\nmerged: {<<: *a}\n",
    "nothing:\n",
    "'odd key: #': ~\n",
    "? explicit\n: value\n",
    "flow: [1, {a: b}, [\n  x]]\n",
]


@st.composite
def blocks(draw: st.DrawFn, key: str) -> str:
    """One of our keys in one of the ways people write it; not always there."""
    name = draw(st.sampled_from([key, f'"{key}"', f"'{key}'"]))
    items = draw(st.lists(words if key == KEYS[0] else flags, min_size=1, max_size=3, unique=True))
    if key == KEYS[1] and draw(st.booleans()):
        items.append("msc3202_transaction_extensions: true")
    open_, close = "[]" if key == KEYS[0] else "{}"
    dash = "- " if key == KEYS[0] else ""
    style = draw(
        st.sampled_from(["absent", "block", "empty", "null", "null below", "flow empty", "flow", "flow lines"])
    )
    if style == "absent":
        return ""
    head = f"{name}:"
    if style == "block":
        indent = " " * draw(st.sampled_from([0, 1, 2, 4] if dash else [1, 2, 4]))
        gaps = st.sampled_from(["", "", "\n", "  # between\n"])
        return f"{head}{draw(note)}\n" + "".join(f"{draw(gaps)}{indent}{dash}{item}{draw(note)}\n" for item in items)
    if style == "empty":
        return f"{head}{draw(note)}\n"
    if style in ("null", "null below"):
        value = draw(st.sampled_from(["~", "null", "Null", "NULL"]))
        return f"{head}{' ' if style == 'null' else draw(note) + chr(10) + '   '}{value}{draw(note)}\n"
    inner = draw(st.sampled_from(["", " "]))
    if style == "flow empty":
        broken = draw(st.booleans())
        return f"{head} {open_}{inner}{draw(note) + chr(10) if broken else ''}{close}{draw(note)}\n"
    comma = draw(st.sampled_from(["", ",", " ,"]))
    if style == "flow":
        return f"{head} {open_}{inner}{', '.join(items)}{comma}{inner}{close}{draw(note)}\n"
    lines = ",\n".join(f"    {item}" for item in items)
    end = draw(st.sampled_from(["\n", "\n  ", " "]))
    last = draw(note) if end != " " else ""
    return f"{head} {open_}{draw(note)}\n{lines}{comma}{last}{end}{close}{draw(note)}\n"


@st.composite
def files(draw: st.DrawFn) -> str:
    others = draw(st.lists(st.sampled_from(OTHER), min_size=1, max_size=5, unique=True))
    parts = draw(st.permutations([*others, draw(blocks(KEYS[0])), draw(blocks(KEYS[1]))]))
    text = draw(st.sampled_from(["", "---\n", "%YAML 1.1\n---\n", "# first\n"])) + "".join(p + draw(gap) for p in parts)
    if draw(st.booleans()):
        text = "".join(f"  {line}" if line.strip() and line[0] not in "%-" else line for line in text.splitlines(True))
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text


good = files().filter(loads)


@BUDGET
@given(good, st.sampled_from(OTHERS))
@example("\ufeffa: 1\nb: |\n  x", OTHERS[0])  # ours come first, behind the byte order mark of the line that was first
def test_the_laws_on_any_file(text: str, entries: Entries) -> None:
    obeys(text, entries)
    assert remove_entries(text, entries.owner) == text


@BUDGET
@given(good, st.lists(st.sampled_from(OTHERS), min_size=2, max_size=4, unique_by=lambda e: e.owner), st.randoms())
def test_any_number_of_stacks_come_and_go_in_any_order(text: str, stacks: list[Entries], random: Any) -> None:
    done = text
    for entries in stacks:
        done = add_entries(done, entries)
    there = list(stacks)
    random.shuffle(stacks)
    for entries in stacks:
        done = remove_entries(done, entries.owner)
        there.remove(entries)
        assert all(find_missing_entries(done, other) == () for other in there)
        wanted = meaning(text)
        for other in there:
            wanted = plus(wanted, other)
        now = meaning(done)
        assert sorted(now.get(KEYS[0]) or []) == sorted(wanted.get(KEYS[0]) or [])
        assert (now.get(KEYS[1]) or {}) == (wanted.get(KEYS[1]) or {})
        assert add_entries(done, there[0]) == done if there else True
    assert done == text


@BUDGET
@given(good, st.sampled_from(OTHERS), st.sampled_from(OTHERS))
def test_changed_entries_converge(text: str, before: Entries, after: Entries) -> None:
    first = Entries("s/one", before.registrations, before.experimental_features)
    then = Entries("s/one", after.registrations, after.experimental_features)
    assert add_entries(add_entries(text, first), then) == add_entries(text, then)


# With the margin of the line above it, unless it begins at the left.
BY_HAND = [" - /by/hand.yaml", " by_hand: true", "# by hand", "", " , /by/hand.yaml", " by_hand: true,"]


@BUDGET
@given(good, st.integers(0, 200), st.sampled_from(BY_HAND))
@example("app_service_config_files: [\n  /a.yaml]\n", 1, " by_hand: true,")  # a mapping in the list
@example('\ufeffapp_service_config_files:\nserver_name: "x.org"\n', 0, " by_hand: true")  # the mark stays the first
@example("a: 1\napp_service_config_files: [\n    /a.yaml ]\n", 2, " by_hand: true")  # with the line below, a mapping
@example(  # without a comma it is one entry with ours, which would go with it
    '%YAML 1.1\n---\nserver_name: "x.org"\nplain: over\n  several lines\n\napp_service_config_files: [\n]\n\n'
    "experimental_features:\n   ~\n\n",
    92,
    " by_hand: true",
)
def test_remove_takes_only_ours_whatever_was_added_meanwhile(text: str, place: int, new: str) -> None:
    """Somebody adds an entry of each kind by hand, wherever a line of ours or theirs ends, and comments."""
    done = add_entries(text, SIGNAL)
    lines = done.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in done else "\n"
    place = max(place % (len(lines) + 1), done.startswith("\ufeff"))
    above = lines[place - 1] if place else ""
    margin = above[: len(above) - len(above.lstrip(" "))]
    line = margin + new[1:] if new.startswith(" ") else new
    edited = "".join(lines[:place]) + line + end + "".join(lines[place:])
    if not loads(edited):
        return
    try:
        left = remove_entries(edited, SIGNAL.owner)
    except Refused:
        return  # better no edit than a wrong one; the exact cases that must work are in test_homeserver.py
    want, got = meaning(edited), meaning(left)
    ours, flags_ours = set(SIGNAL.registrations), set(SIGNAL.experimental_features)
    before = meaning(text)
    keep = {path for path in before.get(KEYS[0]) or [] if isinstance(path, str)}
    kept_flags = set(before.get(KEYS[1]) or {})
    gone = [*(ours - keep)]  # a list: what stands beside them may be a mapping, which no set can be asked for
    wanted = [path for path in want.get(KEYS[0]) or [] if path not in gone]
    if edited.count("/by/hand.yaml") and "/by/hand.yaml" in wanted:
        assert "/by/hand.yaml" in got[KEYS[0]]
    assert (got.get(KEYS[0]) or []) == wanted
    flags_left = {k: v for k, v in (want.get(KEYS[1]) or {}).items() if k not in flags_ours - kept_flags}
    assert (got.get(KEYS[1]) or {}) == flags_left
    rest = [{k: v for k, v in doc.items() if k not in KEYS} for doc in (want, got)]
    assert rest[0] == rest[1]
    assert SIGNAL.owner not in "".join(line for line in left.splitlines(True) if line not in text)


DAMAGE = [
    "",
    "\n",
    "\r",
    "\x85",
    "\t",
    "  ",
    "]",
    "}",
    "[",
    "{",
    "#",
    ": ",
    "- ",
    ",",
    "?",
    "&a ",
    "*a",
    "!!str ",
    "|",
    "~",
]
DAMAGE += ["'", '"', "---\n", "...\n", "\ufeff", "\0"]


def test_a_value_that_holds_itself_is_no_obstacle() -> None:
    obeys("server_name: x.org\nlimits: &all\n  address: *all\n", SIGNAL)


@settings(max_examples=2 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(CORPUS)), st.data())
def test_a_damaged_file_is_edited_right_or_refused(name: str, data: st.DataObject) -> None:
    """A few characters deleted, doubled or put in anywhere: nothing but `Refused` may come, and no wrong file."""
    text = CORPUS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        size = data.draw(st.integers(0, 12))
        put = data.draw(st.sampled_from(DAMAGE))
        text = text[:at] + put + text[at + size * data.draw(st.integers(0, 1)) :]
    try:
        done = add_entries(text, SIGNAL)
    except Refused as refused:
        assert refused.problems and all(
            1 <= p.line <= text.count("\n") + text.count("\r") + 1 for p in refused.problems
        )
        return
    assert meaning(done) == plus(meaning(text), SIGNAL)
    assert remove_entries(done, SIGNAL.owner) == text


@settings(max_examples=2 * settings().max_examples)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@`,?\n\r\t ~x\ufeff\0\x85"), max_size=40))
def test_rubbish_is_refused_or_edited_right(text: str) -> None:
    try:
        done = add_entries(text, SIGNAL)
    except Refused:
        return
    assert meaning(done) == plus(meaning(text), SIGNAL)
    assert remove_entries(done, SIGNAL.owner) == text
