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


def test_our_lines_are_whole_and_secrets_about_them_are_not() -> None:
    old = "server_name: x\nmacaroon_secret_key: 'abc'\nexperimental_features:\n  a: 1\nform_secret: \"d # e\"\nlast: 1"
    assert diff.make_diff(old, add_entries(old, ENTRIES), "/opt/m/homeserver.yaml") == (
        "--- a/opt/m/homeserver.yaml\n"
        "+++ b/opt/m/homeserver.yaml\n"
        "@@ -2,5 +2,8 @@\n"
        " macaroon_secret_key: …\n"
        " experimental_features:\n"
        "   a: 1\n"
        f"+  msc3202_transaction_extensions: true  {MARK}\n"
        " form_secret: …\n"
        "-last: 1\n"
        "\\ No newline at end of file\n"
        "+last: 1\n"
        f"+app_service_config_files:  {MARK}\n"
        f"+  - /data/registration.yaml  {MARK}\n"
        "\\ No newline at end of file\n"
    )


def test_a_changed_line_hides_its_secrets_too() -> None:
    """MAS's older settings live in experimental_features, and a flow mapping there has to be split."""
    old = "experimental_features: {msc3861: {enabled: true, client_secret: 'S, }1', admin_token: S2}, b: 1}\n"
    shown = diff.make_diff(old, add_entries(old, ENTRIES), "h")
    assert "S, }1" not in shown and "S2" not in shown
    assert "-experimental_features: {msc3861: {enabled: true, client_secret: …, admin_token: …}, b: 1}\n" in shown
    assert f"+  , msc3202_transaction_extensions: true  {MARK}\n" in shown


SECRET = [
    "password: XYZZY",
    "password: '''XYZZY'''",
    "password: ''XYZZY",
    'registration_shared_secret: "XY\\"ZZY XYZZY"',
    "turn_shared_secret: XYZZY  # since 2024",
    "macaroon_secret_key: |\n  XYZZY\n  XYZZY\n\nnext: 1",
    "form_secret: >-\n    XYZZY",
    "pepper: over\n  XYZZY\n  lines",
    "database: {args: {user: u, password: XYZZY, host: h}}",
    'database: {"args": {"user": "u", "password": "XYZZY"}}',
    "secrets:\n  echo6.co: XYZZY\n  list: [XYZZY, {deep: XYZZY}]",
    "password: &p XYZZY\nother: *p",
    "password: !!str XYZZY",
    "uri: postgres://synapse:XYZZY@db/synapse?sslmode=disable",
    "redis: {url: 'redis://:XYZZY@redis:6379'}",
    "# old_password: XYZZY",
    "#password: XYZZY",
    "a: [\npassword: XYZZY",
    "macaroon_secret_key: 'XYZZY",
]


@pytest.mark.parametrize("text", SECRET)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_secret_of_a_yaml_file_is_in_its_diff(text: str, end: str) -> None:
    text = text.replace("\n", end)
    hidden = diff.conceal(text)
    assert "XYZZY" not in hidden and diff.HIDDEN in hidden
    assert hidden.count(end) == text.count(end)


@pytest.mark.parametrize(
    "text",
    [
        "export PGPASSWORD=XYZZY",
        "PGPASSWORD='XYZ ZY XYZZY' pg_dump",
        'AWS_SECRET_ACCESS_KEY="XYZZY$A"',
        "curl -u https://backup:XYZZY@host/ #!/bin/bash",
        'restic_password="XYZZY"; restic backup',
    ],
)
def test_no_secret_of_a_script_is_in_its_diff(text: str) -> None:
    hidden = diff.conceal(f"#!/bin/bash\n{text}\nif [ 1 ]; then\n")
    assert "XYZZY" not in hidden and diff.HIDDEN in hidden


@pytest.mark.parametrize(
    "text",
    [
        "signing_key_path: /data/x.signing.key",
        "turn_shared_secret_path: /run/secrets/turn",
        "registration_requires_token: true",
        "macaroon_secret_key:",
        "macaroon_secret_key: ~",
        "suppress_key_server_warning: true\ntrusted_key_servers:\n  - server_name: matrix.org",
        "database:\n  args: {user: synapse, host: db}",
        "public_baseurl: https://matrix.echo6.co:8448/",
        'PGPASSWORD="${DB_PASSWORD}" pg_dump',
        "TOKEN=$(cat /run/token)",
        "app_service_config_files:\n- /data/secret-token.yaml",
    ],
)
def test_values_that_only_look_secret_stay_visible(text: str) -> None:
    assert diff.conceal(text) == text


def test_secrets_of_a_document_are_the_values_that_are_hidden() -> None:
    loop: dict[str, object] = {"password": "p1", "n": {"tokens": ["t1", 7, True, None]}, "key_path": "/k", "a": "b"}
    loop["self"] = loop
    assert sorted(diff.find_secrets(loop)) == ["7", "p1", "t1"]
