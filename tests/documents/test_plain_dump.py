"""A dump that runs a shell on the host's Postgres, or becomes another user, when it is restored; an honest dump that is
refused."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from documents.backup.dump_script import is_dump_of
from documents.backup.plain_dump import check_dump_lines, read_accounts
from documents.refusal import Refused
from tests.host_programs.private_postgres import Postgres, postgres

__all__ = ["postgres"]

HONEST = b"""--
-- PostgreSQL database dump
--

\\restrict zX9

SET standard_conforming_strings = on;
CREATE TABLE public.portal (
    id text DEFAULT '\\x'::bytea NOT NULL,
    name text DEFAULT 'it''s; "quoted" -- not a comment'
);
COMMENT ON TABLE public.portal IS 'C:\\dir\\\\';
CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql AS $_$
BEGIN
  RETURN '\\! not a command; COPY x FROM stdin;';
END;
$_$;
COPY public.portal (id, name) FROM stdin;
1\ta\\nb
2\t\\N
3\t\\! echo
\\.


/* a /* nested */ \\! comment */
SELECT pg_catalog.setval('public.s', 1, true);
COPY public.empty (id) FROM stdin;
\\.
\\unrestrict zX9
"""


def run(text: bytes) -> list[bytes]:
    return list(check_dump_lines(io.BytesIO(text)))


def reason(text: bytes) -> str:
    with pytest.raises(Refused) as refused:
        run(text)
    return str(refused.value)


def test_an_honest_dump_passes_and_loses_its_restriction_alone() -> None:
    out = b"".join(run(HONEST))
    assert out == HONEST.replace(b"\\restrict zX9\n", b"\n").replace(b"\\unrestrict zX9\n", b"\n")


COMMANDS = [
    (b"\\! touch /tmp/x\n", 1),
    (b"select 1 \\g |sh\n", 1),
    (b"\\connect - synapse\n", 1),
    (b"select 1;\n\\copy x from '/etc/shadow'\n", 2),
    (b"\\restrict a b\n", 1),
    (b"select 'a\\\\' \\! sh\n", 1),  # two backslashes: the quote ends
    (b"select $a$ x $a$ \\! sh\n", 1),
    (b"select a$b$ \\! sh\n", 1),  # no quote: a name with a dollar in it
    (b"/* x\n*/ \\! sh\n", 2),
    (b"COPY a FROM stdin;\n\\.\n\\! sh\n", 3),
    (b"COPY a FROM stdin;\n\\.\r\n\\! sh\n", 3),  # psql takes this for the end, too
    (b"COPY a FROM '/x';\n\\! sh\n", 2),
    (b"/*\nCOPY a FROM stdin;\n*/ \\! sh\n\\.\n", 3),  # in a comment it begins nothing
    (b"select '\nCOPY a FROM stdin;\n' \\! sh\n\\.\n", 3),
    (b"(\nCOPY a FROM stdin;\n\\! sh\n", 3),  # in brackets the semicolon ends nothing
    (b"select 1 --\n\\! sh\n", 2),
    (b"--\r\\! sh\r\n", 1),  # psql's comment ends there, too
    (b"copy (select 1 as stdin from a) to stdout;\n\\! sh\n", 2),
    (b"copy a from '/x' where stdin;\n\\! sh\n", 2),
]


@pytest.mark.parametrize(("text", "line"), COMMANDS)
def test_a_command_of_psql_s_is_refused_with_its_line(text: bytes, line: int) -> None:
    assert reason(text).startswith(f"{line}: a command of psql's (a backslash outside of data and quotes)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"select '\0';\n", "1: a NUL byte"),
        (b"select E'\\' \\! sh';\n", "1: a backslash before a quote, which the server may read in two ways"),
        (b"create function f() returns int begin atomic\nCOPY a FROM stdin;\n\\! sh\n", "1: a body that is SQL"),
        (b"COPY a FROM stdin; select 1;\n", "1: more after COPY"),
        (b"select 1e$a$;\n\\! sh\n$a$;", "1: a dollar behind a number, which versions of psql read in different ways"),
        (b"select 1", "1: it ends in the middle of a statement"),
        (b"COPY a FROM stdin;\n1\n", "2: it ends in the middle"),
        (b"select 'a\n", "1: it ends in the middle"),
    ],
)
def test_what_cannot_be_told_is_refused(text: bytes, words: str) -> None:
    assert reason(text).startswith(words)


PIECES = [
    "'", '"', "$$", "$a$", "--", "/*", "*/", ";", "\n", "(", ")", "\\", "\\\\", "\\.", "\\.\n", "\r\n", " ", "\t", "E'",
    "COPY t FROM stdin;\n", "COPY t FROM stdin;", "copy t from STDIN ;\n", "select 1", "create function f() begin",
    "a$", "1", "1e", "\r", "(select 1 as stdin from t)", "to stdout", "$1", "x", ":", "U&'", "\\\\'", "\\'", "''",
]  # fmt: skip
RUN = "\\! touch ran\n"


@pytest.mark.law
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.sampled_from(PIECES), max_size=6))
@example(["(", "\n", "COPY t FROM stdin;\n"], ["\\.\n"])
@example(["create function f() begin", "x", ";", "\n", "COPY t FROM stdin;\n"], [])
def test_what_passes_runs_nothing_in_the_real_psql(
    postgres: Postgres, tmp_path: Path, before: list[str], after: list[str]
) -> None:
    """Whatever stands around it: where our reader takes a command for data, so does psql."""
    text = f"{''.join(before)}\n{RUN}{''.join(after)}\n".encode()
    try:
        lines = run(text)
    except Refused:
        return
    subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(postgres.socket), "-U", "synapse", "-f", "-", "postgres"],
        input=b"create temp table t (x text);\n" + b"".join(lines), capture_output=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert not (tmp_path / "ran").exists(), text


# what a dump tells of itself -------------------------------------------------------------------------------------

NAME = "mautrix_signal_20260131T235959Z.mautrix-bridges.sql.gz"
ACCOUNTS = b"""COPY public.crypto_account (account_id, device_id, account, key_backup_version) FROM stdin;
\tABC\t\\\\x616263\t
\tDEF\t\\\\x\t\\N
\\.
"""
END = b"--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict zX9\n\n"


def dump(*parts: bytes) -> io.BytesIO:
    return io.BytesIO(HONEST.replace(b"\\unrestrict zX9\n", b"") + b"".join(parts))


@pytest.mark.parametrize(
    ("parts", "accounts"),
    [
        ((ACCOUNTS, END), (b"abc", b"")),
        ((END,), ()),
        ((ACCOUNTS.replace(b"\\\\x61", b"\\\\x6"), END), (b"",)),  # another form of bytes
        ((ACCOUNTS.replace(b"account,", b"acc,"), END), ()),
        ((b"COPY public.note (text) FROM stdin;\n", ACCOUNTS, END), ()),  # somebody's text, in data
    ],
)
def test_a_dump_tells_what_its_key_opens(parts: tuple[bytes, ...], accounts: tuple[bytes, ...]) -> None:
    """The dump of a bridge with another key was restored, and nothing in it could be read."""
    assert read_accounts(dump(*parts)) == accounts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (dump(ACCOUNTS).getvalue(), "pg_dump's closing line is not at its end"),
        (dump(b"select '\n", END).getvalue(), "pg_dump's closing line is not at its end"),
        (dump(b"COPY public.note (text) FROM stdin;\n", END, b"\\.\n").getvalue(), "pg_dump's closing line is not at"),
        (b"\x00age-encryption.org\n", "it does not begin as a dump of pg_dump's"),
        (b"", "pg_dump's closing line is not at its end"),
        (dump(b"\\! sh\n", END).getvalue(), "a command of psql's"),
    ],
)
def test_what_is_no_whole_dump_is_refused_with_its_line(text: bytes, words: str) -> None:
    with pytest.raises(Refused, match=rf"^\d+: {re.escape(words)}"):
        read_accounts(io.BytesIO(text))


@pytest.mark.parametrize(
    ("name", "database", "mark", "is_its"),
    [
        (NAME, "mautrix_signal", "mautrix-bridges", True),
        (NAME, "mautrix_signal", "bridges", False),
        (NAME, "mautrix", "mautrix-bridges", False),
        (NAME.replace("signal", "whatsapp"), "mautrix_signal", "mautrix-bridges", False),
        (NAME.replace("31T", "32T"), "mautrix_signal", "mautrix-bridges", False),
        ("synapse_20260131_235959.sql.gz", "synapse", "mautrix-bridges", False),
    ],
)
def test_a_dump_s_name_tells_whose_it_is(name: str, database: str, mark: str, is_its: bool) -> None:
    """Another bridge's messages in this one's database."""
    assert is_dump_of(name, database, mark) is is_its
