"""Pins the failure of a call that changes what the operator's script does or that hides a failed dump from cron: the
three lines of documents/backup/backup_script.py in real scripts, run by real shells.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall
from host_programs.backup import scripts

CORPUS = sorted((Path(__file__).parents[1] / "documents/corpus").glob("*/*.sh"))
SHELLS = [shell for shell in ("bash", "dash", "ksh", "zsh") if shutil.which(shell)]


class Host:
    """A dump script that notes its arguments and ends as told, and a script that calls it."""

    def __init__(self, home: Path) -> None:
        self.home, self.calls = home, home / "calls"
        self.say = ":"
        self.block = DumpCall("mautrix-signal/contabo", str(home / "our dumps.sh"), "${BACKUP_DIR}")

    def run(self, shell: str, text: str, code: int = 0, block: DumpCall | None = None) -> tuple[int, str, str]:
        """Exit status, stdout, and the arguments of our dump script, of `text` with the call in it."""
        dumps = self.home / "our dumps.sh"
        dumps.write_text(f'#!/bin/sh\necho "$#:$1" >> "{self.calls}"\n{self.say}\nexit {code}\n')
        dumps.chmod(0o755)
        self.calls.unlink(missing_ok=True)
        script = self.home / "pg_backup.sh"
        script.write_text(backup_script.add_call(text, block or self.block))
        done = subprocess.run([shell, str(script)], capture_output=True, text=True, cwd=self.home, check=False)
        return done.returncode, done.stdout, self.calls.read_text() if self.calls.exists() else ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


HEADS = ["", "set -eu\n", "set -e\n"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shell", SHELLS)
def test_where_our_dump_script_is_gone_the_script_runs_as_without_us(host: Host, shell: str, head: str) -> None:
    """A copy of his script from before a destroy failed every night."""
    call = replace(host.block, command=str(host.home / "gone.sh"))
    text = f"{head}BACKUP_DIR=/srv\n: pg_dump\nfind /nowhere 2>/dev/null || echo on\n"
    assert host.run(shell, text, block=call) == (0, "on\n", "")


def test_nothing_of_ours_is_on_the_script_s_stdout(host: Host) -> None:
    """Another program may read it, and cron sends it by mail."""
    host.say = "echo a dump"
    assert host.run("bash", "BACKUP_DIR=/srv\n: pg_dump\necho his\n") == (0, "his\n", "1:/srv\n")


def test_extended_globs_that_the_script_switches_on_are_no_error_in_it() -> None:
    """`bash -n` runs no shopt, so it refused a healthy script."""
    text = "#!/bin/bash\nshopt -s extglob\npg_dump a\nrm -f /srv/!(*.gz|keep)\n"
    assert scripts.edit(text, DumpCall("a/b", "/opt/dump.sh", "/srv"))[1] == ""


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shell", SHELLS)
def test_the_directory_arrives_and_the_script_goes_on(host: Host, shell: str, head: str) -> None:
    text = f"{head}BACKUP_DIR='/srv/my dumps'\n: pg_dump\nfind /nowhere 2>/dev/null || echo on\n"
    assert host.run(shell, text) == (0, "on\n", "1:/srv/my dumps\n")


@pytest.mark.parametrize("end", ["", "exit 0\n", "echo end\n", "exit $?\n", "true\n"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_failed_dump_makes_the_script_fail_at_its_end_and_stops_nothing(
    host: Host, shell: str, head: str, end: str
) -> None:
    text = f"{head}BACKUP_DIR=/srv\n: pg_dump\nfind /nowhere 2>/dev/null || echo on\n{end}"
    code, out, _ = host.run(shell, text, code=1)
    assert (code, out.split("\n")[0]) == (1, "on")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_last_status_is_handed_through(host: Host, shell: str) -> None:
    """`exit $?` behind the last dump tells of that dump."""
    text = "BACKUP_DIR=/srv\nsh -c 'exit 7' # pg_dump\nexit $?\n"
    assert host.run(shell, text)[0] == 7
    assert host.run(shell, text, code=1)[0] == 1
    assert host.run(shell, "BACKUP_DIR=/srv\nsh -c 'exit 7' # pg_dump\n")[0] == 7


@pytest.mark.parametrize("shell", SHELLS)
def test_a_variable_that_is_not_set_fails_our_dumps_and_not_the_script(host: Host, shell: str) -> None:
    code, out, calls = host.run(shell, "set -u\n: pg_dump\nfind /nowhere 2>/dev/null || echo on\n", code=1)
    assert (code, out, calls) == (1, "on\n", "1:\n")


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_an_exit_trap_of_the_script_s_runs_as_before_and_is_not_replaced(host: Host, shell: str) -> None:
    text = "trap 'echo bye' EXIT\nBACKUP_DIR=/srv\n: pg_dump\nexit 0\n"
    assert host.run(shell, text) == (0, "bye\n", "1:/srv\n")
    code, out, _ = host.run(shell, text, code=1)
    assert (code, out) == (0, "bye\n"), "its own trap decides; preview says so"


@pytest.mark.parametrize("shell", SHELLS)
def test_two_stacks_in_one_script(host: Host, shell: str) -> None:
    text = "BACKUP_DIR=/srv\n: pg_dump\nexit 0\n"
    both = backup_script.add_call(
        text, DumpCall("mautrix-whatsapp/contabo", str(host.home / "our dumps.sh"), "/srv/wa")
    )
    assert host.run(shell, both) == (0, "", "1:/srv/wa\n1:/srv\n")
    assert host.run(shell, both, code=1)[0] == 1


def test_inside_a_function_between_the_operator_s_marks(host: Host) -> None:
    text = (
        "set -eu\nmain() {\n  local BACKUP_DIR=/srv/f\n  # >>> mautrix-signal/contabo\n"
        "  # <<< mautrix-signal/contabo\n  echo after\n}\nmain\nexit 0\n"
    )
    assert host.run("bash", text) == (0, "after\n", "1:/srv/f\n")
    assert host.run("bash", text, code=1)[0] == 1


@pytest.mark.parametrize("directory", ["${BACKUP_DIR}", "/var/backups/mautrix-bridges"])
@pytest.mark.parametrize(
    "path", [path for path in CORPUS if path.stem not in ("N01-bom", "N01-crlf")], ids=lambda path: path.stem
)
def test_the_shell_of_each_script_of_the_corpus_takes_the_call(path: Path, host: Host, directory: str) -> None:
    assert scripts.edit(path.read_bytes().decode(), replace(host.block, directory=directory))[1] == ""


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/bash\nset -eu\nmain() {\n  : pg_dump\n  exit 0\n}\nmain\n",
        "#!/bin/bash\n[ $(date +%u) = 9 ] || exit 0\n: pg_dump\n",
        '#!/bin/sh\ncase "${1:-backup}" in backup) : pg_dump ;; *) exit 1 ;; esac\n',
        "#!/bin/bash\nd=$(mktemp -d)\ntrap 'rm -rf $d' EXIT\n: pg_dump\n",
    ],
)
def test_at_the_head_nothing_of_the_script_keeps_our_dumps_from_being_made(host: Host, text: str) -> None:
    """The wiki's script exits on some weekdays, `main` with `exit`: our dumps were never made, and nothing said so."""
    own = replace(host.block, directory="/srv/ours")
    assert host.run("bash", text, block=own) == (0, "", "1:/srv/ours\n")


