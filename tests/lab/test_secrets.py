"""A token or a password that comes out somewhere: CLI output, engine log, state, evidence, inspect, process list, logs.

Every secret of the stack is searched for plain, URL-encoded and in base64, in all that a whole life of it leaves.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from documents.credentials import DoublePuppet, Keys, Seed, Tokens
from lab.box import Lab
from tests.lab.conftest import REFRESH, user_that_synapse_does_not_see

pytestmark = pytest.mark.e2e


class ProcessList:
    """Command lines and environments of all processes, sampled while something runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._end = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for part in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / part).read_bytes())
                    except OSError:
                        continue


def spellings(secret: str) -> set[bytes]:
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode()}
    for shift in range(3):  # base64 of a longer text that holds it
        coded = base64.b64encode(b"x" * shift + plain)
        found.add(coded[-(-shift * 4 // 3) + (1 if shift else 0) :].rstrip(b"=")[:-1])
    return found


def test_the_search_finds_each_spelling() -> None:
    secret = "correct-horse-battery-staple"
    for text in (secret, quote(secret), *(base64.b64encode(b"x" * n + secret.encode()).decode() for n in range(5))):
        assert any(spelling in text.encode() for spelling in spellings(secret)), text


def logs(lab: Lab, container: str) -> bytes:
    done = lab.docker("logs", container)
    return (done.stdout + done.stderr).encode()


def test_no_secret_is_anywhere_but_in_the_files_that_must_hold_it(lab: Lab) -> None:
    heard: dict[str, bytes] = {}
    processes = ProcessList()

    def run(name: str, *words: str, fails: bool = False) -> None:
        done = lab.pulumi(*words, "-v=3", "--logtostderr", check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        heard[name] = (done.stdout + done.stderr).encode()

    with processes.watching():
        run("preview", "preview", "--diff")
        run("up", "up", "--yes", "--skip-preview", "--diff")
        exported = json.loads(lab.pulumi("stack", "export", "--show-secrets").stdout)
        state = (lab.dir / "state/.pulumi/stacks/mautrix-signal/lab.json").read_bytes()
        heard["inspect"] = json.dumps(lab.docker.inspect("container", [lab.bridge])).encode()
        heard["bridge log"] = logs(lab, lab.bridge)
        with user_that_synapse_does_not_see(lab) as user:
            lab.write_config(adminUser=user)
            run("failing up", "up", "--yes", "--skip-preview", "--diff", fails=True)
        heard["evidence"] = (lab.host_dir / "signal-bridge/stop-and-check-failed.json").read_bytes()
        lab.write_config()
        run("second up", "up", "--yes", "--skip-preview")
        run("refresh", *REFRESH, "--skip-preview", "--diff")
        run("masked outputs", "stack", "output", "--json")
        heard["synapse log"], heard["postgres log"] = logs(lab, lab.synapse), logs(lab, lab.postgres)
        run("destroy", "destroy", "--yes", "--skip-preview")

    secrets: dict[str, str] = {}
    for resource in exported["deployment"]["resources"]:
        if resource["urn"].endswith(("-rotating-seed", "-permanent-seed")):
            made = json.loads(json.loads(resource["outputs"]["stdout"]["plaintext"]))
            seed = Seed(made["seed"])
            name = resource["urn"].rpartition("::secrets-")[2]
            secrets[f"the {name}"] = seed.seed
            if name == "rotating-seed":
                secrets |= vars(seed.derive_secrets(Tokens, "mautrix-signal"))
                secrets |= {
                    f"doublepuppet {key}": each for key, each in vars(seed.derive_secrets(DoublePuppet, "")).items()
                }
            else:  # the sender is a name, and in the registration for Synapse to log
                secrets["pickle_key"] = seed.derive_secrets(Keys, "mautrix-signal").pickle_key
    assert len(secrets) == 10 and all(len(secret) == 64 for secret in secrets.values())
    # Postgres' superuser: the program reads it from the container, whose environment has held it all along.
    environment = lab.docker.inspect("container", [lab.postgres])[lab.postgres]["Config"]["Env"]
    (superuser,) = (entry.partition("=")[2] for entry in environment if entry.startswith("POSTGRES_PASSWORD="))

    heard["state"] = state
    heard["processes"] = b"\n".join(processes.seen)
    for name, secret in {**secrets, "superuser": superuser}.items():
        for place, text in heard.items():
            if name == "superuser" and place == "processes":
                text = b"\n".join(seen for seen in processes.seen if b"POSTGRES_PASSWORD=" not in seen)
            assert not [spelling for spelling in spellings(secret) if spelling in text], f"{name} is in: {place}"
