"""Pins what a careful person would do by hand in somebody's homeserver.yaml, case by case: where the lines go, how
they are marked, what comes back, and every refusal with its exact words. The laws are in test_homeserver_laws.py.
"""

from __future__ import annotations

import pytest
import yaml

from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from documents.homeserver.meaning import find_missing_entries
from documents.homeserver.removing import remove_entries
from documents.refusal import Problem, Refused

SIGNAL = Entries("mautrix-signal/contabo", ("/data/registration.yaml",), ("msc3202_transaction_extensions",))
WHATSAPP = Entries("mautrix-whatsapp/contabo", ("/data/wa.yaml",), ("msc3202_transaction_extensions",))
MARK = "# pulumi stack mautrix-signal/contabo"
BOTH = f"{MARK}, mautrix-whatsapp/contabo"
OTHER = "# pulumi stack mautrix-whatsapp/contabo"
LIST = Entries(SIGNAL.owner, SIGNAL.registrations)
FLAG = Entries(SIGNAL.owner, (), SIGNAL.experimental_features)


def test_absent_keys_go_to_the_end_each_line_marked() -> None:
    assert add_entries("server_name: x\n", SIGNAL) == (
        "server_name: x\n"
        f"app_service_config_files:  {MARK}\n"
        f"  - /data/registration.yaml  {MARK}\n"
        f"experimental_features:  {MARK}\n"
        f"  msc3202_transaction_extensions: true  {MARK}\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "app_service_config_files:\n- /a  # mine\n\n# next\nb: 1\n",
            f"app_service_config_files:\n- /a  # mine\n- /data/registration.yaml  {MARK}\n\n# next\nb: 1\n",
            id="a list that is not indented",
        ),
        pytest.param(
            "app_service_config_files:\n    -   '/a'\nb: 1\n",
            f"app_service_config_files:\n    -   '/a'\n    - /data/registration.yaml  {MARK}\nb: 1\n",
            id="a list indented by four",
        ),
        pytest.param(
            '"app_service_config_files":\r\n  - /a\r\nb: 1',
            f'"app_service_config_files":\r\n  - /a\r\n  - /data/registration.yaml  {MARK}\r\nb: 1',
            id="a quoted key, CRLF, no last line break",
        ),
        pytest.param(
            "\ufeffb: 1\r\napp_service_config_files:\r\n  - /a",
            f"\ufeffb: 1\r\napp_service_config_files:\r\n  - /a\r\n  - /data/registration.yaml  {MARK}",
            id="a byte order mark; the list ends the file without a line break",
        ),
        pytest.param(
            "app_service_config_files:  # none\n# - /old\nb: 1\n",
            f"app_service_config_files:  # none\n  - /data/registration.yaml  {MARK}\n# - /old\nb: 1\n",
            id="an empty value",
        ),
        pytest.param(
            "app_service_config_files: ~ # none\nb: 1\n",
            f"app_service_config_files: {MARK}; before: ~ # none\n  - /data/registration.yaml  {MARK}\nb: 1\n",
            id="a tilde",
        ),
        pytest.param(
            "app_service_config_files: [ ]\nb: 1\n",
            f"app_service_config_files: {MARK}; before: [ ]\n  - /data/registration.yaml  {MARK}\nb: 1\n",
            id="an empty flow list",
        ),
        pytest.param(
            "app_service_config_files:\n  null\nb: 1\n",
            f"app_service_config_files:\n  {MARK}; before: null\n  - /data/registration.yaml  {MARK}\nb: 1\n",
            id="null on a line of its own",
        ),
        pytest.param(
            "app_service_config_files: [/a, /b ] # two\nb: 1\n",
            f"app_service_config_files: [/a, /b  {MARK}; before: on one line\n"
            f"  , /data/registration.yaml  {MARK}\n   ] # two\nb: 1\n",
            id="a flow list on one line",
        ),
        pytest.param(
            "app_service_config_files: [\n  /a,\n  /b,  # two\n]\nb: 1\n",
            f"app_service_config_files: [\n  /a,\n  /b,  # two\n  /data/registration.yaml,  {MARK}\n]\nb: 1\n",
            id="a flow list with a comma at its end",
        ),
        pytest.param(
            "app_service_config_files: [\n  /a,\n  /b\n]\nb: 1\n",
            f"app_service_config_files: [\n  /a,\n  /b\n  , /data/registration.yaml  {MARK}\n]\nb: 1\n",
            id="a flow list over several lines",
        ),
        pytest.param(
            "app_service_config_files: [\n  # none\n]\nb: 1\n",
            f"app_service_config_files: [\n  /data/registration.yaml,  {MARK}\n  # none\n]\nb: 1\n",
            id="an empty flow list over several lines",
        ),
        pytest.param(
            "# app_service_config_files:\n#   - /old\nb: 1\n",
            "# app_service_config_files:\n#   - /old\nb: 1\n"
            f"app_service_config_files:  {MARK}\n  - /data/registration.yaml  {MARK}\n",
            id="a key that is commented out",
        ),
        pytest.param(
            "b: |\n  text",
            f"app_service_config_files:  {MARK}\n  - /data/registration.yaml  {MARK}\nb: |\n  text",
            id="a block scalar ends the file without a line break: a break there would be part of it",
        ),
        pytest.param(
            "\ufeffb: |\n  text",
            f"\ufeffapp_service_config_files:  {MARK}\n  - /data/registration.yaml  {MARK}\nb: |\n  text",
            id="the same behind a byte order mark, which stays the first",
        ),
        pytest.param(
            "b: |+\n  text\n\n\n",
            f"b: |+\n  text\n\n\napp_service_config_files:  {MARK}\n  - /data/registration.yaml  {MARK}\n",
            id="a block scalar that keeps the blank lines at the end",
        ),
        pytest.param(
            "app_service_config_files:\n  - |+\n    /a\n\n\nb: 1\n",
            f"app_service_config_files:\n  - |+\n    /a\n\n\n  - /data/registration.yaml  {MARK}\nb: 1\n",
            id="such a block scalar as the last entry",
        ),
    ],
)
def test_a_list_in_every_style(before: str, after: str) -> None:
    assert add_entries(before, LIST) == after
    assert remove_entries(after, SIGNAL.owner) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "experimental_features:\n    msc1: {a: 1}\n    msc2:\n      b: 2  # two\nc: 3\n",
            "experimental_features:\n    msc1: {a: 1}\n    msc2:\n      b: 2  # two\n"
            f"    msc3202_transaction_extensions: true  {MARK}\nc: 3\n",
            id="a block that ends in a nested value",
        ),
        pytest.param(
            "experimental_features: {msc1: false}\n",
            f"experimental_features: {{msc1: false  {MARK}; before: on one line\n"
            f"  , msc3202_transaction_extensions: true  {MARK}\n  }}\n",
            id="a flow mapping on one line",
        ),
        pytest.param(
            "experimental_features: {}",
            f"experimental_features: {MARK}; before: {{}}\n  msc3202_transaction_extensions: true  {MARK}",
            id="an empty flow mapping, no last line break",
        ),
        pytest.param(
            "x: &on true\nexperimental_features:\n  msc1: *on\n",
            f"x: &on true\nexperimental_features:\n  msc1: *on\n  msc3202_transaction_extensions: true  {MARK}\n",
            id="an alias as another flag's value",
        ),
    ],
)
def test_flags_in_every_style(before: str, after: str) -> None:
    assert add_entries(before, FLAG) == after
    assert remove_entries(after, SIGNAL.owner) == before


