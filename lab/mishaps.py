"""What may happen to a deployed stack between two runs, or during one: the second half of `make faults`.

Each mishap is made to happen on the lab. Preview must tell of it, and `up` must either refuse it, with nothing changed
on the host, or mend it. In the end `up` finds nothing more to do, and the bridge works.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from host_programs.host_lock import list_running_steps
from lab.engine import LabError, run
from lab.ssh_server import SshServer

if TYPE_CHECKING:
    from lab.faults import Faults

UP = ("up", "--yes", "--skip-preview")
DATABASE = "mautrix_signal"
SECONDS = 120.0  # for a step that was cut off
NO_STEPS = ("-role", "-database", "-image", "-container", "-cleanup")  # no programs of ours run for them in an `up`


class Mishaps:
    """On the lab of these `faults`. `steps`: the Commands of an `up`, by their names."""

    def __init__(self, faults: Faults, steps: list[str]) -> None:
        self.faults, self.lab = faults, faults.lab
        on_deployed: dict[str, Callable[[], str]] = {
            "the keys are made anew": self.renew_keys,
            "the state is lost": self.lose_state,
            "the database's comment is lost": self.lose_comment,
            "the role is gone": self.remove_role,
            "PUBLIC is let in": self.let_public_in,
            "the registration is edited": self.edit_registration,
            "the parent of sharedDir is another user's": self.give_parent_away,
            "the disk is full in one bridge's step": self.fill_disk,
            "two runs at once": self.run_twice,
            "Postgres has another address": self.move_postgres,
            "the port for Postgres is taken": self.take_port,
        }
        remote = [step for step in steps if not step.endswith(NO_STEPS)]
        self.all: dict[str, Callable[[], str]] = {
            **{name: partial(self._happen_to_deployed, happen) for name, happen in on_deployed.items()},
            **{f"SSH is cut in {step}": partial(self.cut_ssh, step) for step in remote},
        }

    def make_happen(self, name: str) -> str:
        """One mishap; what was wrong with what came of it, "" if nothing."""
        try:
            return self.all[name]()
        except LabError as error:
            return str(error)
        finally:
            self.faults.configure()

    def _happen_to_deployed(self, happen: Callable[[], str]) -> str:
        self.faults.start_deployed()
        wrong = happen()
        self.faults.configure()
        return wrong or self.faults.find_fault_of_deployed()

    # between two runs

    def renew_keys(self) -> str:
        """The seed of the keys is made anew: the database's key must be in it all the same."""
        self.lab.pulumi(*UP, "--replace", "**secrets-permanent-seed")
        return ""

    def lose_state(self) -> str:
        """The next `up` takes the key from the host; tokens and passwords are new."""
        self.lab.pulumi("stack", "rm", "--yes", "--force", "--preserve-config")
        wrong = self._find_fault_of_preview("this state does not hold its pickle key")
        self.lab.pulumi(*UP)
        return wrong

    def lose_comment(self) -> str:
        comment = f"(select shobj_description(oid, 'pg_database') from pg_database where datname = '{DATABASE}')"
        before = self.lab.psql(f"select quote_literal({comment})").strip()
        self.lab.psql(f"comment on database {DATABASE} is null")
        wrong = self._find_fault_of_refusal("no comment that tells")
        self.lab.psql(f"comment on database {DATABASE} is {before}")
        return wrong

    def remove_role(self) -> str:
        self.lab.psql(f"alter role {DATABASE} rename to somebody")
        wrong = self._find_fault_of_preview(DATABASE)
        self.lab.psql(f"alter role somebody rename to {DATABASE}")
        return wrong

    def let_public_in(self) -> str:
        self.lab.psql(f"grant connect on database {DATABASE} to public")
        return self._find_fault_of_mending("PUBLIC")

    def edit_registration(self) -> str:
        path = self.lab.host_dir / "synapse/registration.yaml"
        path.write_text(path.read_text().replace("as_token: ", "as_token: x"))
        return self._find_fault_of_mending("registration.yaml")

    def give_parent_away(self) -> str:
        parent = self.lab.host_dir
        before = parent.stat()
        os.chown(parent, 1000, 1000)
        try:
            return self._find_fault_of_refusal(str(parent))
        finally:
            os.chown(parent, before.st_uid, before.st_gid)

    def move_postgres(self) -> str:
        """Docker gives a container another address when others came first."""
        lab = self.lab
        lab.docker("network", "disconnect", lab.network, lab.postgres)
        first = [f"{lab.prefix}-first-{number}" for number in range(3)]
        image = lab.docker.inspect("container", [lab.postgres])[lab.postgres]["Image"]
        try:
            for name in first:
                lab.docker("run", "-d", "--name", name, "--network", lab.network, "--entrypoint", "sleep", image, "600")
            lab.docker("network", "connect", "--alias", lab.postgres, lab.network, lab.postgres)
            lab.docker("restart", lab.synapse, lab.bridge)
            lab.wait_healthy()
            lab.pulumi(*UP)
        finally:
            lab.docker("rm", "-f", *first)
        return ""

    def take_port(self) -> str:
        """Over SSH, by another user's program."""
        with SshServer(self.lab) as server:
            taken = self.lab.notes().synapse_port
            self.faults.configure(**server.config(), postgresLocalPort=taken)
            wrong = self._find_fault_of_refusal(f"127.0.0.1:{taken}")
        return wrong

    # during one

    def run_twice(self) -> str:
        """Both turn the tokens; Pulumi's lock lets one of them in."""
        self.faults.turn()
        with ThreadPoolExecutor() as pool:
            done = [*pool.map(lambda _: self.lab.pulumi(*UP, check=False), range(2))]
        codes = sorted(each.returncode == 0 for each in done)
        return "" if codes == [False, True] else f"{sum(codes)} of 2 went on: {done[0].stdout}{done[1].stdout}"

    def fill_disk(self) -> str:
        """A second bridge's directory is on a disk that is full once the directory is there."""
        lab, disk = self.lab, self.lab.host_dir / "small"
        disk.mkdir(mode=0o755)
        run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", disk])
        filler = disk / "filler"
        try:
            self.faults.configure([lab.custom_bridge("two", directory=str(disk / "two"))])
            with _when(lambda: (disk / "two").is_dir(), lambda: _fill(filler)):
                done = lab.pulumi(*UP, "--continue-on-error", check=False)
            told = " ".join((done.stdout + done.stderr).split())
            if done.returncode == 0 or "No space left" not in told or "Traceback" in told:
                return f"exit code {done.returncode}, and not one line about the disk: {told[-1500:]}"
            if fault := self.faults.find_fault_of_ping():
                return f"the other bridge is harmed: {fault}"
            filler.unlink()
            lab.pulumi(*UP)
            self.faults.configure()
            lab.pulumi(*UP)
            return ""
        finally:
            run(["umount", disk])
            disk.rmdir()

    def cut_ssh(self, step: str) -> str:
        """In an `up` from a fresh host on."""
        lab = self.lab
        lab.reset()
        with SshServer(lab) as server:
            self.faults.configure(**server.config())
            fault = {"LAB_CUT": f"create {step}", "LAB_CUT_SSHD": str(server.listener)}
            cut = lab.pulumi(*UP, check=False, env=fault)
            told = " ".join((cut.stdout + cut.stderr).split())
            if not cut.returncode or "Traceback" in told:
                return f"exit code {cut.returncode}, and not one line about the connection: {told[-1500:]}"
            end = time.monotonic() + SECONDS
            while list_running_steps(f"mautrix-signal/lab:{lab.host_dir}/bridges") and time.monotonic() < end:
                time.sleep(0.1)  # it goes on to its end on the host, and preview tells of it
            lab.pulumi(*UP)
            wrong = self.faults.find_fault_of_deployed()
        lab.reset()
        return wrong

    # judgements

    def _say(self, *words: str) -> tuple[int, str]:
        done = self.lab.pulumi(*words, check=False)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def _find_fault_of_preview(self, words: str) -> str:
        told = self._say("preview")[1]
        return "" if words in told else f"preview does not tell {words!r}: {told[-1500:]}"

    def _find_fault_of_mending(self, words: str) -> str:
        wrong = self._find_fault_of_preview(words)
        self.faults.reapply += 1
        self.faults.configure()
        self.lab.pulumi(*UP)
        return wrong

    def _find_fault_of_refusal(self, words: str) -> str:
        before = self.faults.snapshot()
        code, told = self._say(*UP)
        if not code or words not in told:
            return f"`up`: exit code {code}, and {words!r} should be told: {told[-1500:]}"
        if self.faults.snapshot() != before:
            return "`up` was refused, and yet has changed something on the host"
        return self.faults.find_fault_of_ping() or self._find_fault_of_preview(words)


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextlib.contextmanager
def _when(is_so: Callable[[], bool], then: Callable[[], object]) -> Iterator[None]:
    """While the body runs: as soon as it `is_so`, do `then`, once."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if is_so():
                then()
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
