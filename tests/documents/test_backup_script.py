"""A script of the operator's that is changed elsewhere than promised, a call at a place where it is never reached, a
plain dump beside encrypted ones, a problem that is told only after the one before it is solved.

That a shell runs the result as it should is tested in tests/host_programs/test_backup_call.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall
from documents.backup.dump_script import parse_dump_script_owner, render_dump_script
from documents.backup.script_check import BackupScriptCheck, check_backup_script
from documents.backup.script_commands import ENCRYPTION, STOP, UPLOAD, search_code
from documents.marks import is_sealed
from documents.refusal import Refused
from tests.facts import whole

CORPUS = {path.name: path.read_bytes().decode() for path in Path(__file__).parent.glob("corpus/*/*.sh")}
CASES = {
    path.stem.split("-")[0] if path.stem[0] == "B" else path.stem: path.read_bytes().decode()
    for path in Path(__file__).parent.glob("corpus/backup_cases/*.sh")
}
OWN = "/var/backups/mautrix-bridges"
SIGNAL = DumpCall("mautrix-signal/contabo", "/opt/matrix/mautrix-bridges/mautrix-backup.sh", "${BACKUP_DIR}")
WHATSAPP = DumpCall("mautrix-whatsapp/contabo", "/opt/matrix/mautrix-whatsapp/mautrix-backup.sh", "/srv/dumps")
TEMPLATE = (Path(backup_script.__file__).parents[2] / "host_programs/backup/bridge_backup.sh").read_text()
CALL = (
    "mautrix_status=$?; [ ! -x /opt/matrix/mautrix-bridges/mautrix-backup.sh ] || "
    "/opt/matrix/mautrix-bridges/mautrix-backup.sh \"${BACKUP_DIR-}\" >/dev/null || trap 'exit 1' EXIT; "
    '(exit "$mautrix_status") && :'
)
ADDED = [
    "# >>> mautrix-signal/contabo (added by Pulumi)",
    CALL,
    "# <<< mautrix-signal/contabo (added by Pulumi)",
]


def test_the_corpus_is_not_empty() -> None:
    assert len(CORPUS) == 37 and len(CASES) == 29


# ---- laws

LINES = [
    "#!/bin/bash", "set -euo pipefail", "BACKUP_DIR=/srv", "pg_dump synapse | gzip > $BACKUP_DIR/s.gz", "main() {", "}",
    "find /srv -mtime +14 -delete", "  find /srv -delete", "rclone copy /srv r:", "exit 0", "exit $?", "", "# note",
    "trap cleanup EXIT", "cat <<END", "END", "if true; then", "fi", 'main "$@"', "\té\r", "\x0c", "ls -1t x | tail",
    "# >>> mautrix-whatsapp/contabo", "# <<< mautrix-whatsapp/contabo",
]  # fmt: skip
scripts = st.one_of(
    st.sampled_from(sorted(CORPUS.values())),
    st.tuples(st.lists(st.sampled_from(LINES), max_size=14), st.sampled_from(["", "\n"])).map(
        lambda made: "\n".join(made[0]) + made[1]
    ),
    st.text(alphabet=st.sampled_from("ab#\n \\\t\r'\"><$"), max_size=40),
)


@given(scripts, st.sampled_from([SIGNAL, replace(SIGNAL, directory=OWN)]), st.booleans())
@example("", SIGNAL, False)
@example("\n", SIGNAL, False)
@example("a", SIGNAL, False)
@example("#!/bin/sh", replace(SIGNAL, directory=OWN), False)
def test_taken_out_it_is_the_script_byte_for_byte_and_a_second_time_changes_nothing(
    text: str, call: DumpCall, at_end: bool
) -> None:
    try:
        done = backup_script.add_call(text, call, at_end)
    except Refused as refused:
        assert refused.problems[0].reason.startswith("goes on in the next line")
        return
    assert backup_script.remove_call(done, call.owner) == text
    assert backup_script.add_call(done, call) == done
    assert backup_script.remove_call(text, call.owner) == text


@given(scripts, st.booleans())
@example("# >>> mautrix-whatsapp/contabo\nexit 0\n# <<< mautrix-whatsapp/contabo", False)  # not a place for ours
def test_two_owners_come_and_go_in_any_order(text: str, first: bool) -> None:
    try:
        done = backup_script.add_call(backup_script.add_call(text, SIGNAL), WHATSAPP)
        there = backup_script.remove_call(text, WHATSAPP.owner) != text or "whatsapp" in text
    except Refused:
        return
    one, two = (SIGNAL, WHATSAPP) if first else (WHATSAPP, SIGNAL)
    left = backup_script.remove_call(done, one.owner)
    assert one.command not in left and two.command in left
    if not there:
        assert backup_script.remove_call(left, two.owner) == text


@given(scripts)
def test_a_changed_call_takes_the_place_of_the_old_one(text: str) -> None:
    other = DumpCall(SIGNAL.owner, "/elsewhere/dump.sh", "/srv/other")
    try:
        assert backup_script.add_call(backup_script.add_call(text, SIGNAL), other) == backup_script.add_call(
            text, other
        )
    except Refused:
        return


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(1, 3650))
def test_any_filter_comes_back_from_the_dump_script(command: str, days: int) -> None:
    """As bash reads it: one word in quotes, which no text can leave."""
    import shlex

    made = render_dump_script(TEMPLATE, whole())
    plan = whole(backupDays=str(days))
    text = render_dump_script(TEMPLATE, replace(plan, backup=replace(plan.backup, filter=command)))
    rest = text.partition("\nfilter=")[2]
    assert rest.startswith(shlex.quote(command) + "\nsuffix=")
    assert (
        f"\ndays={days}\n" in text
        and made.partition("set -uo")[2].splitlines()[:-1] == (text.partition("set -uo")[2].splitlines()[:-1])
    )


# ---- the place


def placed(text: str, call: DumpCall = SIGNAL) -> tuple[str, str]:
    """The lines before and after the call."""
    lines = ["", *backup_script.add_call(text, call).split("\n"), ""]
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"# >>> {call.owner}"))
    return lines[begin - 1], lines[begin + 3]


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("pg_dump a\nfind x -delete\nexit 0\n", "pg_dump a", "find x -delete"),
        ("pg_dump a\nsay\nrclone copy x y:\n", "say", "rclone copy x y:"),
        ("pg_dump a\n/usr/bin/restic backup x\n", "pg_dump a", "/usr/bin/restic backup x"),
        ("pg_dump a\nls -1t x | tail -n +8 | xargs rm\n", "pg_dump a", "ls -1t x | tail -n +8 | xargs rm"),
        ("find x -delete\npg_dump a\necho done\n", "echo done", ""),
        ("pg_dump a\n  find x -delete\necho done\n", "echo done", ""),
        ("pg_dump a\nclean() { find x -delete; }\nclean\n", "clean", ""),
        ("pg_dump a\n# find x\nexit 0\n", "# find x", "exit 0"),
        ("pg_dump a\nexit 0\n\n# end\n", "pg_dump a", "exit 0"),
        ("tar cf x y\nfind z\n", "find z", ""),
        ("", "", ""),
    ],
)
def test_it_goes_where_a_person_would_put_it(text: str, before: str, after: str) -> None:
    assert placed(text) == (before, after)


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        ("#!/bin/bash\n", "pg_dump a\nexit 0\n"),
        ("#!/bin/bash\n# Nightly.\nset -euo pipefail\n", "\n# where\nDIR=x\n"),
        ("#!/bin/sh\n\nset -e\n# why\nset -o nounset # all\n", "main() {\nexit\n}\nmain\n"),
        ("#!/bin/bash\n# Nightly.\n#\n", "\n# where\nDIR=x\nset -e\n"),
        ("#!/bin/bash\n", "set -- $(cat list)\n"),
        ("", "pg_dump a\n"),
        ("", ": <<'END'\n# no comment\nEND\n"),
        ("#!/bin/bash\n# all\n", ""),
    ],
)
def test_with_a_directory_of_its_own_it_stands_at_the_head_where_nothing_can_end_before_it(
    head: str, rest: str
) -> None:
    """Behind `main`, which exits, it was never reached; behind a `tar` of a scratch directory it was in no archive."""
    done = backup_script.add_call(head + rest, replace(SIGNAL, directory=OWN))
    call = CALL.replace("${BACKUP_DIR-}", OWN)
    assert done == "\n".join([*head.splitlines(), ADDED[0], call, ADDED[2], rest])


def test_a_block_or_an_empty_pair_that_stands_somewhere_stays_there_and_so_do_the_operator_s_own_marks() -> None:
    text = "main() {\n  pg_dump a\n  # >>> mautrix-signal/contabo\n  # <<< mautrix-signal/contabo\n}\nmain\nfind x\n"
    done = backup_script.add_call(text, SIGNAL)
    assert done == text.replace("  # <<<", f"  {CALL}\n  # <<<")
    assert backup_script.add_call(done, SIGNAL) == done
    assert backup_script.remove_call(done, SIGNAL.owner) == text


def test_what_somebody_put_between_the_marks_is_never_written_over_and_never_taken_away() -> None:
    text = "pg_dump a\n# >>> mautrix-signal/contabo\nexit 0\n# <<< mautrix-signal/contabo\n"
    with pytest.raises(Refused, match=r"^3: stands between the marks of mautrix-signal/contabo, where only its call"):
        backup_script.add_call(text, SIGNAL)
    assert backup_script.remove_call(text, SIGNAL.owner) == text
    ours = "\n".join(["pg_dump a", *ADDED, ""]).replace(CALL, f"mine\n{CALL}")
    assert backup_script.remove_call(ours, SIGNAL.owner) == "pg_dump a\nmine\n"


@pytest.mark.parametrize("lines", [ADDED[:1], ADDED[2:], ADDED[::-1], [*ADDED, *ADDED], [ADDED[0], *ADDED]])
def test_marks_that_are_no_pair_are_refused_with_their_line(lines: list[str]) -> None:
    text = "\n".join(["pg_dump a", *lines, "find x", ""])
    words = r"^2: the marks of mautrix-signal/contabo should be one pair, .*: put the"
    with pytest.raises(Refused, match=words):
        backup_script.add_call(text, SIGNAL)
    with pytest.raises(Refused, match=words):
        backup_script.remove_call(text, SIGNAL.owner)


def test_a_line_that_goes_on_is_not_cut() -> None:
    with pytest.raises(Refused, match=r"^2: goes on in the next line, before which the call would stand: put the two"):
        backup_script.add_call("pg_dump a\nsay \\\nfind x\n", SIGNAL)
    assert backup_script.add_call("pg_dump a\nsay \\\\\nfind x\n", SIGNAL)


def test_the_call_goes_in_as_three_lines_before_the_clean_up() -> None:
    text = "BACKUP_DIR=x\npg_dump a\nfind x\n"
    assert backup_script.add_call(text, SIGNAL).split("\n") == ["BACKUP_DIR=x", "pg_dump a", *ADDED, "find x", ""]
    assert (
        backup_script.text_above_call(backup_script.add_call(text, SIGNAL), SIGNAL.owner) == "BACKUP_DIR=x\npg_dump a\n"
    )
    quoted = backup_script.add_call(text, DumpCall("s/t", "/opt/my scripts/dump.sh", "/srv/dumps"))
    assert "[ ! -x '/opt/my scripts/dump.sh' ] || '/opt/my scripts/dump.sh' \"/srv/dumps\" >/dev/null ||" in quoted


def test_a_line_of_his_between_our_marks_is_not_taken_for_ours() -> None:
    his = "[ ! -x /usr/bin/age ] || /usr/bin/age -h >/dev/null || true"
    done = backup_script.add_call("#!/bin/sh\npg_dump a\n", SIGNAL).replace(CALL, f"{CALL}\n{his}")
    assert his in backup_script.remove_call(done, SIGNAL.owner)


@pytest.mark.parametrize("call", [SIGNAL, replace(SIGNAL, directory=OWN)], ids=["among his", "at the head"])
def test_a_formatter_does_not_make_our_call_his(call: DumpCall) -> None:
    """shfmt makes three lines of it. They were taken for the operator's: refused, and left behind by a removal."""
    text = "#!/bin/bash\nBACKUP_DIR=x\npg_dump a\nfind x\n"
    done = backup_script.add_call(text, call)
    (line,) = [line for line in done.split("\n") if line.startswith("mautrix_status=")]
    formatted = done.replace(line, "\n".join(f"\t{part}" for part in line.split("; ")))
    assert formatted.count("\n") == done.count("\n") + 2
    assert backup_script.remove_call(formatted, call.owner) == text
    assert backup_script.add_call(formatted, call) == done


