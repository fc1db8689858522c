"""The images that `up` brought to the host. Only these may go again: somebody may need one that was there before. The
note is in the bridge's own directory; an image that is not in it stays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from host_programs.docker import filter_existing
from host_programs.files import safe_files
from host_programs.files.directory import PULLED


def note_image(directory: Path, image: str) -> None:
    """Before the image is pulled: note it, if Docker does not have it yet."""
    noted = _read_note(directory)
    if image not in noted and not filter_existing("image", [image]):
        safe_files.write_file(directory / PULLED, "".join(f"{name}\n" for name in (*noted, image)).encode())


def list_pulled(directory: Path, images: Iterable[str]) -> list[str]:
    """Those of the images that are noted."""
    return sorted({*_read_note(directory)} & {*images})


def _read_note(directory: Path) -> list[str]:
    content = safe_files.read_file(directory / PULLED, links=False)
    return content.data.decode(errors="replace").split() if content else []
