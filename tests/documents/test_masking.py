"""Pins the failure of a token that leaves in an error message: in any spelling, next to anything, cut anywhere."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.masking import clean_log, find_secrets, find_spellings, mask

# Long and without repetition, as random tokens are, with such characters as need encoding
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+=._-~"
secrets = st.permutations(ALPHABET).flatmap(lambda signs: st.integers(32, 64).map(lambda n: "".join(signs[:n])))


@given(st.text(), secrets, st.text())
def test_no_spelling_of_a_secret_is_left(before: str, secret: str, after: str) -> None:
    around = before.encode() + secret.encode() + after.encode()
    spellings = {
        secret,
        quote(secret, safe=""),
        base64.b64encode(around).decode(),
        base64.urlsafe_b64encode(around).decode(),
    }
    for spelling in spellings:
        text = mask(f"{before}{spelling}{after}", [secret])
        assert secret not in text and quote(secret, safe="") not in text
        for start in range(0, len(spelling) - 40, 4):
            piece = spelling[start : start + 40]
            assert piece not in text or not _within(piece, secret)


def _within(piece: str, secret: str) -> bool:
    """Whether a base64 piece, wherever it begins, holds 24 bytes of the secret and nothing else."""
    return any(piece in form or form in piece for form in find_spellings([secret]))


@given(secrets, st.integers(8, 31))
def test_a_token_that_the_end_cuts_off_is_masked(secret: str, length: int) -> None:
    text = mask("body " + secret[:length], [secret])
    assert secret[:8] not in text and text.startswith("body ")


@given(st.text(), st.lists(st.just("")))
def test_without_secrets_nothing_changes(text: str, none: list[str]) -> None:
    assert mask(text, none) == text


def test_the_longer_of_two_goes_first() -> None:
    short = "abcdefghijklmnopqrst"
    assert mask(f"{short} {short}uvwxyz01 ab", [short, f"{short}uvwxyz01"]) == "abcd… abcd… ab"
    assert mask("pw: hunter2", ["hunter2"]) == "pw: …"


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("\x1b[31mERR\x1b[0m x", "ERR x"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer …"),
        ("GET /sync?access_token=syt_bWF0dA_abcdefgh_123&since=1", "GET /sync?access_token=…&since=1"),
        ('{"as_token": "abcdefgh12345678"}', '{"as_token": "…"}'),
        ("postgres://mautrix_signal:p4ss@matrix-postgres:5432/x", "postgres://mautrix_signal:…@matrix-postgres:5432/x"),
        ("got mat_Ab12345678_x and mct_Ab12345678", "got mat_… and mct_…"),
        ("http://matrix-mas:8080/ at 10:00:00", "http://matrix-mas:8080/ at 10:00:00"),
        ("user @matt:echo6.co matched mat_short", "user @matt:echo6.co matched mat_short"),
    ],
)
def test_clean_hides_other_peoples_too(log: str, shown: str) -> None:
    assert clean_log(log, []) == shown


@pytest.mark.parametrize(
    "line",
    [
        "+ mysqldump -phunter2 x", "+ mysql --password=hunter2", "+ gpg --batch --passphrase hunter2 -c x",
        "+ openssl enc -aes-256-cbc -k hunter2", "+ openssl enc -pass pass:hunter2", "+ sshpass -p hunter2 scp a b:",
        "+ 7z a -phunter2 x", "+ zip -P hunter2 x y", "+ lftp -u me,hunter2 sftp://x", "+ smbclient //x -U me%hunter2",
        "+ curl -H 'X-Api-Key: hunter2' x", "Cookie: session=hunter2", "https://x/?sv=1&sig=hunter2&x=1",
        "https://api.telegram.org/bot123456:hunter2aaaaaa/send", "https://discord.com/api/webhooks/123/hunter2abc",
        "password=hunter2 host=x", "+ wget --http-password=hunter2 x",
    ],
)  # fmt: skip
def test_what_a_command_is_given_is_hidden(line: str) -> None:
    """`set -x` in a script that failed in the proof: 19 of 32 forms were shown."""
    assert "hunter2" not in clean_log(line, []) and line[:6] in clean_log(line, [])


def test_secrets_of_a_document_are_the_values_whose_keys_look_secret() -> None:
    loop: dict[str, object] = {"password": "p1", "n": {"tokens": ["t1", 7, True, None]}, "key_path": "/k", "a": "b"}
    loop["self"] = loop
    assert sorted(find_secrets(loop)) == ["7", "p1", "t1"]


# ---- whatever is to be hidden, in every encoding

LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="…")
SPELLINGS: list[Callable[[str], str]] = [
    lambda secret: secret,
    lambda secret: quote(secret, safe=""),
    quote,
    quote_plus,
    lambda secret: re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    lambda secret: json.dumps(json.dumps(secret))[3:-3],
    lambda secret: json.dumps(json.dumps(secret, ensure_ascii=False), ensure_ascii=False)[3:-3],
    lambda secret: quote(json.dumps(secret)[1:-1]),
]


@given(
    st.lists(st.text(LETTERS, min_size=8, max_size=40), min_size=1, max_size=3),
    st.lists(st.tuples(st.text(LETTERS, max_size=6), st.integers(0, 2), st.sampled_from(SPELLINGS)), max_size=6),
)
def test_whatever_is_to_be_hidden_is_in_no_output_in_any_encoding(
    hidden: list[str], parts: list[tuple[str, int, Callable[[str], str]]]
) -> None:
    text = "".join(before + spell(hidden[which % len(hidden)]) for before, which, spell in parts) + " end"
    for shown in (mask(text, hidden), clean_log(text, hidden)):
        for secret in hidden:
            assert not [spell for spell in SPELLINGS if spell(secret) in shown], (secret, shown)


@given(st.text(LETTERS, min_size=8, max_size=40), st.binary(max_size=9), st.binary(max_size=9))
def test_nor_in_base64_inside_of_something_longer(secret: str, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        coded = encode(before + secret.encode() + after).decode()
        assert not [form for form in find_spellings([secret]) if len(form) > 9 and form in mask(coded, [secret])]


@given(st.text(LETTERS, min_size=1, max_size=7), st.text())
def test_a_short_secret_goes_as_it_is(secret: str, text: str) -> None:
    assert secret not in mask(f"{text}{secret}{text}", [secret])


# ---- the shapes of real logs

LOGS = sorted((Path(__file__).parent / "corpus/logs").glob("*.log"))


def test_the_log_corpus_is_not_empty() -> None:
    assert len(LOGS) == 6


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_in_a_log_of_that_shape_every_secret_goes_and_everything_else_stays(path: Path) -> None:
    text = path.read_text()
    shown = clean_log(text, ())
    assert not re.findall(r".*S3CR3T.*", shown)
    assert clean_log(shown, ()) == shown
    if "PRIVATE KEY" not in text:
        for before, after in zip(text.splitlines(), shown.splitlines(), strict=True):
            assert ("S3CR3T" in before) or before == after


@pytest.mark.parametrize(
    "piece",
    ["a-", 'password="', "A_TOKEN", "://", "\\", "authorization: ", "token=", "'", "mysql -p", "x-", "zip ", "-pass"],
)
def test_a_long_line_takes_no_time_of_its_length_s_square(piece: str) -> None:
    """In seconds of the processor, not of the clock: a pattern that goes back again and again would take minutes."""
    line = piece * (200_000 // len(piece))
    began = time.process_time()
    clean_log(line, ())
    assert time.process_time() - began < 20
