"""The edit of pg_backup.sh as text.

Pins an edit that cannot be taken back: a byte of the operator's script that is not what it was after add and remove,
a block that lands where it never runs (behind an exit, in a branch, in a heredoc), a database that is dumped twice,
and a refusal that does not say where and what to do.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents import backup_script
from documents.backup_script import Block, Dump, Refused
from tests.documents.backup_scripts import CORPUS, SIGNAL, WHATSAPP

PLAIN = CORPUS["plain"]

law = settings(deadline=None, max_examples=60)  # a busy machine is no failure

# scripts --------------------------------------------------------------------------------------------------------


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """Scripts as people write them: names, quoting, checks, gaps, endings all vary."""
    directory, stamp, days = draw(
        st.sampled_from([("BACKUP_DIR", "TIMESTAMP", "RETENTION_DAYS"), ("dir", "now", "keep"), ("B", "D", "N")])
    )
    use = draw(st.sampled_from(["${{{}}}", "${}"]))
    d, s = use.format(directory), f"${{{stamp}}}"
    noise = st.sampled_from(
        [
            "",
            "# it's a comment",
            "echo 'a # b; exit 0'",
            'echo "${x:-$(echo ")")}"',
            "cat <<'E'\nexit 0\npg_dump\nE",
            "\t",
            "true; true",
        ]
    )
    date = draw(st.sampled_from(["$(date +%F)", "`date +%Y%m%d`", '"$(date "+%Y-%m-%d_%H%M")"', "$(date -u +'%s')"]))
    cause = draw(st.sampled_from(["", "set -e", "set -euo pipefail", "set -u", "trap 'echo bye' EXIT"]))
    target = draw(st.sampled_from([f'"{d}/synapse_{s}.sql.gz"', f"{d}/synapse-{s}.sql.gz", '"$OUT"']))
    dump = draw(
        st.sampled_from(
            ["pg_dump -U synapse -d synapse", "pg_dump --dbname=synapse -Usynapse", "pg_dump -U synapse synapse"]
        )
    )
    pipe = draw(st.sampled_from([" | gzip > ", " |\n  gzip -9 > ", " \\\n  | gzip >"]))
    check = draw(
        st.sampled_from(
            [
                "",
                "if [ $? -ne 0 ]; then echo failed; exit 1; fi",
                "[ $? = 0 ] || echo failed",
                "STATUS=${PIPESTATUS[0]}",
                'echo "done"; ls',
            ]
        )
    )
    retention = draw(st.sampled_from(["14", f"${days}", f"${{{days}}}", '"7"']))
    cleanup = draw(st.sampled_from(["-delete", "-exec rm {} \\;", "-print0 | xargs -0 rm -f"]))
    lines = [
        draw(st.sampled_from(["#!/bin/bash", "#!/usr/bin/env bash", "#! /bin/bash -x"])),
        cause,
        f"{directory}=/opt/backups",
        f"{stamp}={date}",
        f"{days}=14",
        f'OUT="{d}/synapse_{s}.sql.gz"',
        draw(noise),
        f"docker exec matrix-postgres {dump}{pipe}{target}" + draw(st.sampled_from(["", " # the dump", " ;"])),
        *draw(st.sampled_from([[], [""], ["", ""]])),
        check,
        draw(noise),
        draw(noise),
        f'find "{d}" -name "synapse*" -mtime +{retention} {cleanup}' if draw(st.booleans()) else "",
        draw(st.sampled_from(["", "exit 0", "exit", "echo end"])),
    ]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


texts = st.one_of(st.sampled_from(list(CORPUS.values())), scripts())
blocks = st.sampled_from([SIGNAL, WHATSAPP, Block("x", "pg", (Dump("mautrix_x", "role-x"),))])


# the laws -------------------------------------------------------------------------------------------------------


@law
@given(texts, blocks)
def test_remove_after_add_gives_the_same_bytes(text: str, block: Block) -> None:
    assert backup_script.remove(backup_script.add(text, block), block.owner) == text


@law
@given(texts, blocks)
def test_adding_twice_is_adding_once(text: str, block: Block) -> None:
    once = backup_script.add(text, block)
    assert backup_script.add(once, block) == once
    assert backup_script.missing(once, block) == ()


@law
@given(texts)
def test_removing_what_is_not_there_changes_nothing(text: str) -> None:
    assert backup_script.remove(text, SIGNAL.owner) == text
    with_other = backup_script.add(text, WHATSAPP)
    assert backup_script.remove(with_other, SIGNAL.owner) == with_other


@law
@given(texts, st.data())
def test_edits_made_in_between_stand_and_only_ours_goes(text: str, data: st.DataObject) -> None:
    edited = backup_script.add(text, SIGNAL).split("\n")
    marks = [i for i, line in enumerate(edited) if SIGNAL.owner in line]
    outside = [i for i in range(1, len(edited)) if not marks or i <= marks[0] or i > marks[1]]
    expected = text.split("\n")
    length = marks[1] - marks[0] + 1 if marks else 0
    for place in sorted(data.draw(st.lists(st.sampled_from(outside), max_size=3)), reverse=True):
        line = data.draw(st.sampled_from(["# mine", "", "echo mine", "  \t", "# >>> conda initialize >>>"]))
        edited.insert(place, line)
        expected.insert(place if not marks or place <= marks[0] else place - length, line)
    assert backup_script.remove("\n".join(edited), SIGNAL.owner) == "\n".join(expected)


@law
@given(texts)
def test_two_stacks_do_not_disturb_each_other(text: str) -> None:
    one, other = backup_script.add(text, SIGNAL), backup_script.add(text, WHATSAPP)
    both = backup_script.add(one, WHATSAPP)
    assert both == backup_script.add(other, SIGNAL)
    assert backup_script.remove(both, SIGNAL.owner) == other
    assert backup_script.remove(both, WHATSAPP.owner) == one
    assert backup_script.add(both, SIGNAL) == both


@law
@given(texts, st.sampled_from([("d2", "r2"), ("mas", "other")]))
def test_a_changed_block_converges(text: str, dump: tuple[str, str]) -> None:
    changed = Block(SIGNAL.owner, "another-postgres", (Dump(*dump),))
    again = backup_script.add(backup_script.add(text, SIGNAL), changed)
    assert again == backup_script.add(text, changed)


@law
@given(scripts())
def test_bash_reads_the_result(text: str) -> None:
    for script in (text, backup_script.add(text, SIGNAL)):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@law
@given(scripts())
def test_the_block_stands_between_the_dump_and_the_cleanup(text: str) -> None:
    edited = backup_script.add(text, SIGNAL)
    mark = edited.index("# >>> mautrix-signal/contabo")
    before, behind = edited[:mark], edited[edited.index("# <<< mautrix-signal/contabo") :]
    assert "docker exec matrix-postgres pg_dump" in before and "pg_dump" not in behind.replace("\npg_dump\nE", "")
    assert "-mtime" not in before
    commands = [line for line in before.split("\n") if line.startswith("exit")]
    assert commands == ["exit 0"] * before.count("E'\nexit 0"), "only the heredocs' text says exit"


@pytest.mark.parametrize("name", CORPUS)
def test_bash_and_shellcheck_find_nothing_in_the_block(name: str) -> None:
    edited = backup_script.add(backup_script.add(CORPUS[name], SIGNAL), WHATSAPP)
    subprocess.run(["bash", "-n"], input=edited, text=True, check=True)

    def findings(text: str) -> list[tuple[str, int]]:
        done = subprocess.run(
            ["shellcheck", "-f", "json", "-"], input=text, capture_output=True, text=True, check=False
        )
        lines = text.split("\n")
        return sorted((lines[found["line"] - 1], found["code"]) for found in json.loads(done.stdout))

    assert findings(edited) == findings(CORPUS[name])


# what it takes from the script ----------------------------------------------------------------------------------


def block_of(text: str) -> str:
    edited = backup_script.add(text, SIGNAL)
    return edited[edited.index("# >>>") : edited.index("# <<<")]


@pytest.mark.parametrize(
    ("name", "directory", "stamp", "days"),
    [
        ("plain", '"${BACKUP_DIR}"', '"${TIMESTAMP}"', '"+14"'),
        ("strict_trap", '"$BACKUP_DIR"', '"$NOW"', '"+$KEEP_DAYS"'),
        ("function", '"$BACKUP_ROOT"', '"${DATE}"', '"+30"'),
        ("loop_with_mas", '"$BACKUP_DIR"', '"$STAMP"', '"+7"'),
        ("heredoc_no_newline", '"$BACKUP_DIR"', '"${TIMESTAMP}"', '"+14"'),
        ("no_cleanup", '"backups"', '"$ts"', None),
        ("cleanup_first", '"$BACKUP_DIR"', '"$(date +%Y%m%d_%H%M)"', '"+$RETENTION"'),
    ],
)
def test_directory_timestamp_and_days_are_the_scripts_own(
    name: str, directory: str, stamp: str, days: str | None
) -> None:
    block = block_of(CORPUS[name])
    assert f"mautrix_directory={directory}\nmautrix_stamp={stamp}\n" in block
    assert (f"-mtime {days} " in block) if days else ("-mtime" not in block)


def test_days_that_the_script_sets_only_later_are_taken_as_they_are() -> None:
    text = PLAIN.replace("# Keep 14 days\n", "KEEP=9\n").replace("+14", '"+${KEEP}"')
    assert '-mtime "+9" ' in block_of(text)


def test_of_several_cleanups_the_one_of_the_dumps_counts() -> None:
    logs = 'find "${BACKUP_DIR}" -name "*.log" -mtime +3 -delete\nfind /var/log -mtime +2 -delete\n'
    assert '-mtime "+14" ' in block_of(PLAIN.replace("# Keep 14 days\n", logs))


def test_docker_is_called_as_the_script_calls_it() -> None:
    assert "  if sudo /usr/bin/docker exec matrix-postgres pg_dump" in block_of(
        PLAIN.replace("docker exec", "sudo /usr/bin/docker exec")
    )


@pytest.mark.parametrize(
    ("line", "databases"),
    [
        ('docker exec pg pg_dump -U mas -d mas > "$BACKUP_DIR/m"', {"mas"}),
        ("docker exec pg pg_dump -Umas > m", {"mas"}),
        ("docker exec pg pg_dump --dbname=postgresql://mas@localhost/mas > m", {"mas"}),
        ('docker exec pg pg_dump -d "host=x dbname=mas" > m', {"mas"}),
        ("docker exec pg bash -c 'pg_dump mas | gzip' > m", {"mas"}),
        ("for x in mas other; do docker exec pg pg_dump $x > $x; done", {"mas", "other"}),
        ('L="mas other"; for x in $L; do docker exec pg pg_dump "$x" > "$x"; done', {"mas", "other"}),
        ('f() { docker exec pg pg_dump "$1" > $1; }; f mas; f other', {"mas", "other"}),
        ("f() { docker exec pg pg_dump mas > m; }", set()),
        ("# docker exec pg pg_dump mas > m", set()),
        ("echo docker exec pg pg_dump mas", set()),
        ("cat <<X\ndocker exec pg pg_dump mas\nX", set()),
        ("docker exec pg pg_dump --schema-only mas > m", set()),
        ("docker exec pg pg_dump -t users mas > m", set()),
        ("docker exec pg pg_dump --version", set()),
        ("docker exec pg pg_dumpall -U synapse > all", set()),
        ("if true; then\n (docker exec pg pg_dump mas) > m\nfi", {"mas"}),
        ("x=$(docker exec pg pg_dump mas | wc -c)", {"mas"}),
    ],
)
def test_what_the_script_dumps_already_is_seen(line: str, databases: set[str]) -> None:
    text = PLAIN.replace("# Synapse database\n", f"{line}\n")
    assert set(backup_script.dumped(text)) == databases | {"synapse"}
    block = block_of(text)
    assert ("mautrix_backup mas mas" in block) == ("mas" not in databases)
    assert "mautrix_backup mautrix_signal mautrix_signal" in block


def test_a_script_that_dumps_everything_is_not_touched() -> None:
    assert backup_script.add(CORPUS["everything"], SIGNAL) == CORPUS["everything"]
    assert backup_script.missing(CORPUS["everything"], SIGNAL) == ()
    assert backup_script.dumped(CORPUS["everything"]) == ("mas", "mautrix_signal", "synapse")


def test_missing_says_what() -> None:
    assert backup_script.missing(CORPUS["loop_with_mas"], SIGNAL) == ("the dump of mautrix_signal",)
    edited = backup_script.add(PLAIN, SIGNAL)
    assert backup_script.missing(edited.replace("umask 077", "umask 022"), SIGNAL) == (
        "the block of mautrix-signal/contabo as it should be",
    )
    assert backup_script.owners(backup_script.add(edited, WHATSAPP)) == (SIGNAL.owner, WHATSAPP.owner)


# refusals -------------------------------------------------------------------------------------------------------

CHECK = PLAIN[PLAIN.index("if [ $?") : PLAIN.index("# Keep")]
DUMP = 'docker exec matrix-postgres pg_dump -U synapse -d synapse | gzip > "${BACKUP_FILE}"\n'
FIND = 'find "${BACKUP_DIR}" -name "synapse_*.sql.gz" -mtime +14 -delete\n'

REFUSALS = {
    "a byte order mark": (
        "\ufeff" + PLAIN,
        "1: begins with a byte order mark, so the kernel does not see `#!`: save it as UTF-8 without one",
    ),
    "CR LF": (
        PLAIN.replace("\n", "\r\n"),
        "1: ends in CR LF, and bash takes the CR as part of the command: convert the line ends (dos2unix)",
    ),
    "NUL": (PLAIN.replace("Synapse database", "\0"), "9: holds a NUL character: is this the backup script?"),
    "sh": (
        PLAIN.replace("/bin/bash", "/bin/sh"),
        "1: the first line is `#!/bin/sh`, and the dumps need bash (pipefail, a chained trap): make it #!/bin/bash",
    ),
    "no first line": (
        PLAIN[len("#!/bin/bash\n") :],
        "1: the first line is no `#!` line, and the dumps need bash (pipefail, a chained trap): make it #!/bin/bash",
    ),
    "an open quote": (
        PLAIN.replace('matrix/backups"', "matrix/backups"),
        '20: cannot be read as bash: the " has no closing one: fix the script (bash -n shows it too)',
    ),
    "an open if": (
        PLAIN.replace("\nfi\n", "\n"),
        "11: cannot be read as bash: the if has no fi: fix the script (bash -n shows it too)",
    ),
    "an open heredoc": (
        PLAIN + "cat <<END\n",
        "21: cannot be read as bash: the heredoc has no closing line 'END': fix the script (bash -n shows it too)",
    ),
    "no dump": (
        PLAIN.replace(DUMP, ""),
        "1: no pg_dump that runs is found in it: is this the backup script? (setting backupScript)",
    ),
    "a database that cannot be told": (
        PLAIN.replace("-d synapse", '-d "$DB"'),
        "10: it cannot be told which database this pg_dump dumps, so it may be one of ours: "
        "write the database's name in this script, as text or as a variable with a plain value",
    ),
    "databases from a query": (
        PLAIN.replace(DUMP, "for d in $(psql -l); do docker exec pg pg_dump $d > $BACKUP_DIR/$d-$TIMESTAMP; done\n"),
        "10: it cannot be told which database this pg_dump dumps, so it may be one of ours: "
        "write the database's name in this script, as text or as a variable with a plain value",
    ),
    "dump and cleanup in one": (
        PLAIN.replace(FIND, "")
        .replace("    exit 1\n", "    exit 1\n")
        .replace(DUMP, "if " + DUMP.strip() + "; then " + FIND.strip() + "; fi\n"),
        "10: the dump and the cleanup are one command, so there is no place between them: "
        "take the cleanup out of it, to the end of the script",
    ),
    "dump and cleanup in a function": (
        "#!/bin/bash\nB=/b\nT=$(date +%F)\nmain() {\n  docker exec pg pg_dump synapse | gzip > $B/synapse_$T.sql.gz\n"
        '  find $B -mtime +14 -delete\n}\nmain "$@"\n',
        "8: the dump and the cleanup are one command, so there is no place between them: "
        "take the cleanup out of it, to the end of the script",
    ),
    "no file": (
        PLAIN.replace('| gzip > "${BACKUP_FILE}"', "| gzip | aws s3 cp - s3://bucket/x"),
        "10: it cannot be told into which file this dumps: "
        'write it as: … | gzip > "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
    ),
    "no directory": (
        PLAIN.replace("BACKUP_FILE=", "OTHER="),
        '10: it cannot be told into which directory "${BACKUP_FILE}" is: '
        'write it as "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
    ),
    "no timestamp": (
        PLAIN.replace("synapse_${TIMESTAMP}", "synapse_latest"),
        "10: the dump's name has no timestamp that is set from `date`: "
        'name it like "${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"',
    ),
    "a directory a day": (
        PLAIN.replace('matrix/backups"', 'matrix/backups/$(date +%F)"'),
        "10: dumps into a directory that is another one each time: "
        "dump into one directory, with the timestamp in the file's name",
    ),
    "retention by number": (
        PLAIN.replace(FIND, "ls -1t ${BACKUP_DIR}/*.gz | tail -n +15 | xargs -r rm\n"),
        "19: old dumps go by another rule than their age in days, which ours cannot follow: "
        'use find "${BACKUP_DIR}" -name … -mtime +14 -delete',
    ),
    "retention in minutes": (
        PLAIN.replace("-mtime +14", "-mmin +20160"),
        "19: old dumps go by another rule than their age in days, which ours cannot follow: "
        'use find "${BACKUP_DIR}" -name … -mtime +14 -delete',
    ),
    "retention of exactly a day": (
        PLAIN.replace("+14", "14"),
        "19: -mtime 14 is no retention in days: write it as -mtime +14 or -mtime +${RETENTION_DAYS}",
    ),
    "two retentions": (
        PLAIN + FIND.replace("14", "7"),
        "19: there are several retentions for the dumps (lines 19, 21): give the dumps one",
    ),
    "exec behind it": (
        PLAIN + "exec rsync -a /opt/matrix/backups host:\n",
        "21: exec replaces the shell, so a failed dump could not be told at the end: call it without exec",
    ),
    "a trap behind it": (
        PLAIN + "trap 'rm -f /tmp/x' EXIT\n",
        "21: sets a trap for EXIT after the dumps, which would hide a failed one: move this trap before the first dump",
    ),
    "a trap in a function called behind it": (
        PLAIN.replace("mkdir", "later() { trap - 0; }\nmkdir") + "later\n",
        "7: sets a trap for EXIT after the dumps, which would hide a failed one: move this trap before the first dump",
    ),
    "an exit in the dump": (
        PLAIN.replace(DUMP, DUMP.strip() + " && exit 0\n"),
        "10: may end the script well in the dump itself, before ours: take this exit out of it",
    ),
    "an exit in the check of PIPESTATUS": (
        PLAIN.replace(CHECK, "if [ ${PIPESTATUS[0]} = 0 ]; then exit 0; fi\n"),
        "11: may end the script well together with the dump, before ours: put this exit at the end of the script",
    ),
    "the cleanup on the same line": (
        PLAIN.replace(DUMP, DUMP.strip() + "; " + FIND),
        "10: the cleanup stands on the line of the dump: put it on a line of its own",
    ),
    "an exit before the dump": (
        PLAIN.replace("# Synapse database", "exit 0"),
        "1: no pg_dump that runs is found in it: is this the backup script? (setting backupScript)",
    ),
    "a directory of a subshell": (
        PLAIN.replace(DUMP, "(cd /b && docker exec pg pg_dump synapse | gzip > synapse_${TIMESTAMP}.sql.gz)\n"),
        '10: dumps into a directory that only this command is in: write it as "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
    ),
    "our names": (
        PLAIN + "mautrix_dump mas\n",
        "21: uses the name mautrix_dump, which our block uses too: rename it, or delete what is left of a block",
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_refused_with_file_line_reason_and_mend(why: str) -> None:
    text, message = REFUSALS[why]
    with pytest.raises(Refused) as refused:
        backup_script.add(text, SIGNAL)
    assert str(refused.value) == f"pg_backup.sh:{message}"


def test_a_block_whose_end_is_gone_is_refused_by_add_and_remove() -> None:
    edited = backup_script.add(PLAIN, SIGNAL).replace("# <<< mautrix-signal/contabo\n", "")
    for act in (lambda: backup_script.add(edited, SIGNAL), lambda: backup_script.remove(edited, SIGNAL.owner)):
        with pytest.raises(Refused) as refused:
            act()
        assert str(refused.value) == (
            "pg_backup.sh:11: the block of mautrix-signal/contabo begins here and its last line, "
            "`# <<< mautrix-signal/contabo`, is gone: put that line back behind the block, "
            "or delete the block by hand with this line"
        )


@pytest.mark.parametrize("name", ["", "a b", "a;rm", "$(id)", "-x", "a'b", 'a"b', "a\nb", "a*", "dbname=x", "ä"])
def test_names_that_are_no_plain_ones_are_refused(name: str) -> None:
    for block in (
        Block(SIGNAL.owner, "pg", (Dump(name, "mas"),)),
        Block(SIGNAL.owner, "pg", (Dump("mas", name),)),
        Block(SIGNAL.owner, name, (Dump("mas", "mas"),)),
        Block(name, "pg", (Dump("mas", "mas"),)),
    ):
        with pytest.raises(Refused, match="cannot go into a shell script: it should be"):
            backup_script.add(PLAIN, block)


@pytest.mark.parametrize(
    "check",
    [
        "if [ ${PIPESTATUS[0]} -ne 0 ]; then tail -n 3 /tmp/log; rm -f ${BACKUP_FILE}; fi\n",
        "\n# check\nif [ ${PIPESTATUS[0]} -ne 0 ]; then\n  exit 1\nfi\n",
    ],
)
def test_a_check_of_pipestatus_stays_right_behind_its_dump(check: str) -> None:
    edited = backup_script.add(PLAIN.replace(CHECK, check), SIGNAL)
    assert DUMP + check in edited


def test_the_block_goes_before_an_exit_that_ends_the_script() -> None:
    edited = backup_script.add(PLAIN.replace(CHECK, "\nexit 0\n"), SIGNAL)
    assert edited.index("# <<<") < edited.index("\nexit 0\n")


def test_a_script_with_the_block_turned_into_cr_lf_can_still_be_cleaned() -> None:
    edited = backup_script.add(PLAIN, SIGNAL).replace("\n", "\r\n")
    assert backup_script.remove(edited, SIGNAL.owner) == PLAIN.replace("\n", "\r\n")