def test_an_entry_without_our_mark_is_neither_owned_nor_removed() -> None:
    by_hand = "app_service_config_files:\n- /data/registration.yaml\n"
    by_hand += "experimental_features: {msc3202_transaction_extensions: on}\n"
    assert add_entries(by_hand, SIGNAL) == by_hand
    assert remove_entries(by_hand, SIGNAL.owner) == by_hand
    more = Entries(SIGNAL.owner, ("/data/registration.yaml", "/data/doublepuppet.yaml"), SIGNAL.experimental_features)
    both = add_entries(by_hand, more)
    assert both.count(MARK) == 1 and f"- /data/doublepuppet.yaml  {MARK}" in both
    assert remove_entries(both, SIGNAL.owner) == by_hand


def test_paths_and_flags_that_need_quotes_are_quoted() -> None:
    odd = Entries("a/b", ("/data/a b: #c.yaml", 'C:\\x "y".yaml', "yes", "12", "/data/ü,].yaml"), ("null", "a: b"))
    for text in ("x: 1\n", "app_service_config_files: [a]\nexperimental_features: {a: 1}\n"):
        done = yaml.safe_load(add_entries(text, odd))
        assert done["app_service_config_files"][-5:] == list(odd.registrations)
        assert done["experimental_features"]["null"] is True and done["experimental_features"]["a: b"] is True