def test_a_script_with_an_exit_trap_of_its_own_keeps_it() -> None:
    done = backup_script.add_call("trap 'rm -f $tmp' EXIT\npg_dump a\n", SIGNAL)
    assert "|| echo 'a dump failed; the EXIT trap of this script decides its exit status' >&2; (exit" in done
    assert "|| trap 'exit 1' EXIT;" in backup_script.add_call("trap - EXIT\n# trap x EXIT\npg_dump a\n", SIGNAL)


# ---- the shell


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("#!/bin/bash", "bash"), ("#!/usr/bin/env bash", "bash"), ("#! /bin/sh -eu", "sh"), ("#!/bin/dash", "dash"),
        ("#!/bin/busybox sh", "sh"), ("#!/usr/bin/env -S bash -eu", "bash"), ("#!/bin/mksh", "mksh"),
        ("#!/usr/bin/env -S bash -e", "bash"), ("#!/usr/bin/env LC_ALL=C zsh", "zsh"), ("", "sh"), ("pg_dump", "sh"),
    ],
)  # fmt: skip
def test_the_first_line_tells_the_shell_and_anything_else_is_refused(first: str, shell: str) -> None:
    assert backup_script.find_interpreter(f"{first}\necho\n") == shell


@pytest.mark.parametrize("first", ["#!/usr/bin/python3", "#!/usr/bin/env perl", "#!/usr/bin/fish", "#!"])
def test_what_is_no_shell_script_is_refused_with_the_way_out(first: str) -> None:
    with pytest.raises(Refused, match=r"^1: is a script for .*: set backupScript to none: the host then runs our dump"):
        backup_script.find_interpreter(f"{first}\n")


