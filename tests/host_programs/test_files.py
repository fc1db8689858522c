"""A file of somebody else's that is overwritten or removed, a wrong owner or mode, a directory left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host_programs.files import directory, files, safe_files
from host_programs.files.directory import ClaimedDirectory
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError


def claimed(directory: Path, stack: str = "p/a") -> ClaimedDirectory:
    return ClaimedDirectory(str(directory), stack, "sharedDir")


HEAD = "# bridge: written by the Pulumi stack p/a.\n"


def config(path: Path, content: str = f"{HEAD}a: 1\n", own_directory: bool = False, stack: str = "p/a") -> OwnedFiles:
    return OwnedFiles(stack, (OwnedFile(str(path), content, os.geteuid(), os.getegid(), own_directory=own_directory),))


def test_a_directory_is_claimed_and_released_without_a_trace(tmp_path: Path) -> None:
    directory.claim_directory(claimed(tmp_path / "bridge"))
    assert (tmp_path / "bridge").stat().st_mode & 0o777 == 0o755
    directory.claim_directory(claimed(tmp_path / "bridge"))  # again: a second `up`
    directory.release_directory(claimed(tmp_path / "bridge"))
    assert list(tmp_path.iterdir()) == []


def test_another_stack_s_directory_is_refused(tmp_path: Path) -> None:
    directory.claim_directory(claimed(tmp_path / "bridge", "p/a"))
    with pytest.raises(ScriptError, match="belongs to the stack p/a: set another sharedDir"):
        directory.claim_directory(claimed(tmp_path / "bridge", "p/b"))


def test_a_directory_with_strangers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ScriptError, match="holds files that this stack did not make"):
        directory.claim_directory(claimed(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes"]


def test_a_parent_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=f"{tmp_path}/no: no such directory"):
        directory.claim_directory(claimed(tmp_path / "no" / "bridge"))


def test_what_others_put_there_stays_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory.claim_directory(claimed(tmp_path / "bridge"))
    (tmp_path / "bridge" / "notes").write_text("mine")
    (tmp_path / "bridge" / directory.EVIDENCE).write_text("{}")
    directory.release_directory(claimed(tmp_path / "bridge"))
    assert [entry.name for entry in (tmp_path / "bridge").iterdir()] == ["notes"]
    assert "warning" in capsys.readouterr().err


def test_releasing_twice_is_fine(tmp_path: Path) -> None:
    directory.release_directory(claimed(tmp_path / "bridge"))
    assert list(tmp_path.iterdir()) == []


def test_a_stranger_s_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "registration.yaml").write_text("mine")
    with pytest.raises(ScriptError, match="exists and was not made by this stack"):
        files.write_files(config(tmp_path / "registration.yaml"))
    assert (tmp_path / "registration.yaml").read_text() == "mine"


def test_a_file_is_made_changed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    files.write_files(config(path))
    assert path.stat().st_mode & 0o777 == 0o600
    files.write_files(config(path))  # a run that was killed after the write
    files.write_files(config(path, f"{HEAD}a: 2\n"))
    assert path.read_text() == f"{HEAD}a: 2\n"
    assert files.remove_owned_file(path, "p/a")
    assert not files.remove_owned_file(path, "p/a")
    assert list(tmp_path.iterdir()) == []


def test_an_update_repairs_mode_and_loss(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    files.write_files(config(path))
    path.chmod(0o644)
    files.write_files(config(path))
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    files.write_files(config(path))
    assert path.read_text() == f"{HEAD}a: 1\n"


def test_an_older_version_of_ours_is_replaced_and_another_stack_s_is_neither_written_nor_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "registration.yaml"
    files.write_files(config(path))
    files.write_files(config(path, f"{HEAD}a: 2\n"))
    assert path.read_text().endswith("a: 2\n")
    with pytest.raises(ScriptError, match="exists and was not made by this stack"):
        files.write_files(config(path, HEAD.replace("p/a", "p/b"), stack="p/b"))
    assert not files.remove_owned_file(path, "p/b")
    assert path.exists() and "its first line does not name this stack" in capsys.readouterr().err


def test_a_link_is_not_what_we_wrote(tmp_path: Path) -> None:
    """Synapse's directory is Synapse's: a link in it must not choose what root writes, and an erase takes the link."""
    victim, path = tmp_path / "victim", tmp_path / "registration.yaml"
    victim.write_text(f"{HEAD}x")
    path.symlink_to(victim)
    with pytest.raises(ScriptError, match=r"is a link to .*, not a file of its own: remove the link"):
        files.write_files(config(path))
    files.remove_owned_file(path, "p/a")
    assert not path.is_symlink() and victim.read_text() == f"{HEAD}x"


def test_a_directory_without_its_mark_is_known_by_the_config_in_it(tmp_path: Path) -> None:
    directory.claim_directory(claimed(tmp_path / "bridge"))
    files.write_files(config(tmp_path / "bridge/config-1/config.yaml", own_directory=True))
    (tmp_path / "bridge" / directory.CLAIM).unlink()
    with pytest.raises(ScriptError, match="holds files that this stack did not make"):
        directory.claim_directory(claimed(tmp_path / "bridge", "p/b"))
    directory.claim_directory(claimed(tmp_path / "bridge"))
    assert directory.read_claim(tmp_path / "bridge") == directory.Claim("p/a", "")


def test_of_several_files_none_is_written_if_one_is_a_stranger_s(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("mine")
    both = OwnedFiles("p/a", (*config(tmp_path / "one").files, *config(tmp_path / "two").files))
    with pytest.raises(ScriptError, match="two: exists and was not made by this stack"):
        files.write_files(both)
    assert [entry.name for entry in tmp_path.iterdir()] == ["two"]


def test_an_unchanged_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    files.write_files(config(path))
    os.utime(path, (1, 1))
    files.write_files(config(path))
    assert path.stat().st_mtime == 1, "its time tells whether Synapse has to read it again"


def test_a_config_comes_and_goes_with_its_directory(tmp_path: Path) -> None:
    """Only root can change that directory; the bridge's user can read it."""
    path = tmp_path / "config-1" / "config.yaml"
    files.write_files(config(path, own_directory=True))
    status = path.parent.stat()
    assert (status.st_mode & 0o777, status.st_uid, path.stat().st_mode & 0o777) == (0o755, os.geteuid(), 0o600)
    assert directory.remove_config(path.parent, "p/a", lambda _: True)
    assert list(tmp_path.iterdir()) == []


