"""What our dump script notes of each database: the path of its newest whole dump, and why its last run made none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host_programs.files import safe_files

MADE, FAILED = ".made", ".failed"  # how the names of the two files end; they begin with the database's


@dataclass(frozen=True)
class DumpRecord:
    """`path`: of the newest whole dump, "" if there was none; `noted_at`: when that was noted (ns, the disk's clock).
    `failed`: time and reason of the last run, if that made no dump."""

    path: str = ""
    noted_at: int = 0
    failed: str = ""


def read_records(directory: Path, databases: Iterable[str]) -> dict[str, DumpRecord]:
    """By database. OSError or ScriptError if one cannot be read, or if others than root could have written it."""
    return {database: _read_record(directory, database) for database in databases}


def _read_record(directory: Path, database: str) -> DumpRecord:
    made = safe_files.read_file(directory / f"{database}{MADE}", links=False)
    failed = safe_files.read_file(directory / f"{database}{FAILED}", links=False)
    return DumpRecord(
        _decode(made.data) if made else "",
        made.status.st_mtime_ns if made else 0,
        _decode(failed.data) if failed else "",
    )


def _decode(data: bytes) -> str:
    return data.decode(errors="replace").strip()


def read_all(directory: Path) -> dict[str, bytes]:
    """The files, for `put_back`."""
    contents = {
        name: safe_files.read_file(directory / name, links=False) for name in safe_files.list_directory(directory)
    }
    return {name: content.data for name, content in contents.items() if content}


def put_back(directory: Path, before: dict[str, bytes]) -> None:
    """Make the files what they were."""
    now = read_all(directory)
    for name in now.keys() - before.keys():
        safe_files.remove_file(directory / name)
    for name, data in before.items():
        if now.get(name) != data:
            safe_files.write_file(directory / name, data)
    if not before:
        safe_files.remove_directory(directory)
