"""The two scripts of the nightly backup: ours, which dumps, and the operator's, which calls it."""

from __future__ import annotations

import errno
import os
import pwd
import re
import shlex
import signal
import stat
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Optional

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall
from documents.masking import clean_log
from documents.refusal import Refused
from host_programs.files import safe_files
from host_programs.files.files import read_dump_script_owner
from host_programs.messages import ScriptError, say

LAST_LINES = 20
LIMIT = 6 * 3600.0  # seconds that a run may take
CRON_PATH = "/usr/bin:/bin"  # crontab(5)


def _put_back(path: Path, old: Optional[bytes], written: bytes) -> None:
    """Give a file that we have `written` its `old` content; None: it did not exist."""
    content = safe_files.read_file(path, foreign=True)
    if content is None or content.data != written:
        say(f"note: {path}: somebody changed it meanwhile, so it was not put back")
    elif old is None:
        safe_files.remove_file(path, foreign=True)
    else:
        safe_files.rewrite_file(path, old, foreign=True)
        say(f"{path}: put back as it was")


def install_dump_script(path: Path, text: str, stack: str, undo: ExitStack) -> None:
    """Write our dump script. ScriptError if somebody else's file is in its place."""
    owner = read_dump_script_owner(path)
    if owner not in (None, stack):
        raise ScriptError(f"{path}: exists and is not this stack's: move it away")
    old, new = safe_files.read_file(path) if owner else None, text.encode()
    if old is None or old.data != new or stat.S_IMODE(old.status.st_mode) != 0o700:
        safe_files.write_file(path, new, mode=0o700)
        undo.callback(_put_back, path, old.data if old else None, new)


def remove_dump_script(path: Path, stack: str) -> None:
    """Remove our dump script, if it is this stack's."""
    if read_dump_script_owner(path) == stack:
        safe_files.remove_file(path)


def read_script(path: Path, errors: str = "strict") -> str:
    """The operator's script. `errors`: as of bytes.decode."""
    try:
        content = safe_files.read_file(path, foreign=True)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return content.data.decode(errors=errors)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}: check the setting backupScript") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: is not UTF-8 text: convert it") from None


def add_call(path: Path, text: str, call: DumpCall, undo: ExitStack) -> None:
    """Have the operator's script, whose text this is, call ours."""
    try:
        new, error = edit(text, call)
    except Refused as refused:
        raise ScriptError("\n".join(refused.lines(str(path)))) from None
    if error:
        raise ScriptError(f"{path}:{error}")
    if safe_files.rewrite_file(path, new.encode(), foreign=True):
        undo.callback(_put_back, path, text.encode(), new.encode())
        say(f"{path}: has the call")


def remove_call(path: Path, stack: str, undo: ExitStack) -> None:
    """Take our call out of the operator's script. ScriptError, and nothing changed, if only one of our marks stands in
    it."""
    if safe_files.read_file(path, foreign=True) is None:
        say(f"warning: {path}: is gone, so there is nothing to take out")
        return
    text = read_script(path, errors="surrogateescape")  # whatever somebody wrote into it meanwhile
    try:
        new = backup_script.remove_call(text, stack).encode(errors="surrogateescape")
    except Refused as refused:
        raise ScriptError("\n".join(refused.lines(str(path)))) from None
    if safe_files.rewrite_file(path, new, foreign=True):
        undo.callback(_put_back, path, text.encode(errors="surrogateescape"), new)
        say(f"{path}: the call of {stack} is out")


# A syntax error where a command may begin; plain text inside a quote or a here-document that is not closed yet.
_UNFINISHED = "\n)\n"


def edit(text: str, call: DumpCall) -> tuple[str, str]:
    """The script with the call, and what is wrong with it then, as `LINE: reason: fix` ("": nothing). Where the place
    among the script's own dumps will not do, the call is at the end. Raises Refused as
    documents/backup/backup_script.py does."""
    shell = backup_script.find_interpreter(text)
    edited = backup_script.add_call(text, call)
    if (error := _find_error(shell, backup_script.remove_call(text, call.owner))) is not None:
        return edited, f"{_find_line(error)}: {shell} cannot read the script as it is: {error}: repair it"
    wrong = _check_place(shell, edited, call)
    if wrong:
        at_end = backup_script.add_call(text, call, at_end=True)
        if not _check_place(shell, at_end, call):
            return at_end, ""
    return edited, wrong