# ---- the verdict


def judged(text: str, **config: str) -> BackupScriptCheck:
    return check_backup_script(text, whole(**config))


def told(lines: tuple[str, ...], *begin: str) -> bool:
    """Whether these lines are told, each without the script's path and as far as it is given."""
    path = "/opt/matrix/scripts/pg_backup.sh:"
    texts = [line.removeprefix(path) for line in lines]
    assert all(line.startswith(path) for line in lines) and len(texts) == len(begin), texts
    return all(text.startswith(words) for text, words in zip(texts, begin, strict=True))


def numbers(lines: tuple[str, ...]) -> list[int]:
    assert all(line.startswith("/opt/matrix/scripts/pg_backup.sh:") for line in lines)
    return [int(line.split(":")[1]) for line in lines]


DIRECTORY, ENCRYPTS = "1: backupDir is", "encrypts its dumps,"


@pytest.mark.parametrize("case", sorted(set(CASES) - {"N01-crlf", "N01-bom"}))
def test_with_a_directory_of_its_own_every_healthy_script_will_do(case: str) -> None:
    """What a script does with its own dumps and directory is nothing to ours then."""
    found = judged(CASES[case], backupDir=OWN, proveBackupScript="false")
    assert found.problems == ()
    expected = {
        "B04": ["12: encrypts (gpg), and", "14: uploads (rclone), and"],
        "B15": ["5: encrypts (age), and", "7: uploads (rclone), and"],
        "B20": ["9: uploads (aws), and"],
        "N07-pg_backup": ["6: uploads (aws), and"],
        "N09-curl-on-several-lines": ["6: uploads (curl), and"],
    }
    assert told(found.warnings, *expected.get(case, []))


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("N01-crlf", "1: has carriage returns, so no shell runs it: `sed -i 's/\\r$//'` takes them out"),
        ("N01-bom", "1: begins with a byte order mark, so no shell reads its first line: take that out"),
    ],
)
def test_a_script_that_runs_for_nobody_is_refused(case: str, problem: str) -> None:
    """`up` ended with a traceback."""
    for directory in (OWN, "${BACKUP_DIR}"):
        assert judged(CASES[case], backupDir=directory).problems == (f"/opt/matrix/scripts/pg_backup.sh:{problem}",)