def test_a_bridge_s_directory_goes_with_its_configs_and_with_what_killed_runs_left(tmp_path: Path) -> None:
    """Pins secrets that stay in a directory since an unfinished file of ours counts as somebody else's."""
    own = claimed(tmp_path / "bridge")
    directory.claim_directory(own)
    files.write_files(config(tmp_path / "bridge/config-1/config.yaml", own_directory=True))
    (tmp_path / "bridge/config-2").mkdir()
    for name in ("config-2/.config.yaml", "..ready", ".mautrix-host-0.pyz"):
        (tmp_path / f"bridge/{name}.mautrix-unfinished").write_text("secret")
    (tmp_path / "bridge" / directory.WORK).mkdir()
    (tmp_path / "bridge" / directory.WORK / "bridge.sql").write_text("secret")
    for folder in directory.list_configs(tmp_path / "bridge"):
        directory.remove_config(folder, "p/a", lambda _: True)
    directory.release_directory(own)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_was_cut_short_is_no_stranger(tmp_path: Path) -> None:
    """Killed between the first write into a new directory and its end."""
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge/..stack.mautrix-unfinished").write_text("p/")
    directory.claim_directory(claimed(tmp_path / "bridge"))
    assert [path.name for path in (tmp_path / "bridge").iterdir()] == [directory.CLAIM]


def test_a_directory_in_one_of_another_user_s_is_refused(tmp_path: Path) -> None:
    """He could swap it: a forged note in it has root delete what it names."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 991, 991)
    with pytest.raises(
        ScriptError, match=rf"chown root {tmp_path}/theirs, or choose another .* \(setting sharedDir\)$"
    ):
        directory.claim_directory(claimed(tmp_path / "theirs/bridge"))
    assert list((tmp_path / "theirs").iterdir()) == []


def test_extended_attributes_come_along(tmp_path: Path) -> None:
    """An ACL on homeserver.yaml is one of them, where the file system has them."""
    path = tmp_path / "homeserver.yaml"
    path.write_text("a: 1\n")
    os.setxattr(path, "user.note", b"mine")
    assert safe_files.rewrite_file(path, b"a: 2\n")
    assert (path.read_text(), os.getxattr(path, "user.note")) == ("a: 2\n", b"mine")