def test_two_stacks_share_a_flag_until_the_last_one_goes() -> None:
    plain = "server_name: x\n"
    one = add_entries(plain, SIGNAL)
    two = add_entries(one, WHATSAPP)
    assert two == (
        "server_name: x\n"
        f"app_service_config_files:  {BOTH}\n"
        f"  - /data/registration.yaml  {MARK}\n"
        f"  - /data/wa.yaml  {OTHER}\n"
        f"experimental_features:  {BOTH}\n"
        f"  msc3202_transaction_extensions: true  {BOTH}\n"
    )
    assert remove_entries(two, WHATSAPP.owner) == one
    assert remove_entries(two, SIGNAL.owner) == add_entries(plain, WHATSAPP)
    assert remove_entries(remove_entries(two, SIGNAL.owner), WHATSAPP.owner) == plain


def test_two_stacks_on_a_split_flow_list_and_a_replaced_value() -> None:
    plain = "app_service_config_files: [/a]\nexperimental_features: ~\n"
    two = add_entries(add_entries(plain, SIGNAL), WHATSAPP)
    assert two == (
        f"app_service_config_files: [/a  {BOTH}; before: on one line\n"
        f"  , /data/registration.yaml  {MARK}\n"
        f"  , /data/wa.yaml  {OTHER}\n"
        "  ]\n"
        f"experimental_features: {BOTH}; before: ~\n"
        f"  msc3202_transaction_extensions: true  {BOTH}\n"
    )
    for first, second in ((SIGNAL, WHATSAPP), (WHATSAPP, SIGNAL)):
        assert remove_entries(remove_entries(two, first.owner), second.owner) == plain


def test_a_name_that_begins_like_another_is_another_stack() -> None:
    long = Entries("mautrix-signal/contabo-2", ("/data/two.yaml",))
    two = add_entries(add_entries("x: 1\n", LIST), long)
    assert remove_entries(two, "mautrix-signal/contabo") == add_entries("x: 1\n", long)
    assert remove_entries(two, "mautrix-signal") == two


def test_somebodys_entries_under_our_keys_keep_them() -> None:
    ours = add_entries("server_name: x\n", SIGNAL)
    edited = ours.replace(
        f"  - /data/registration.yaml  {MARK}\n", f"  - /early\n  - /data/registration.yaml  {MARK}\n  - /late # mine\n"
    ) + ("  msc9999: true\nadded: later\n")
    assert remove_entries(edited, SIGNAL.owner) == (
        "server_name: x\napp_service_config_files:\n  - /early\n  - /late # mine\n"
        "experimental_features:\n  msc9999: true\nadded: later\n"
    )


