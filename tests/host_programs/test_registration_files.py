"""A Synapse that could not start, since a registration that it lists is gone; a registration that stays for ever;
another stack's, or the operator's, that goes with ours."""

from __future__ import annotations

import json
import os

import pytest

from host_programs.synapse.registration_files import remove_registrations
from tests.host_programs.synapse_host import MARK, STACK, TOKEN, Host, host

__all__ = ["host"]

REGISTER, UNREGISTER = "register_appservices", "unregister_appservices"
BOTH = ["doublepuppet.yaml", "registration.yaml"]


@pytest.fixture
def two(host: Host) -> Host:
    """Two bridges are registered; the files are older than Synapse's start."""
    host.want("irc.yaml", f"{TOKEN}-irc")
    host.good(REGISTER)
    host.old()
    return host


def leave(host: Host, name: str = "irc.yaml") -> None:
    """A bridge is taken from the settings."""
    host.texts = {other: text for other, text in host.texts.items() if other != name}


def test_the_files_are_there_before_the_restart_with_owner_and_mode(host: Host) -> None:
    host.good(REGISTER)
    assert host.synapse.state["beside"] == ["doublepuppet.yaml", "homeserver.yaml", "registration.yaml"]
    for name, text in host.texts.items():
        status = host.path(name).stat()
        assert (host.path(name).read_text(), status.st_mode & 0o7777) == (text, 0o600)


def erase(host: Host, name: str = "irc.yaml") -> tuple[str, ...]:
    """As the cleanup of a bridge that leaves: the paths that went."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{host.synapse.folder}:{os.environ['PATH']}")
        return remove_registrations(host.arguments.synapse, STACK, [str(host.path(name))])


def test_the_file_of_a_bridge_that_leaves_goes_after_the_restart_and_not_before(two: Host) -> None:
    leave(two)
    assert erase(two) == (), "Synapse would not start: homeserver.yaml lists it"
    two.good(REGISTER)
    assert "irc.yaml" in two.synapse.state["beside"], "Synapse ran with it until the restart"
    assert ("irc.yaml" in two.registrations, "irc.yaml" in two.text, two.restarts) == (True, False, 2)
    assert erase(two) == (str(two.path("irc.yaml")),)
    assert two.registrations == BOTH
    assert two.good(REGISTER) == {"changed": False, "restarted": False, "removed": []}


def test_it_stays_when_synapse_does_not_start_without_it(two: Host) -> None:
    """The old homeserver.yaml is back and lists it: without the file Synapse would not start again."""
    leave(two)
    listed = two.text
    two.synapse.set(poison=MARK)
    two.bad(REGISTER)
    assert (two.text, two.registrations) == (listed, ["doublepuppet.yaml", "irc.yaml", "registration.yaml"])


def test_a_line_of_somebody_else_s_keeps_the_file(two: Host) -> None:
    line = f"- {two.folder}/data/irc.yaml  {MARK}"
    assert line in two.text
    two.file.write_bytes(two.text.replace(line, line.partition("  #")[0]).encode())
    two.old()
    leave(two)
    two.good(REGISTER)
    assert erase(two) == () and "irc.yaml" in two.registrations
    done = two.run(UNREGISTER)
    assert f"warning: {two.path('irc.yaml')} stays: {two.file} lists it, in a line that this stack" in done.stderr
    assert json.loads(done.stdout)["removed"] == [str(two.path(name)) for name in BOTH]
    assert two.registrations == ["irc.yaml"]


ANOTHER = "app_service_config_files:\n  - {data}/irc.yaml\n"


@pytest.mark.parametrize(
    ("text", "processes", "stopped"),
    [
        (ANOTHER, [["synapse.app.homeserver", "-c", "{data}/homeserver.yaml", "-c", "{data}/more.conf"]], False),
        (ANOTHER, [["synapse.app.homeserver"], ["synapse.app.generic_worker", "-c", "{data}/more.conf"]], False),
        (ANOTHER, [["python3", "-m", "synapse.app.homeserver", "--config-path={data}/more.conf"]], True),
        (ANOTHER, [["sh", "-c", "sleep 1; python3 -m synapse.app.homeserver -c {data}/more.conf"]], True),
        (
            "app_service_config_files: ['{data}/more/../irc.yaml']",
            [["synapse.app.homeserver", "-c{data}/more.conf"]],
            False,
        ),
        ("{{app_service_config_files: [&x ./irc.yaml]}}", [["synapse.app.homeserver", "-c", "{data}/more.conf"]], True),
        ('"app_service_config_files":\n- "\\x2f{data}/other.yaml"', [["x", "-c", "{data}/more.conf"]], True),
    ],
    ids=["second file", "worker", "stopped", "in a shell's text", "detour", "relative", "through a link"],
)
def test_what_any_part_of_the_configuration_lists_stays(
    two: Host, capsys: pytest.CaptureFixture[str], text: str, processes: list[list[str]], stopped: bool
) -> None:
    """Pins a destroy after which Synapse does not start: entries in a template, in a second file, in a worker's."""
    leave(two)
    two.good(REGISTER)
    data = str(two.folder / "data")
    two.path("more.conf").write_text(text.format(data=data))
    two.path("other.yaml").symlink_to("irc.yaml")
    words = [[word.format(data=data) for word in process] for process in processes]
    two.synapse.set(**({"status": "exited", "command": words[0]} if stopped else {"processes": words}))
    assert erase(two) == () and "irc.yaml" in two.registrations
    said = capsys.readouterr().err
    assert f"warning: {two.path('irc.yaml')} stays: {data}/more.conf in matrix-synapse lists it, in a line" in said
    two.path("more.conf").write_text("app_service_config_files: [/elsewhere/irc.yaml]\n")
    assert erase(two) == (str(two.path("irc.yaml")),), "another file of that name is none of ours"


