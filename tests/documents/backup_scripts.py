"""What the tests of the pg_backup.sh edit share: the corpus, a stub `docker`, and a run of a script for real."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from documents.backup_script import Block, Dump

CORPUS = {
    path.stem: path.read_bytes().decode() for path in sorted((Path(__file__).parent / "corpus/pg_backup").glob("*.sh"))
}

SIGNAL = Block(
    "mautrix-signal/contabo", "matrix-postgres", (Dump("mas", "mas"), Dump("mautrix_signal", "mautrix_signal"))
)
WHATSAPP = Block(
    "mautrix-whatsapp/contabo", "matrix-postgres", (Dump("mas", "mas"), Dump("mautrix_whatsapp", "mautrix_whatsapp"))
)

# `docker exec … pg_dump …` with the database last: a small dump. Lists of databases: STUB_FAIL stops half way with exit
# code 1, STUB_CUT ends early with exit code 0, STUB_LATE is whole with exit code 1. Each call is noted in $STUB_CALLS.
STUB = r"""#!/bin/bash
words="$*"
echo "$words" >> "$STUB_CALLS"
database=${words##*[ =]}
echo "-- PostgreSQL database dump"
case " ${STUB_FAIL-} " in *" $database "*) echo "pg_dump: error: connection to $database lost" >&2; exit 1 ;; esac
case " ${STUB_CUT-} " in *" $database "*) exit 0 ;; esac
printf -- '--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict 4f8e\n\n'
case " ${STUB_LATE-} " in *" $database "*) exit 1 ;; esac
"""


@dataclass
class Ran:
    code: int
    output: str
    directory: Path
    calls: list[str]

    def dumps(self) -> list[str]:
        """The names of the dumps, the timestamp taken off."""
        return sorted({re.split(r"[_-]\d", path.name)[0] for path in self.directory.glob("*.sql.gz*")})


def at(text: str, home: Path) -> str:
    """The script with its paths below `home`."""
    return text.replace("/opt/matrix", str(home))


def run(text: str, home: Path, *, fail: str = "", cut: str = "", late: str = "", arguments: Sequence[str] = ()) -> Ran:
    """Run a script (its paths moved below `home`) by its own `#!` line."""
    home.mkdir(parents=True, exist_ok=True)
    tools = home / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "docker").write_text(STUB)
    (tools / "docker").chmod(0o755)
    (home / "backups").mkdir(exist_ok=True)
    calls = home / "calls"
    calls.write_text("")
    script = home / "pg_backup.sh"
    script.write_text(at(text, home))
    script.chmod(0o755)
    done = subprocess.run(
        [str(script), *arguments],
        env={
            "PATH": f"{tools}:{os.environ['PATH']}",
            "STUB_CALLS": str(calls),
            "STUB_FAIL": fail,
            "STUB_CUT": cut,
            "STUB_LATE": late,
        },
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, home / "backups", calls.read_text().splitlines())
