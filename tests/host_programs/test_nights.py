"""Eight nights of operators' scripts, with our call in them and without: what is left of their own dumps, what is
copied away, and whether ours are made each night.

Pins dumps of theirs that ours pushed out of a clean-up by number (none of seven was left, with six bridges), a copy of
"the newest file" that was ours, and dumps of ours that were never made, or went with a scratch directory.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall

CASES = Path(__file__).parents[1] / "documents/corpus/backup_cases"
NIGHTS = 8
# Each night has a day of its own, and every file the time of its night: `ls -t` sorts by it.
DATE = """#!/bin/bash
. @HOME/night
for word; do case $word in +*) /usr/bin/date -u -d "2026-01-$((night + 1)) 03:00:00" "$word"; exit;; esac; done
"""
DOCKER = "#!/bin/sh\necho '-- PostgreSQL database dump complete'\n"
BRIDGES = ("mautrix_signal", "mautrix_whatsapp", "mautrix_slack", "mas")
OURS = """#!/bin/sh
for database in @BRIDGES; do mkdir -p "$1" && echo ours > "$1/${database}_$(date +%Y%m%dT%H%M%SZ).ours.sql.gz"; done
"""


class Nights:
    """A host with one script of the corpus, whose directories are below `home`."""

    def __init__(self, home: Path, case: str, call: bool) -> None:
        self.home, self.own, self.nas = home, home / "own", home / "mnt/nas"
        self.backups, tools = home / "opt/matrix/backups", home / "tools"
        for folder in (self.backups, home / "opt/matrix/archives", self.nas, tools, home / "tmp"):
            folder.mkdir(parents=True)
        for name, text in (("date", DATE), ("docker", DOCKER), ("aws", "#!/bin/sh\n"), ("curl", "#!/bin/sh\n")):
            self.write(tools / name, text)
        self.write(home / "tmp/mysqldump", "#!/bin/sh\necho -- MySQL dump\n")
        self.write(home / "ours", OURS.replace("@BRIDGES", " ".join(BRIDGES)))
        text = (CASES / f"{case}.sh").read_text()
        text = re.sub(r"/(opt/matrix|mnt/nas|tmp/)", rf"{home}/\1", text)
        if call:
            text = backup_script.add_call(text, DumpCall("mautrix-signal/test", str(home / "ours"), str(self.own)))
        self.write(home / "script", text)

    def write(self, path: Path, text: str) -> None:
        path.write_text(text.replace("@HOME", str(self.home)))
        path.chmod(0o755)

    def run(self) -> Nights:
        for night in range(NIGHTS):
            (self.home / "night").write_text(f"night={night}\n")
            known = {*self.home.rglob("*.gz")}
            path = f"{self.home}/tools:/usr/bin:/bin"
            command = ["bash", "./script"]
            done = subprocess.run(command, cwd=self.home, env={"PATH": path}, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
            for file in {*self.home.rglob("*.gz")} - known:
                subprocess.run(
                    ["touch", "-d", f"2026-01-{night + 1:02} 03:00:{len(file.name) % 60:02}", file], check=True
                )
        return self

    def theirs(self) -> list[str]:
        folders = (self.backups, self.nas, self.home / "opt/matrix/archives")
        return sorted(str(file.relative_to(self.home)) for folder in folders for file in folder.rglob("*"))


@pytest.mark.parametrize(
    "case",
    [
        "N03-dated", "N05-gz", "N05-plain", "N06-mysql", "N06-sqlite", "N07-pg_backup", "N12-done-find",
        "N12-group-tee", "N24-by-name", "N24-newest-seven", "N24-while-more-than", "N25-newest-copied",
    ],
)  # fmt: skip
def test_eight_nights_leave_the_operator_what_he_has_without_us_and_make_ours_each_night(
    tmp_path: Path, case: str
) -> None:
    alone = Nights(tmp_path / "alone", case, call=False).run()
    ours = Nights(tmp_path / "ours", case, call=True).run()
    assert ours.theirs() == alone.theirs() != []
    assert len([*ours.own.iterdir()]) == NIGHTS * len(BRIDGES)