def test_somebodys_entries_where_we_replaced_or_split() -> None:
    ours = add_entries("app_service_config_files: [/a] # x\nexperimental_features: ~ # none\n", SIGNAL)
    edited = ours.replace("\n  ]", "\n  , /late]") + "  msc9999: true\n"
    assert remove_entries(edited, SIGNAL.owner) == (
        "app_service_config_files: [/a\n  , /late] # x\nexperimental_features: # none\n  msc9999: true\n"
    )


def test_a_comment_of_somebodys_among_our_lines_stays() -> None:
    ours = add_entries("x: 1\n", SIGNAL)
    edited = ours.replace("  msc3202", "  # why is this here?\n\n  msc3202")
    assert remove_entries(edited, SIGNAL.owner) == "x: 1\n  # why is this here?\n\n"


def test_a_remark_after_our_mark_does_not_disown_the_line() -> None:
    ours = add_entries("x: 1\n", SIGNAL)
    edited = ours.replace(f"registration.yaml  {MARK}", f"registration.yaml {MARK} -- leave it, matt").replace(
        ":  #", ": #"
    )
    assert remove_entries(edited, SIGNAL.owner) == "x: 1\n"


def test_our_mark_inside_a_value_or_alone_is_text() -> None:
    for text in (
        f'note: "{MARK}"\n',
        f"note: |\n  app_service_config_files:  {MARK}\n    - /data/registration.yaml  {MARK}\n",
        f"note: 1  {MARK}\napp_service_config_files:\n- /a\n",
        f"app_service_config_files:\n{MARK}\nb: 1\n",
    ):
        assert remove_entries(text, SIGNAL.owner) == text
        assert remove_entries(add_entries(text, SIGNAL), SIGNAL.owner) == text


def test_add_again_keeps_somebodys_order() -> None:
    ours = add_entries("x: 1\n", SIGNAL).replace(
        f"  - /data/registration.yaml  {MARK}\n", f"  - /data/registration.yaml  {MARK}\n  - /late\n"
    )
    assert add_entries(ours, SIGNAL) == ours


def test_add_puts_back_what_somebody_took_out() -> None:
    ours = add_entries("x: 1\n", SIGNAL)
    broken = ours.replace(f"  - /data/registration.yaml  {MARK}\n", "")
    assert find_missing_entries(broken, SIGNAL) == ("app_service_config_files: /data/registration.yaml",)
    assert add_entries(broken, SIGNAL) == ours


def test_changed_entries_replace_the_old_ones() -> None:
    for plain in (
        "x: 1\n",
        "app_service_config_files: [/a]\nexperimental_features: {}",
        "experimental_features:\n  b: 1\n",
    ):
        for later in (LIST, FLAG, Entries(SIGNAL.owner, ("/data/other.yaml",), ("msc2409",)), Entries(SIGNAL.owner)):
            assert add_entries(add_entries(plain, SIGNAL), later) == add_entries(plain, later)


def test_a_missing_entry_is_named() -> None:
    assert find_missing_entries("x: 1\n", SIGNAL) == (
        "app_service_config_files: /data/registration.yaml",
        "experimental_features: msc3202_transaction_extensions",
    )
    assert find_missing_entries(add_entries("x: 1\n", SIGNAL), SIGNAL) == ()
    assert find_missing_entries(
        "app_service_config_files: x\nexperimental_features: []\n", SIGNAL
    ) == find_missing_entries("x: 1\n", SIGNAL)