@pytest.mark.parametrize(
    ("case", "directory", "problems", "warnings"),
    [
        # Names out of an env file: nothing of ours depends on them, so nothing is refused but the directory's name.
        ("B01", "$OUT_DIR", [DIRECTORY], []),
        # The dump's directory is a work place. Ours go where the operator says, here among the archives.
        ("B02", "$STORE", [DIRECTORY], []),
        # All at once: the directory, the encryption and the upload. Ways out: backupFilter, or accept.
        ("B04", "$KEEP_DIR", [DIRECTORY, f"12: {ENCRYPTS}"], ["14: rclone: sends"]),
        # Everything in functions: the call stands behind `main`.
        ("B06", "$BACKUP_DIR", [], []),
        # POSIX sh: the call is one.
        ("B08", "$DIR", [DIRECTORY], []),
        ("B12", "${OUT}", [DIRECTORY], []),
        ("B15", "$DIR", [DIRECTORY, f"5: {ENCRYPTS}"], ["7: rclone: sends"]),
        # Kept by number, with a pattern that ours do not match.
        ("B17", "$BACKUP_DIR", [], []),
        ("B20", "$BACKUP_DIR", [], ["9: aws: sends"]),
        ("N07-pg_backup", "$BACKUP_DIR", [], ["6: aws: sends"]),
    ],
)
def test_healthy_scripts_with_ours_among_their_dumps(
    case: str, directory: str, problems: list[str], warnings: list[str]
) -> None:
    """What each case expects is in the comments. They were written for a block that read directory, time stamp and
    retention out of the script; this one is told its directory (backupDir), and keeps its dumps by days."""
    text = CASES[case]
    first = judged(text, proveBackupScript="false")
    assert told(first.problems, *problems) and told(first.warnings, *warnings)
    accepted = judged(text, backupDir=directory, acceptPlainDumps="true", proveBackupScript="false")
    assert accepted.problems == ()
    filtered = judged(
        text, backupDir=directory, backupFilter="age -r age1x", backupFilterSuffix=".age", proveBackupScript="false"
    )
    assert filtered.problems == ()
    assert all("sends our dumps (through backupFilter), too" in line for line in filtered.warnings)


