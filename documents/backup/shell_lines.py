"""The operator's backup script as lines of text: what is searched for in it, and how. It is not parsed as shell."""

from __future__ import annotations

import re
from collections.abc import Iterator

CALL = "mautrix_status=$?;"  # how the line of every owner's call begins

# A command's first word, wherever a command may begin, with a path or variables before it.
_BEGIN = (
    r"(?:^|[|;&(`!]|\b(?:if|then|do|else|elif|while|sudo|exec|nice|xargs|command(?:\s+-v)?))\s*(?:\w+=\S*\s+)*(?:\S*/)?"
)
UPLOAD = re.compile(
    _BEGIN + r"(?P<word>rclone|aws|rsync|scp|sftp|lftp|restic|borg|borgmatic|kopia|duplicity|s3cmd|s5cmd|gsutil|gcloud"
    r"|azcopy|b2|mc|curl(?=.*\s(?:-T|--upload-file|-F|--form)\b))(?=[\s;|&)]|$)"
)
ENCRYPTION = re.compile(_BEGIN + r"(?P<word>gpg2?|age|rage|openssl(?=\s+(?:enc|smime|cms|pkeyutl)\b))(?=\s|$)")
CLEAN_UP = re.compile(_BEGIN + r"(?:find|tmpwatch|tmpreaper|ls\s+(?:-\S+\s+)*-\w*t)(?=\w*\s|\w*$)")
EXIT_TRAP = re.compile(r"\btrap\s+(?!-\s).*\s(?:EXIT|0)\b")


def split_lines(text: str) -> list[str]:
    """The lines with their line breaks."""
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number (from 1), without comments, calls of dump scripts, and text that is only printed."""
    for number, line in enumerate(text.split("\n"), 1):
        if not re.match(rf"\s*(?:#|{re.escape(CALL)}|(?:echo|printf)\s(?!.*[|]))", line):
            yield number, line


def search_code(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """The code lines that match, by number, with the word that matched."""
    for number, line in code_lines(text):
        match = pattern.search(line)
        if match:
            yield number, match.groupdict().get("word") or match[0].strip()
