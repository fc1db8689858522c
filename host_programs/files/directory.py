"""A directory that a stack owns on the host: a bridge's, or the one for the whole stack. A file in it names the stack,
so a later run knows that the content is ours."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from documents.bridge.pickle_key import fingerprint_key
from documents.bridge.written_config import find_pickle_key
from documents.marks import file_owner
from host_programs.files import files, safe_files
from host_programs.messages import ScriptError, say

CLAIM = ".stack"
PROGRAMS = "mautrix-host-"  # the program files' names begin with it: program_file.py
CONFIG = "config.yaml"
CONFIGS = "config-"  # a directory for each version of a bridge's config: its name begins with this
NAMES = ".postgres"  # the bridge's role and database by name: cleanup/bridge.py has it written
READY = ".ready"  # the id of the container that got ready: host_programs/bridge/readiness.py writes it
JOURNAL = ".homeserver.json"  # an edit that is in progress: synapse/homeserver_journal.py writes it
PROVEN = ".proven.json"  # the dumps that the proof made: host_programs/backup/proof.py writes it
EVIDENCE = "stop-and-check-failed.json"  # left by a failed check: host_programs/synapse/stop_and_check.py writes it
DEPLOYED = "deployed.json"  # what is deployed, for the verb status: host_programs/status/deployed.py writes it
PULLED = ".pulled"  # the images that were not on the host before: host_programs/bridge/images.py writes it
NEWEST = "mautrix-host.pyz"  # a link to the newest program file, for a person: files/programs.py makes it
WORK = ".work"  # a directory for what one run needs: host_programs/backup/nightly_backup.py makes and removes it
OUR_FILES = (CLAIM, NAMES, READY, JOURNAL, PROVEN, EVIDENCE, DEPLOYED, PULLED, NEWEST)


@dataclass(frozen=True)
class ClaimedDirectory:
    """A directory that only root may write into. `stack`: who claims it ("project/name"); `setting`: the setting that
    names the path; `shared`: for a bridge's, the path of the stack's own, which then cannot be another one later."""

    path: str
    stack: str
    setting: str
    shared: str = ""


@dataclass(frozen=True)
class Claim:
    """What the mark in a directory tells: `stack` and `shared` as of ClaimedDirectory."""

    stack: str
    shared: str


def claim_directory(arguments: ClaimedDirectory) -> None:
    """Make the directory this stack's. ScriptError if it holds anything of somebody else, or if others than root could
    change what is in it."""
    path, stack, setting = Path(arguments.path), arguments.stack, arguments.setting
    if fault := safe_files.find_fault(path):
        raise ScriptError(f"{fault} (setting {setting})")
    claim = read_claim(path)
    if claim and claim.stack != stack:
        raise ScriptError(f"{path}: belongs to the stack {claim.stack}: set another {setting}")
    if claim is None and safe_files.list_directory(path) and stack not in read_config_owners(path):
        fix = f"move them away or set another {setting}"
        raise ScriptError(f"{path}: holds files that this stack did not make: {fix}")
    safe_files.make_directory(path, 0o755)
    if claim is None:
        lines = [f"{line}\n" for line in (stack, arguments.shared) if line]
        safe_files.write_file(path / CLAIM, "".join(lines).encode())


def claim_names(path: Path, names: Sequence[str]) -> None:
    """Note in the bridge's directory what this stack is about to make in Postgres, one a line: it gets its comment
    only later."""
    safe_files.write_file(path / NAMES, "".join(f"{name}\n" for name in names).encode())


def read_claimed_names(path: Path, stack: str) -> tuple[str, ...]:
    """What `claim_names` noted, if the directory is this stack's."""
    claim = read_claim(path)
    noted = safe_files.read_file(path / NAMES, links=False) if claim and claim.stack == stack else None
    return tuple(noted.data.decode(errors="replace").splitlines()) if noted else ()


def read_claim(path: Path) -> Optional[Claim]:
    """The claim in a directory; None without one."""
    mark = safe_files.read_file(path / CLAIM, links=False)
    stack, shared, *_ = [*mark.data.decode(errors="replace").split("\n"), "", ""] if mark else ("", "")
    return Claim(stack.strip(), shared.strip()) if mark else None


def read_config_owners(path: Path) -> set[str]:
    """The stacks that the configs in a bridge's directory name. They tell its owner when the claim is lost."""
    contents = (safe_files.read_file(folder / CONFIG, links=False) for folder in list_configs(path))
    return {files.parse_file_owner(content) for content in contents if content} - {""}


def list_configs(path: Path) -> list[Path]:
    """The directories of all versions of the config in a bridge's directory."""
    return [path / name for name in safe_files.list_directory(path) if name.startswith(CONFIGS)]


def read_config(folder: Path) -> str:
    """The text of this version of the config; "" if there is none."""
    content = safe_files.read_file(folder / CONFIG, links=False)
    return content.data.decode(errors="replace") if content else ""


def read_config_key(folder: Path) -> str:
    """The pickle key in this version of the config; "" if there is none."""
    return find_pickle_key(read_config(folder))


def remove_config(folder: Path, stack: str, is_archived: Callable[[str], bool]) -> bool:
    """Remove one version of the config with its directory; whether it was there and is gone. It stays, with a warning,
    if it has the last copy of a pickle key: `is_archived` tells whether the key of that fingerprint is elsewhere, too.
    """
    path, key = folder / CONFIG, read_config_key(folder)
    if key and not is_archived(fingerprint_key(key)):
        say(
            f"warning: {path} stays: no archive holds its pickle key, and without it no dump of the bridge's database "
            "is of use: delete it when you need none"
        )
        return False
    was_there = files.remove_owned_file(path, stack)
    safe_files.remove_directory(folder)
    return was_there


def release_directory(arguments: ClaimedDirectory) -> None:
    """Remove the directory with our files. Other files stay, with a warning. Everything stays while a file says that a
    killed run left work to undo: cleanup/stack.py undoes it first. Another stack's directory stays as it is."""
    directory, claim = Path(arguments.path), read_claim(Path(arguments.path))
    names = safe_files.list_directory(directory)
    if (claim and claim.stack != arguments.stack) or {JOURNAL, PROVEN} & {*names}:
        return
    for name in names:
        if name.startswith(PROGRAMS) and _is_program_of(directory / name, arguments.stack):
            safe_files.remove_file(directory / name)
    safe_files.remove_tree(directory / WORK)
    for name in OUR_FILES:
        safe_files.remove_file(directory / name)
    if others := safe_files.list_directory(directory):
        say(f"warning: {directory} stays: it holds files that this stack did not make: {', '.join(others)}")
    else:
        safe_files.remove_directory(directory)


def _is_program_of(path: Path, stack: str) -> bool:
    status = safe_files.inspect_file(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    with safe_files.open_file(path) as file:
        return file_owner(file.readline().decode(errors="replace")) == stack