ORDER, PACKS, REMOVES = "takes files of", "packs the directory", "removes the directory"


@pytest.mark.parametrize(
    ("case", "problems"),
    [
        ("N03-scratch", [f"7: {PACKS}", f"8: {REMOVES}"]),
        ("N03-dated", [f"7: {PACKS}", f"8: {REMOVES}"]),
        ("N24-newest-seven", [f"5: {ORDER}"]),
        ("N24-by-name", [f"5: {ORDER}"]),
        ("N24-while-more-than", [f"5: {ORDER}"]),
        ("N25-newest-copied", [f"5: {ORDER}"]),
    ],
)
def test_a_script_that_ours_would_harm_or_that_would_lose_ours_is_refused_with_the_way_out(
    case: str, problems: list[str]
) -> None:
    """Seven dumps of Synapse became two, or none, a NAS got MAS' alone, ours were in no archive: all "proven"."""
    found = judged(CASES[case])
    assert told(found.problems, *problems)
    assert all("`pulumi config rm backupDir`" in line for line in found.problems)
    below = judged(CASES[case], backupDir="${BACKUP_DIR}/mautrix").problems
    assert bool(below) == case.startswith("N03"), "in a directory below, ours are not among his"


@pytest.mark.parametrize(
    "line",
    [
        'ls -t "$BACKUP_DIR"/synapse_*.sql.gz | tail -n +8 | xargs -r rm',
        'find "$BACKUP_DIR" -name "synapse_*" | sort | head -n -7 | xargs rm -f',
        "ls -t /srv/media/*.tar | tail -n +8 | xargs rm",
        'ls -lh "$BACKUP_DIR" | tail -n 5',
        'SIZE=$(du -sh "$BACKUP_DIR" | cut -f1)',
        'rm -rf "$BACKUP_DIR/old"',
        'tar czf "$BACKUP_DIR/media.tar.gz" /srv/media',
        'rm -f "$BACKUP_DIR"/synapse_latest.sql.gz',
        'ls -lht "$BACKUP_DIR" | head >> "$LOG"',
        'ls -lht "$BACKUP_DIR" | tee -a "$LOG"',
        "COUNT=$(find \"$BACKUP_DIR\" -name '*.gz' -printf '%s\\n' | wc -l)",
        'echo "$BACKUP_DIR: done" | sed "s/^/x/"',
    ],
)
def test_what_leaves_ours_alone_is_not_refused(line: str) -> None:
    assert judged(f"BACKUP_DIR=/srv\npg_dump a\n{line}\n").problems == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('cd "$BACKUP_DIR" && ls -t | tail -n +8 | xargs rm', ORDER),
        ('for f in $(ls -t ${BACKUP_DIR}/*.gz | sed 1,7d); do rm "$f"; done', ORDER),
        ('ls -1t "$BACKUP_DIR"/*.sql.gz > /tmp/list', ORDER),
        ('files=($(ls -t "$BACKUP_DIR"/*.sql.gz))', ORDER),
        ('files=("$BACKUP_DIR"/*.sql.gz); rm -f "${files[@]:7}"', ORDER),
        ("find $BACKUP_DIR -type f -printf '%T@ %p\\n' | sort -rn | awk 'NR>7 {print $2}' | xargs rm", ORDER),
        ('mapfile -t old < <(ls -t "$BACKUP_DIR")', ORDER),
        ("printf '%s\\n' $BACKUP_DIR/*.gz | sort | head -n -7 | xargs rm", ORDER),
        ('newest=$(ls -t "$BACKUP_DIR"/*.gz | head -1)', ORDER),
        ('for f in $(stat -c "%Y %n" $BACKUP_DIR/*); do rm $f; done', ORDER),
        ('rm -f "$BACKUP_DIR"/*.gz(om[8,-1])', ORDER),
        ('zip -r x.zip "$BACKUP_DIR"/*', PACKS),
        ("BACKUP_DIR=$(mktemp -d)", "makes BACKUP_DIR (backupDir)"),
        ("trap 'rm -rf \"$BACKUP_DIR\"' EXIT", REMOVES),
    ],
)
def test_other_ways_to_harm_ours_or_theirs(line: str, reason: str) -> None:
    found = judged(f"BACKUP_DIR=/srv\npg_dump a\n{line}\n").problems
    assert [problem.split(": ")[0][-2:] for problem in found] == [":3"] and reason in found[0].replace(":3: ", " ")


