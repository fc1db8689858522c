"""Commands in the operator's backup script that matter to our dumps. The script is not parsed as shell: a command is
known by its first word. What is seen becomes a warning; a refusal only where our dumps lie among the script's own."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A line of any owner's call: one as we write it, or one of the three that a formatter makes of it.
A_CALL = re.compile(
    r"""\s*(?:mautrix_status=\$\?|\(exit "\$mautrix_status"\)"""
    r"""|\[ ! -x \S.*\] \|\| .*> ?/dev/null \|\| (?:trap 'exit 1' EXIT|echo 'a dump failed;))"""
)

# A command's first word, wherever a command may begin: behind assignments, behind a command that runs others, with a
# path before it. An image of `docker run` counts, too.
_START = r"(?:^|[|;&(`!{]|\b(?:if|then|do|else|elif|while)\b)\s*(?:\w+=\S*\s+)*"
_BEGIN = _START + (
    r"""(?:(?:sudo|doas|nice|ionice|timeout|env|exec"""
    r"""|xargs|command|nohup|chronic|sshpass|docker|podman)\b[^|;&]*?\s)?["']?(?:[^\s"']*/)?"""
)
UPLOAD = re.compile(
    _BEGIN
    + r"""(?P<word>rclone|aws|aws-cli|rsync|scp|sftp|ssh|lftp|ncftpput|restic|borg|borgmatic|kopia|duplicity|s3cmd"""
    r"""|s5cmd|gsutil|gcloud|azcopy|az|b2|mc|tarsnap|rdiff-backup|proxmox-backup-client|megaput|mega-put|gdrive"""
    r"""|dropbox_uploader(?:\.sh)?|\$\{?(?:RCLONE|S3CMD|AWS|RSYNC|RESTIC|BORG)\w*\}?"""
    r"""|curl(?=.*\s(?:-T|--upload-file|-F|--form|--data-binary|-X\s*PUT|--request\s+PUT)\b))(?=[\s;|&)"':]|$)"""
)
ENCRYPTION = re.compile(
    _BEGIN + r"""(?P<word>gpg2?|age|rage|ccrypt|openssl(?=\s+(?:enc|smime|cms|pkeyutl|aes\S*)\b)|7z[ar]?(?=.*\s-p)"""
    r"""|zip(?=.*\s(?:-e|--encrypt|-P)\b))(?=\s|$)"""
)
STOP = re.compile(
    _START + r"""(?:sudo\s+)?(?P<word>docker(?:[- ]compose|\s+container)?(?:\s+-\S+(?:\s+[^-\s]\S*)?)*?"""
    r"""\s+(?:stop|down|pause|kill|restart)|systemctl\s+(?:stop|restart)|service\s+\S+\s+(?:stop|restart))(?=[\s;|&)]|$)"""
)
CLEAN_UP = re.compile(_BEGIN + r"(?:find|tmpwatch|tmpreaper|ls\s+(?:-\S+\s+)*-\w*t)(?=\w*\s|\w*$)")
EXIT_TRAP = re.compile(r"\btrap\s+(?!-\s).*\s(?:EXIT|0)\b")
CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")


def list_commands(text: str) -> Iterator[tuple[int, str]]:
    """The lines with the number (from 1) where each begins: one that goes on in the next is one with it. Without
    comments, calls of dump scripts, and text that is only printed."""
    begin, command = 0, ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        begin = begin if command else number
        if CONTINUED.search(line) and not line.lstrip().startswith("#"):
            command += f"{line[:-1]} "
            continue
        command += line
        if not A_CALL.match(command) and not re.match(r"\s*(?:#|(?:echo|printf)\s(?!.*[|]))", command):
            yield begin, command
        command = ""


def search_code(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """The commands that match, by number, with the word that matched."""
    for number, line in list_commands(text):
        match = pattern.search(line)
        if match:
            yield number, match.groupdict().get("word") or match[0].strip()