def test_what_the_configuration_lists_is_asked_of_a_separate_worker_too(two: Host) -> None:
    leave(two)
    two.good(REGISTER)
    two.server = {"workers": ("synapse-worker",)}
    two.synapse.set_worker(lists=f"{two.folder}/data/irc.yaml")
    assert erase(two) == () and "irc.yaml" in two.registrations
    two.synapse.set_worker(lists="")
    assert erase(two) == (str(two.path("irc.yaml")),)


@pytest.mark.parametrize("broken", ["more.conf", "the image"])
def test_a_file_stays_while_nobody_can_tell_whether_it_is_listed(
    two: Host, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    leave(two)
    two.good(REGISTER)
    words = ["synapse.app.homeserver", "-c", str(two.path("more.conf"))]
    two.path("more.conf").write_text("a: [")
    two.synapse.set(status="exited", broken_image=broken == "the image", command=words)
    assert erase(two) == () and "irc.yaml" in two.registrations
    assert "irc.yaml stays: whether Synapse's configuration lists it is unknown: " in capsys.readouterr().err
    two.path("more.conf").unlink()
    two.synapse.set(broken_image=False)
    assert erase(two) == (str(two.path("irc.yaml")),), "a file that is gone lists nothing"


def test_what_a_killed_write_left_beside_them_goes(two: Host) -> None:
    """Tokens, and the whole of homeserver.yaml."""
    for name in ("homeserver.yaml", "irc.yaml"):
        two.path(f".{name}.mautrix-unfinished").write_text("secret")
    assert len(two.good(UNREGISTER)["removed"]) == 3
    assert two.registrations == []


def test_what_a_killed_run_left_goes_with_the_rest_and_others_stay(host: Host) -> None:
    """Killed after the restart that forgot it, or under an earlier setting: nothing else would remove it."""
    host.good(REGISTER)
    host.want("irc.yaml", f"{TOKEN}-irc")
    host.put()
    leave(host)
    host.place("operators.yaml", "somebody-else-s")
    host.path("other.yaml").write_text(host.texts["registration.yaml"].replace("contabo", "other"))
    host.path("link.yaml").symlink_to("registration.yaml")
    assert host.good(REGISTER)["restarted"] is False, "what nothing lists changes nothing"
    removed = host.good(UNREGISTER)["removed"]
    assert removed == [str(host.path(name)) for name in ("doublepuppet.yaml", "irc.yaml", "registration.yaml")]
    assert host.registrations == ["link.yaml", "operators.yaml", "other.yaml"]


def test_a_large_file_beside_them_is_not_read(host: Host) -> None:
    """Pins a removal that reads a file of gigabytes whole, since its name ends in .yaml."""
    host.path("log.yaml").write_text(host.texts["registration.yaml"] + "# more\n" * 10_000)
    assert host.good(UNREGISTER)["removed"] == []
    assert host.registrations == ["log.yaml"]


def test_somebody_else_s_file_in_the_place_of_one_is_refused_and_nothing_is_written(host: Host) -> None:
    host.place("doublepuppet.yaml", "somebody-else-s")
    was = host.text
    error = host.bad(REGISTER)
    assert f"{host.path('doublepuppet.yaml')}: exists and was not made by this stack: move it away" in error
    assert (host.text, host.restarts, host.registrations) == (was, 0, ["doublepuppet.yaml"])
    assert "somebody-else-s" in host.path("doublepuppet.yaml").read_text()


def test_a_refusal_puts_the_old_registrations_back(host: Host) -> None:
    """New tokens on the disk that the running Synapse does not have: its next start would shut the bridges out."""
    host.good(REGISTER)
    host.old()
    before = {name: (host.path(name).read_text(), host.path(name).stat().st_mtime_ns) for name in BOTH}
    good = host.texts
    host.want("registration.yaml", f"{TOKEN}-2")  # double puppeting's: the loader refuses it
    host.want("irc.yaml", f"{TOKEN}-irc")
    assert "Cannot reuse as_token" in host.bad(REGISTER)
    assert {name: (host.path(name).read_text(), host.path(name).stat().st_mtime_ns) for name in BOTH} == before
    assert host.registrations == BOTH
    host.texts = good
    assert host.good(REGISTER)["restarted"] is False


def test_one_that_is_listed_and_missing_is_written_again(host: Host) -> None:
    """The next start of Synapse would end for want of it."""
    host.good(REGISTER)
    host.path("registration.yaml").unlink()
    assert host.good(REGISTER)["restarted"] is True and host.registrations == BOTH


def test_one_that_is_listed_and_missing_is_there_before_synapse_is_asked_for_its_health(host: Host) -> None:
    """Pins a Synapse that cannot start without the file, while we wait for its start before we write the file."""
    host.good(REGISTER)
    host.path("registration.yaml").unlink()
    host.synapse.set(healthy=False)
    error = host.bad(REGISTER)
    assert f"{host.path('registration.yaml')}: was missing, though homeserver.yaml lists it" in error
    assert host.registrations == BOTH


def test_all_go_after_the_restart_that_forgets_them(two: Host) -> None:
    assert len(two.good(UNREGISTER)["removed"]) == 3
    assert len(two.synapse.state["beside"]) == 4 and two.registrations == []


def test_all_stay_while_synapse_is_down_for_the_removal(two: Host) -> None:
    two.synapse.set(poison="server_name")
    two.bad(UNREGISTER)
    assert len(two.registrations) == 3
    two.synapse.set(poison=None, healthy=True)
    assert len(two.good(UNREGISTER)["removed"]) == 3 and two.registrations == []


def test_without_homeserver_yaml_they_go_all_the_same(two: Host) -> None:
    two.file.unlink()
    assert len(two.good(UNREGISTER)["removed"]) == 3
    assert os.listdir(two.file.parent) == []