@pytest.mark.parametrize(
    "line",
    [
        "find /var/backups -type f -mtime +7 -delete", 'find "$ROOT" -mtime +7 -exec rm {} +', "rm -rf /var/backups/*",
        "tmpreaper 7d /var/backups", "rsync -a --delete /srv/ /var/backups/", "rm -rf ${ROOT}/m*",
        "find /var/backups -name '*.sql.gz' -mtime +7 | xargs rm",
        f"find {OWN} -mtime +7 -delete", "find /var -maxdepth 3 -mtime +7 -delete",
    ],
)  # fmt: skip
def test_a_clean_up_above_our_own_directory_is_refused(line: str) -> None:
    """`find /var/backups -mtime +7 -delete` takes the archive of a bridge that was removed, the only copy of it."""
    found = judged(f"ROOT=/var/backups\npg_dump a\n{line}\n", backupDir=OWN, proveBackupScript="false").problems
    assert [problem for problem in found if f":3: removes files below a directory in which ours are ({OWN})" in problem]


@pytest.mark.parametrize(
    "line",
    [
        "find /var/backups -maxdepth 1 -mtime +7 -delete", "find /var/backups/synapse -mtime +7 -delete",
        "rm -rf /var/backups/synapse", "rm -f /var/backups/*.gz", "find /var/backups -name 'synapse_*' -delete",
        "find /var/backups -path '/var/backups/mautrix-*' -prune -o -mtime +7 -delete",
        "find /var/backups -mtime +7 -ls",
        "rsync -a --delete /srv/ r:/var/backups/", "rsync -a --delete /var/backups/ nas:/x >>/var/log/x",
        "rm -rf /var/backups-old/*",
    ],
)  # fmt: skip
def test_a_clean_up_that_leaves_ours_alone_is_not_refused(line: str) -> None:
    assert judged(f"pg_dump a\n{line}\n", backupDir=OWN, proveBackupScript="false").problems == ()


