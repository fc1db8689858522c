"""`python -m lab demo`: deploys the bridge on the lab as an operator would: preview, up, and the results.

A second demo finds all as it should be and says so.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from lab.box import Lab


def demo(lab: Lab, say: Callable[[str], None]) -> None:
    """Bring the lab up, run `pulumi preview` and `pulumi up` on it, and show that the bridge answers.

    Raises LabError if a step fails; the terminal shows that step's output by then.
    """
    start = time.monotonic()
    lab.up()
    for words in (("preview",), ("up", "--yes", "--skip-preview")):
        say(f"pulumi {words[0]}")
        started = time.monotonic()
        lab.pulumi(*words, capture=False)
        say(f"pulumi {words[0]}: {time.monotonic() - started:.1f} s")
    known, outputs = lab.outputs(), lab.outputs(secrets=False)
    print(f"\nThe stop-and-check: {outputs['verdict']}\n{outputs['stopAndCheck']}\n", flush=True)
    say(f"Synapse pings the bridge: {_ping(lab, known['asToken'])}")
    print("\nOutputs (secrets masked; `stack output --show-secrets` shows them)\n", flush=True)
    for name, value in outputs.items():
        if name not in ("stopAndCheck", "verdict", "servicesEntry"):
            print(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}", flush=True)
    print(_LOOK.format(lab=lab), flush=True)
    say(f"all in {time.monotonic() - start:.0f} s")


_LOOK = """
Look around
  docker ps --filter name={lab.prefix}
      the containers
  docker logs {lab.bridge}
      the bridge
  ls -la {lab.host_dir}
      the host's files
  .venv/bin/python -m lab pulumi preview
      any Pulumi command on the lab's stack: up, refresh, stack output, …
  .venv/bin/python -m lab pulumi destroy --yes
      take the bridge away
  .venv/bin/python -m lab reset
      the host as it was in the beginning
  make down
      the lab goes away
"""


def _ping(lab: Lab, token: str) -> str:
    """Status and body of Synapse's answer to the appservice's ping."""
    request = urllib.request.Request(
        f"{lab.synapse_url}/_matrix/client/v1/appservice/signal/ping",
        data=b"{}",
        headers={"Authorization": f"Bearer {token}"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