# ---- host_programs/backup/scripts.py

MARKS = "put the two lines `# >>> mautrix-signal/contabo` and `# <<< mautrix-signal/contabo` where it should stand"
INSIDE = [
    "#!/bin/bash\npg_dump a\nif true; then\nfind x\nfi\n",  # an if at the left margin
    "#!/bin/sh\npg_dump a\ncat <<END\nfind x\nEND\n",  # a here-document: `-n` alone would take it
    "#!/bin/bash\npg_dump a\nsay='one\nfind x\n'\n",  # a quote
    "#!/bin/bash\npg_dump a |\nrclone rcat r:x\n",  # a pipeline
    "#!/bin/sh\nmain() {\npg_dump a\nfind x\n}\nmain\n",
]


@pytest.mark.parametrize("text", INSIDE)
def test_where_the_place_is_inside_of_something_the_call_goes_to_the_end(text: str) -> None:
    call = DumpCall("mautrix-signal/contabo", "/opt/dump.sh", "${BACKUP_DIR}")
    edited, wrong = scripts.edit(text, call)
    assert wrong == "" and edited.startswith(text) and edited == backup_script.add_call(text, call, at_end=True)


@pytest.mark.parametrize("text", INSIDE)
def test_marks_inside_of_something_are_refused_with_the_way_out(text: str) -> None:
    lines = text.splitlines(keepends=True)
    at = 2 if "|\n" in text else 3
    marked = "".join([*lines[:at], "# >>> mautrix-signal/contabo\n", "# <<< mautrix-signal/contabo\n", *lines[at:]])
    wrong = scripts.edit(marked, DumpCall("mautrix-signal/contabo", "/opt/dump.sh", "/srv"))[1]
    assert (
        wrong == f"{at + 1}: our call would stand inside of something that is not closed there: {MARKS}, at the margin"
    )


def test_a_script_that_is_broken_already_is_said_to_be() -> None:
    wrong = scripts.edit("#!/bin/bash\npg_dump a\nfi\n", DumpCall("a/b", "/opt/dump.sh", "/srv"))[1]
    assert wrong.startswith("3: bash cannot read the script as it is: ") and wrong.endswith(": repair it")


def test_bashisms_are_the_shell_s_own_to_judge() -> None:
    block = DumpCall("a/b", "/opt/dump.sh", "/srv")
    text = "pg_dump a\nx=(1 2)\n"
    assert scripts.edit(f"#!/bin/bash\n{text}", block)[1] == ""
    if shutil.which("dash"):
        assert "dash cannot read the script as it is" in scripts.edit(f"#!/bin/dash\n{text}", block)[1]
