"""A directory that a stack owns on the host: a bridge's, or the one for the whole stack. A file in it names the stack,
so a later run knows that the content is ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from documents.marks import file_owner
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say

CLAIM = ".stack"
PROGRAMS = "mautrix-host-"  # the program files' names begin with it: program_file.py
CONFIGS = "config-"  # a directory for each version of a bridge's config: its name begins with this
READY = ".ready"  # the id of the container that got ready: host_programs/bridge/readiness.py writes it
JOURNAL = ".homeserver.json"  # an edit that is in progress: synapse/homeserver_journal.py writes it
PROVEN = ".proven.json"  # the dumps that the proof made: host_programs/backup/proof.py writes it
EVIDENCE = "stop-and-check-failed.json"  # left by a failed check: host_programs/synapse/stop_and_check.py writes it
DEPLOYED = "deployed.json"  # what is deployed, for the verb status: host_programs/status/deployed.py writes it
PULLED = ".pulled"  # the images that were not on the host before: host_programs/bridge/images.py writes it
NEWEST = "mautrix-host.pyz"  # a link to the newest program file, for a person: files/programs.py makes it
OUR_FILES = (CLAIM, READY, JOURNAL, PROVEN, EVIDENCE, DEPLOYED, PULLED, NEWEST)


@dataclass(frozen=True)
class ClaimedDirectory:
    """A directory that only root may write into. `stack`: who claims it ("project/name"); `setting`: the setting that
    names the path."""

    path: str
    stack: str
    setting: str


def claim_directory(arguments: ClaimedDirectory) -> None:
    """Make the directory this stack's. ScriptError if it holds anything of somebody else."""
    path, stack = Path(arguments.path), arguments.stack
    owner = _read_claim(path)
    if path.exists() and not path.is_dir():
        raise ScriptError(f"{path}: is no directory: move it away or set another {arguments.setting}")
    if owner not in (None, stack):
        raise ScriptError(f"{path}: belongs to the stack {owner}: set another {arguments.setting}")
    if owner is None and path.is_dir() and any(path.iterdir()) and stack not in read_config_owners(path):
        fix = f"move them away or set another {arguments.setting}"
        raise ScriptError(f"{path}: holds files that this stack did not make: {fix}")
    if not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory: make it or set another {arguments.setting}")
    safe_files.make_directory(path, 0o755)
    if owner is None:
        safe_files.write_file(path / CLAIM, f"{stack}\n".encode())


def _read_claim(path: Path) -> Optional[str]:
    """The stack that the claim in the directory names; None without a claim."""
    mark = safe_files.read_file(path / CLAIM, links=False)
    return mark.data.decode(errors="replace").strip() if mark else None


def read_config_owners(path: Path) -> set[str]:
    """The stacks that the configs in a bridge's directory name. They tell its owner when the claim is lost."""
    return {file_owner(config.read_text(errors="replace")) for config in list_configs(path)} - {""}


def list_configs(path: Path) -> list[Path]:
    """All versions of the config in a bridge's directory."""
    return sorted(path.glob(f"{CONFIGS}*/config.yaml"))


def release_directory(arguments: ClaimedDirectory) -> None:
    """Remove the directory with our files. Other files stay, with a warning. Everything stays while a file says that a
    killed run left work to undo: cleanup/stack.py undoes it first. Another stack's directory stays as it is."""
    directory = Path(arguments.path)
    if not directory.is_dir() or _read_claim(directory) not in (None, arguments.stack):
        return
    if any((directory / name).exists() for name in (JOURNAL, PROVEN)):
        return
    for programs in directory.glob(f"{PROGRAMS}*.pyz"):
        if file_owner(programs.read_bytes().partition(b"\n")[0].decode(errors="replace")) == arguments.stack:
            programs.unlink()
    for name in OUR_FILES:
        (directory / name).unlink(missing_ok=True)
    if others := sorted(entry.name for entry in directory.iterdir()):
        say(f"warning: {directory} stays: it holds files that this stack did not make: {', '.join(others)}")
    else:
        directory.rmdir()