def _check_place(shell: str, edited: str, call: DumpCall) -> str:
    """What is wrong with the place of the call: the text above must be complete by itself, and the whole valid."""
    above = backup_script.text_above_call(edited, call.owner)
    place = above.count("\n") + 1
    fix = f"put the two lines `# >>> {call.owner}` and `# <<< {call.owner}` where it should stand, at the margin"
    if _find_error(shell, above) is not None or _find_error(shell, above + _UNFINISHED) is None:
        return f"{place}: our call would stand inside of something that is not closed there: {fix}"
    if (error := _find_error(shell, edited)) is not None:
        return f"{place}: {shell} cannot read the script with our call in it: {error}: {fix}"
    return ""


def _find_error(shell: str, text: str) -> Optional[str]:
    """The last line that the shell says against it; None if it finds nothing."""
    # A script may switch these on by itself, which nothing does where it is only read.
    options = ["-O", "extglob"] if shell == "bash" and "extglob" in text else []
    try:
        done = subprocess.run(
            [shell, *options, "-n"],
            input=text,
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return f"{shell} is not on the host"
    except subprocess.TimeoutExpired:
        return f"{shell} -n does not end"
    if not done.returncode:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _find_line(error: str) -> int:
    match = re.search(r"(?:line |: )(\d+):", error)
    return int(match[1]) if match else 1


def find_foreign_owner(path: Path) -> str:
    """Who else than root can change the program, as a line with the command that mends it; "" if nobody can. Root must
    not run it then."""
    program = Path(os.path.realpath(path))
    for folder in dict.fromkeys([program.parent, path.absolute().parent]):
        if fault := safe_files.find_fault(folder):
            return fault
    status, word = safe_files.inspect_file(program), shlex.quote(str(program))
    if status is None:
        return ""  # whoever reads it says so
    if status.st_uid not in (0, os.geteuid()):
        return f"{program}: belongs to uid {status.st_uid}, who can change what root runs: `chown root {word}`"
    if status.st_mode & 0o022:
        return f"{program}: others may write into it, and change what root runs: `chmod go-w {word}`"
    return ""


def make_cron_environment() -> dict[str, str]:
    """What cron gives a script of the user who runs this: nothing of this program's own, which may hold secrets, and
    nothing that the nightly run does not have."""
    account = pwd.getpwuid(os.geteuid())
    named = {"HOME": account.pw_dir, "LOGNAME": account.pw_name, "USER": account.pw_name, "SHELL": "/bin/sh"}
    language = {"LANG": os.environ["LANG"]} if "LANG" in os.environ else {}
    return {"PATH": CRON_PATH, **named, **language}


def run_script(command: Sequence[str], secrets: Sequence[str] = (), shown: bool = True) -> None:
    """Run the script with its arguments as cron would, and show what it says, but the secrets; if not `shown`, only
    where it fails. ScriptError if it is not root's alone; with its last lines if it fails, or takes longer than LIMIT.
    Whatever it has started ends with it then, and when this process is ended."""
    script, environment = Path(command[0]), make_cron_environment()
    if foreign := find_foreign_owner(script):
        raise ScriptError(foreign)
    text = read_script(script, errors="replace")
    if not os.access(script, os.X_OK) or not text.startswith("#!"):
        command = [backup_script.find_interpreter(text), *command]
    say(f"one run of {script}")
    last: deque[str] = deque(maxlen=LAST_LINES)
    late = threading.Event()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=environment["HOME"] if os.path.isdir(environment["HOME"]) else "/",
        env=environment,
        start_new_session=True,
    ) as process:

        def end() -> None:
            late.set()
            _kill_group(process)

        timer = threading.Timer(LIMIT, end)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                last.append(clean_log(raw.decode(errors="replace").rstrip("\n"), secrets))
                if shown:
                    say(f"  {script.name} | {last[-1]}")
            process.wait()
        except BaseException:
            _kill_group(process)
            raise
        finally:
            timer.cancel()
    head = ""
    if late.is_set():
        head = f"{script}: its run took over {LIMIT / 3600:g} hours and was ended"
    elif process.returncode:
        head = f"{script}: its run failed with exit code {process.returncode}"
    if head:
        raise ScriptError("\n".join([f"{head}; its last lines:", *(f"  {line}" for line in last)]))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