def test_a_clean_up_above_the_archives_is_refused_wherever_the_dumps_are() -> None:
    archives = whole().bridges[0].archive.directory
    above = archives.rpartition("/")[0]
    (problem,) = judged(f"BACKUP_DIR=/srv\npg_dump a\nfind {above} -mtime +9 -delete\n").problems
    assert f"({archives})" in problem and "or set bridges[0].archiveDir to a directory elsewhere" in problem


def test_a_variable_that_is_local_to_a_function_is_refused() -> None:
    """Preview said nothing, and `up` failed: the call had no directory."""
    text = "main() {\n  local BACKUP_DIR=/srv/x\n  pg_dump a > $BACKUP_DIR/a\n}\nmain\n"
    (problem,) = judged(text).problems
    assert problem.startswith("/opt/matrix/scripts/pg_backup.sh:2: BACKUP_DIR (backupDir) is local to a function, so")
    assert judged(f"BACKUP_DIR=/srv\n{text}").problems == ()


def test_what_the_script_will_do_in_up_is_one_line_a_tool() -> None:
    """Up to fourteen warnings for one script; and it was run at midday unasked."""
    text = (
        "BACKUP_DIR=/srv\npg_dump a\ndocker compose stop synapse\nrclone copy a b:\nrclone copy c b:\n"
        "sudo -u backup gpg -c x\n"
    )
    run = [line for line in judged(text, acceptPlainDumps="true").warnings if "proveBackupScript" in line]
    assert numbers(tuple(run)) == [4, 3, 6]
    assert [line.split(": ")[1:3] for line in run] == [
        ["rclone", "uploads, and `up` runs this script once (proveBackupScript)"],
        ["docker compose stop", "stops a service, and `up` runs this script once (proveBackupScript)"],
        ["gpg", "encrypts, and `up` runs this script once (proveBackupScript)"],
    ]
    assert not [line for line in judged(text, proveBackupScript="false").warnings if "runs this script" in line]


@pytest.mark.parametrize(
    ("line", "sends"),
    [
        ("restic backup /var/backups /etc", True), (f"rclone copy {OWN}/ r:", True), ("borg create ::a /var", True),
        ("rclone copy /var/backups-old r:", False), ("rclone copy $BACKUP_DIR r:", False),
    ],
)  # fmt: skip
def test_dumps_that_stay_on_a_dead_disk_are_told_with_the_path_to_add(line: str, sends: bool) -> None:
    warnings = judged(f"pg_dump a\n{line}\n", backupDir=OWN, proveBackupScript="false").warnings
    assert [OWN in warning and "add that path" in warning for warning in warnings] == ([] if sends else [True])


def test_a_directory_that_the_script_does_not_name_is_told_with_the_names_that_it_has() -> None:
    (problem,) = judged("#!/bin/sh\nOUT=/srv/dumps\nDAYS=3\npg_dump a > $OUT/a\n").problems
    assert problem == (
        "/opt/matrix/scripts/pg_backup.sh:1: backupDir is ${BACKUP_DIR}, and the script has no BACKUP_DIR (it sets "
        "OUT): set backupDir to the variable that it has, as '${DIR}', or to an absolute path"
    )
    assert judged("# BACKUP_DIR\npg_dump a\n").problems, "a comment sets nothing"
    assert judged(". ./env\npg_dump a > $BACKUP_DIR/a\n").problems == (), "it may come out of another file"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("  rclone sync /srv b2:x", "rclone"), ("if command -v aws; then", "aws"), ("cd /x && rsync -a y z:", "rsync"),
        ("/usr/local/bin/restic backup x", "restic"), ("BORG_REPO=x borg create ::a /srv", "borg"),
        ("nice scp a b:", "scp"), ("curl -fsS -T a https://x/", "curl"), ("tar c x | aws s3 cp - s3://y", "aws"),
    ],
)  # fmt: skip
def test_a_command_that_uploads_is_found(line: str, word: str) -> None:
    assert [*search_code(f"#!/bin/sh\n{line}\n", UPLOAD)] == [(2, word)]


UPLOADS = (Path(__file__).parent / "corpus/backup_cases/N09-lines.txt").read_text().splitlines()


@pytest.mark.parametrize("line", UPLOADS)
def test_uploads_by_any_tool_and_through_others_are_seen(line: str) -> None:
    """Fifteen of these were not."""
    assert len([*search_code(line, UPLOAD)]) == 1


