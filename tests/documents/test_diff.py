"""A secret of homeserver.yaml or pg_backup.sh that `pulumi preview` shows because it stands near a change, and the
opposite: a diff in which our own lines cannot be read.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from documents import diff
from documents.backup.backup_script import DumpCall, add_call
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


@pytest.mark.parametrize(
    "old",
    [
        "experimental_features: {msc3861: {enabled: true, client_secret: 'XYZZY, }1', admin_token: XYZZY2}, b: 1}\n",
        "app_service_config_files: [/data/a.yaml]  # form_secret was XYZZY\n",
        "experimental_features: {}  # XYZZY\n",
        "experimental_features: ~ # XYZZY\n",
    ],
)
def test_of_a_line_of_his_that_is_replaced_nothing_but_our_mark_is_shown(old: str) -> None:
    """MAS's older settings live in experimental_features, and a flow mapping there has to be split."""
    shown = diff.make_diff(old, add_entries(old, ENTRIES), "h")
    assert "XYZZY" not in shown and "-…\n+…" in shown and f"+…  {MARK}\n" in shown
    assert f"msc3202_transaction_extensions: true  {MARK}\n" in shown


# As they stand in the backup scripts that people publish.
SECRETS = [
    "gpg --batch --passphrase XYZZY -c dump",
    "gpg --passphrase=XYZZY -c dump",
    "gpg --passphrase-file <(echo XYZZY)",
    "curl -u user:XYZZY https://example.org",
    "curl --user 'user:XYZZY' https://example.org",
    "curl -H 'Authorization: Bearer XYZZY' https://example.org",
    'curl -H "X-Api-Key: XYZZY" https://example.org',
    "curl https://user:XYZZY@example.org/",
    "curl 'https://example.org/upload?token=XYZZY'",
    "export PGPASSWORD=XYZZY",
    "PGPASSWORD='XYZZY' pg_dump synapse",
    "export RESTIC_PASSWORD=XYZZY",
    "AWS_SECRET_ACCESS_KEY=XYZZY aws s3 cp x s3://y",
    "mysql -pXYZZY",
    "openssl enc -aes-256-cbc -k XYZZY",
    "openssl enc -pass pass:XYZZY",
    "sshpass -p XYZZY scp x y:",
    "echo XYZZY | age -r age1 -e",
    "rclone --password-command 'echo XYZZY' copy x y:",
    "wget --http-password=XYZZY https://example.org",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_stands_around_our_call_in_a_backup_script_is_not_shown(secret: str) -> None:
    old = f"#!/bin/bash\nD=/b\n{secret}\npg_dump x | gzip > $D/x.gz\n{secret}\nfind $D -mtime +7 -delete\n{secret}\n"
    call = DumpCall("mautrix-signal/contabo", "/opt/matrix/mautrix-bridges/mautrix-backup.sh", "$D")
    new = add_call(old, call)
    shown = diff.make_diff(old, new, "/s", ours=True)
    assert "XYZZY" not in shown and re.search(r"@@ -\d+,0 \+\d+,3 @@\n\+# >>> mautrix-signal/contabo", shown)
    moved = diff.make_diff(new, add_call(new, replace(call, directory="/other")), "/s", ours=True)
    assert "XYZZY" not in moved and moved.count("mautrix-backup.sh") == 4, "our own line is shown"
