"""A secret of homeserver.yaml or pg_backup.sh that `pulumi preview` shows because it stands near a change, and the
opposite: a diff in which our own lines cannot be read.
"""

from __future__ import annotations

import pytest

from documents import diff
from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries

ENTRIES = Entries("mautrix-signal/contabo", ("/data/registration.yaml",), ("msc3202_transaction_extensions",))
MARK = "# pulumi stack mautrix-signal/contabo"


def test_no_difference_is_no_text() -> None:
    assert diff.make_diff("a: 1\n", "a: 1\n", "/x") == ""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_our_lines_are_whole_and_nothing_about_them_is_shown(end: str) -> None:
    """Of a last line without an end, too: it gets one before ours."""
    old = "server_name: x\nmacaroon_secret_key: 'abc'\nexperimental_features:\n  a: 1\nform_secret: \"d # e\"\nlast: 1"
    old = old.replace("\n", end)
    assert diff.make_diff(old, add_entries(old, ENTRIES), "/opt/m/homeserver.yaml") == (
        "--- a/opt/m/homeserver.yaml\n"
        "+++ b/opt/m/homeserver.yaml\n"
        "@@ -4,0 +5 @@\n"
        f"+  msc3202_transaction_extensions: true  {MARK}\n"
        "@@ -6,0 +8,2 @@\n"
        f"+app_service_config_files:  {MARK}\n"
        f"+  - /data/registration.yaml  {MARK}\n"
    )


def test_a_changed_line_hides_its_secrets() -> None:
    """MAS's older settings live in experimental_features, and a flow mapping there has to be split."""
    old = "experimental_features: {msc3861: {enabled: true, client_secret: 'S, }1', admin_token: S2}, b: 1}\n"
    shown = diff.make_diff(old, add_entries(old, ENTRIES), "h")
    assert "S, }1" not in shown and "S2" not in shown
    assert "-experimental_features: {msc3861: {enabled: true, client_secret: …, admin_token: …}, b: 1}\n" in shown
    assert f"+  , msc3202_transaction_extensions: true  {MARK}\n" in shown


@pytest.mark.parametrize(
    "line",
    [
        "password: XYZZY",
        "password: '''XYZZY'''",
        "password: ''XYZZY",
        'registration_shared_secret: "XY\\"ZZY XYZZY"',
        "turn_shared_secret: XYZZY  # since 2024",
        "database: {args: {user: u, password: XYZZY, host: h}}",
        'database: {"args": {"user": "u", "password": "XYZZY"}}',
        "uri: postgres://synapse:XYZZY@db/synapse?sslmode=disable",
        "redis: {url: 'redis://:XYZZY@redis:6379'}",
        "# old_password: XYZZY",
        "#password: XYZZY",
        "macaroon_secret_key: 'XYZZY",
    ],
)
def test_no_secret_of_a_line_is_shown(line: str) -> None:
    hidden = diff.hide_secrets(line)
    assert "XYZZY" not in hidden and diff.HIDDEN in hidden


@pytest.mark.parametrize(
    "line",
    [
        "signing_key_path: /data/x.signing.key",
        "turn_shared_secret_path: /run/secrets/turn",
        "registration_requires_token: true",
        "macaroon_secret_key:",
        "macaroon_secret_key: ~",
        "database:  {args: {user: synapse, host: db}}",
        "public_baseurl: https://matrix.echo6.co:8448/",
        "- /data/secret-token.yaml",
    ],
)
def test_values_that_only_look_secret_stay_visible(line: str) -> None:
    assert diff.hide_secrets(line) == line
