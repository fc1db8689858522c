"""The verb `status`, the operator's first aid: a table on stdout, and the exit code that monitoring programs expect.

python3 -I SHAREDDIR/mautrix-host-….pyz status
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from host_programs.files.directory import DEPLOYED
from host_programs.messages import ScriptError
from host_programs.status.deployed import read_deployment
from host_programs.status.read_status import read_status
from verdicts.status.evaluation import StatusReport, evaluate_status, report_unreadable_status
from verdicts.status.table import format_status


def main() -> NoReturn:
    """Exit with 0 (all is well), 1 (a warning) or 2 (critical)."""
    report = read_report(Path(sys.argv[0]))
    encoding = sys.stdout.encoding or "utf-8"  # cron's may not have every character
    print(format_status(report).encode(encoding, "replace").decode(encoding), flush=True)
    sys.exit(int(report.level))


def read_report(program: Path) -> StatusReport:
    """The report on the deployment that the file beside the program tells of."""
    try:
        deployment = read_deployment(program.absolute().parent / DEPLOYED)
    except ScriptError as error:
        return report_unreadable_status(str(error))
    if deployment.docker_host:
        os.environ["DOCKER_HOST"] = deployment.docker_host
    return evaluate_status(read_status(deployment))