@pytest.mark.parametrize(
    ("line", "stops"),
    [
        ("docker stop matrix-synapse", True), ("cd /opt && docker compose -f x.yml down", True),
        ("sudo systemctl stop synapse", True), ("docker-compose stop", True), ("service nginx restart", True),
        ("docker exec x pg_dump stop", False), ("systemctl status x", False), ("# docker stop x", False),
    ],
)  # fmt: skip
def test_a_command_that_stops_a_service_is_found(line: str, stops: bool) -> None:
    assert bool([*search_code(line, STOP)]) == stops


@pytest.mark.parametrize(
    "line",
    ["# rclone copy", "echo 'rclone copy is off'", "curl -fsS https://hc-ping.com/x", "RSYNC=no", "rsync_done=1",
     "find /srv/aws -delete", "cd /srv/restic"],
)  # fmt: skip
def test_a_command_that_does_not_upload_is_not_taken_for_one(line: str) -> None:
    assert [*search_code(f"#!/bin/sh\n{line}\n", UPLOAD)] == []


@pytest.mark.parametrize(
    ("line", "encrypts"),
    [
        ("pg_dump a | gzip | age -r x > y", True), ("gpg --batch -c x", True), ("openssl enc -aes256 -in x", True),
        ("tar c x | GNUPGHOME=y gpg2 -e -r z", True), ("openssl dgst x", False), ("age=14", False),
        ("find x -mtime +14 # age", False), ("echo gpg is not used", False), ("MAX_age 3", False),
        ("openssl aes-256-cbc -in x", True), ("7z a -pX y z", True), ("zip -e a b", True), ("zip a b", False),
        ("sudo -u backup gpg -c x", True),
    ],
)  # fmt: skip
def test_encryption_is_found_where_it_is_a_command(line: str, encrypts: bool) -> None:
    text = f"BACKUP_DIR=/srv\npg_dump a\n{line}\n"
    assert bool([*search_code(text, ENCRYPTION)]) == encrypts
    assert numbers(judged(text).problems) == ([3] if encrypts else [])


def test_an_exit_trap_of_its_own_is_a_warning() -> None:
    (warning,) = judged("BACKUP_DIR=/srv\ntrap 'rm -f x' EXIT\npg_dump a\n").warnings
    assert warning.startswith("/opt/matrix/scripts/pg_backup.sh:2: sets an EXIT trap of its own, which decides")


def test_the_line_of_a_warning_is_the_file_s_also_below_our_call() -> None:
    edited = backup_script.add_call(CASES["B20"], SIGNAL)
    assert numbers(judged(edited, proveBackupScript="false").warnings) == [12]
    assert edited.split("\n").index("if command -v aws >/dev/null; then") + 1 == 12


def test_a_script_that_has_the_call_needs_no_edit() -> None:
    text = CASES["B17"]
    edited = backup_script.add_call(text, SIGNAL)
    assert not judged(text).has_call and judged(edited).has_call
    assert not judged(edited, backupDir="/srv/other").has_call


# ---- our own script


def test_the_settings_of_the_dump_script() -> None:
    made = render_dump_script(TEMPLATE, whole(backupFilter="age -r 'x'", backupFilterSuffix=".age"))
    settings = made.partition("do not edit\n")[2].partition("# --- end")[0]
    assert settings.splitlines() == [
        "# owner: mautrix-signal/contabo",
        "mark=mautrix-bridges",
        "container=matrix-postgres",
        "databases=(mautrix_signal:mautrix_signal mas:mas) # database:role",
        "directory=''",
        "days=14",
        "filter='age -r '\"'\"'x'\"'\"''",
        "suffix=.age",
        "records=/opt/matrix/mautrix-bridges/dumps",
    ]
    assert parse_dump_script_owner(made) == "mautrix-signal/contabo"
    assert is_sealed(made)
    *lines, _ = re.sub(r"(?s)# --- settings.*settings\n", "", made).splitlines()
    assert lines == re.sub(r"(?s)# --- settings.*settings\n", "", TEMPLATE).splitlines()


@pytest.mark.parametrize("text", ["", "#!/bin/sh\n# owner: mautrix-signal/contabo\n", "#!/bin/bash\nrm x\n"])
def test_another_script_has_no_owner(text: str) -> None:
    assert parse_dump_script_owner(text) == ""