INVALID = "fix this line, Synapse cannot load it either"
BLOCK_STYLE = (
    "write app_service_config_files and experimental_features in block style, one entry a line, without anchors, tags, "
    "aliases or merge keys, and end the last line of the file"
)
NO_LINES = "the top level is not `key: value` lines", "it should be the homeserver.yaml of the Synapse"
WRONG_LIST = "app_service_config_files has a value of the wrong type", "it should be a list of file names"
TURNED_OFF = (
    "experimental_features.msc3202_transaction_extensions is not true, but the bridge needs it",
    "set it to true, or delete the line, or set experimentalFeatures to false",
)
NOT_LOADABLE = (
    "a value that PyYAML cannot load (a date, a number, deep nesting?)",
    "quote the value that is meant as text",
)
REFUSALS = [
    ("", 1, *NO_LINES),
    ("# a\n---\n", 3, *NO_LINES),
    ("\n- a\n", 2, *NO_LINES),
    ("{a: 1}\n", 1, *NO_LINES),
    (
        "app_service_config_files: []\r\n'app_service_config_files': []\r\n",
        2,
        "app_service_config_files is set a second time (first on line 1)",
        "keep one of them",
    ),
    ("a: 1\n---\nb: 1\n", 2, "a second YAML document starts here", "keep one document in the file"),
    ("a: !secret b\n", 1, "not valid YAML (could not determine a constructor for the tag …)", INVALID),
    ("a: &x [a]\napp_service_config_files: *x\n", 2, *WRONG_LIST),
    (
        "x: &x\n  app_service_config_files: [a]\n<<: *x\n",
        1,
        "an edit here would change other settings or could not be undone",
        BLOCK_STYLE,
    ),
    ("app_service_config_files: /a\n", 1, *WRONG_LIST),
    ("app_service_config_files: {}\n", 1, *WRONG_LIST),
    ("app_service_config_files: ['']\n- 1\n", 2, "not valid YAML (expected <block end>, but found '-')", INVALID),
    (
        "experimental_features: []\n",
        1,
        "experimental_features has a value of the wrong type",
        "it should be a mapping of flags",
    ),
    ("experimental_features:\n  # off, see ticket\n  msc3202_transaction_extensions: no\n", 3, *TURNED_OFF),
    ("experimental_features:\n  msc3202_transaction_extensions:\n", 2, *TURNED_OFF),
    ("experimental_features:\n  msc3202_transaction_extensions: 'true'\n", 2, *TURNED_OFF),
    ("a: [1\nb: 2\n", 2, "not valid YAML (expected ',' or ']', but got ':')", INVALID),
    ("a: 1\n\tb: 2\n", 2, "not valid YAML (found character … that cannot start any token)", INVALID),
    ("a: 1\r\nb: x\0y\r\n", 2, "not valid YAML (special characters are not allowed)", INVALID),
    ("a: 1\nb: \x1b[0m\n", 2, "not valid YAML (special characters are not allowed)", INVALID),
    ("a: 2024-13-45\n", 1, *NOT_LOADABLE),
    ("a: " + "[" * 3000, 1, *NOT_LOADABLE),
    (
        "experimental_features:\n  a: |\n    text",
        1,
        "an edit here would change other settings or could not be undone",
        BLOCK_STYLE,
    ),
]


@pytest.mark.parametrize(("text", "line", "reason", "fix"), REFUSALS, ids=[f"{n}" for n in range(len(REFUSALS))])
def test_a_file_that_no_safe_edit_fits_is_refused_with_line_and_fix(
    text: str, line: int, reason: str, fix: str
) -> None:
    with pytest.raises(Refused) as refused:
        add_entries(text, SIGNAL)
    assert refused.value.problems == (Problem(line, reason, fix),)
    assert str(refused.value) == f"{line}: {reason}: {fix}"
    assert refused.value.lines("/opt/m/homeserver.yaml") == (f"/opt/m/homeserver.yaml:{line}: {reason}: {fix}",)


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    text = "experimental_features: {msc3202_transaction_extensions: false}\napp_service_config_files: 1\n"
    with pytest.raises(Refused) as refused:
        add_entries(text, SIGNAL)
    assert [problem.line for problem in refused.value.problems] == [1, 2]
    assert len(str(refused.value).splitlines()) == 2


def test_a_flag_of_ours_that_somebody_turned_off_is_a_conflict() -> None:
    ours = add_entries("x: 1\n", SIGNAL).replace("extensions: true", "extensions: false")
    with pytest.raises(Refused, match="is not true, but the bridge needs it"):
        add_entries(ours, SIGNAL)
    assert remove_entries(ours, SIGNAL.owner) == "x: 1\n"


def test_a_refusal_does_not_quote_the_file() -> None:
    """An unquoted password that starts with * or & is an alias or an anchor to YAML."""
    for text in ("password: *hunter22\n", "password: &hunter22\npw: &hunter22 x\n", "password: %hunter22\n"):
        with pytest.raises(Refused) as refused:
            add_entries(text, SIGNAL)
        assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2\na: 3\n",
        "a: 1\n...\n",
        "experimental_features: {m: 1, m: 2}\n",
        "app_service_config_files: !!seq [a]\n",
        "app_service_config_files: &x [a]\n",
        "app_service_config_files: &x\n",
        "app_service_config_files:\n- /a\n- !!str /b\n",
        "app_service_config_files:\n- /a\n- 1\n",
        "x: &x {a: true}\nexperimental_features:\n  <<: *x\n",
        "x: &x a\nexperimental_features:\n  *x : true\n",
    ],
)
def test_what_synapse_runs_with_is_edited_right(text: str) -> None:
    """A refusal of a style, or of another key that is set twice, would be no use to anybody."""
    before = yaml.safe_load(text)
    done = add_entries(text, SIGNAL)
    assert yaml.safe_load(done) == {
        **before,
        "app_service_config_files": [*(before.get("app_service_config_files") or []), "/data/registration.yaml"],
        "experimental_features": {
            **(before.get("experimental_features") or {}),
            "msc3202_transaction_extensions": True,
        },
    }
    assert remove_entries(done, SIGNAL.owner) == text


def test_remove_does_not_need_a_good_file_when_nothing_is_ours() -> None:
    for text in ("", "a: [", "a: 1\na: 2\n", "\0", "a: 1\n---\nb: 2\n"):
        assert remove_entries(text, SIGNAL.owner) == text


def test_remove_refuses_what_it_cannot_check() -> None:
    ours = add_entries("x: 1\n", SIGNAL)
    with pytest.raises(Refused, match=r"^6: not valid YAML"):
        remove_entries(f"{ours}]", SIGNAL.owner)
    with pytest.raises(Refused, match="app_service_config_files is set a second time"):
        remove_entries(f"{ours}app_service_config_files: []\n", SIGNAL.owner)
    joined = ours.replace(f"  - /data/registration.yaml  {MARK}", f"  - /data/registration.yaml  {MARK}\n    more")
    with pytest.raises(Refused):
        remove_entries(joined, SIGNAL.owner)
    on_one = "app_service_config_files: [\n/a, /data/registration.yaml  # pulumi stack mautrix-signal/contabo\n]\n"
    with pytest.raises(Refused, match="cannot be taken out without changing others"):
        remove_entries(on_one, SIGNAL.owner)


def test_another_duplicate_does_not_stop_a_removal() -> None:
    ours = add_entries("x: 1\n", SIGNAL)
    assert remove_entries(f"{ours}y: 1\ny: 2\n", SIGNAL.owner) == "x: 1\ny: 1\ny: 2\n"


@pytest.mark.parametrize(
    "entries",
    [*(Entries(owner, ("/a",)) for owner in ("", "a b", "a,b", "a, b", "#a", "ü", "a\nb", "a;b"))],
    ids=lambda entries: repr(entries.owner),
)
def test_an_owner_that_a_comment_cannot_hold_is_refused(entries: Entries) -> None:
    with pytest.raises(Refused, match="could not be undone"):
        add_entries("x: 1\n", entries)


@pytest.mark.parametrize("entry", ["", "a\nb", "a\0", "\u2028"])
def test_an_odd_entry_is_quoted(entry: str) -> None:
    done = add_entries("x: 1\n", Entries("a", (entry,)))
    assert yaml.safe_load(done)["app_service_config_files"] == [entry]
    assert remove_entries(done, "a") == "x: 1\n"
