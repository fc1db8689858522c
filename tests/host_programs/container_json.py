"""What `docker container inspect` prints, as far as the scripts read it (fields of Docker 20.10 and newer)."""

from __future__ import annotations

import json

ID = "0123456789abcdef" * 4
STARTED = "2026-11-24T14:28:02.273427765Z"
CREATED = "2026-11-24T14:28:01.445924776Z"
EVENTS = (
    f"events --since {CREATED} --until {STARTED} --filter container={ID} --filter event=die "
    '--filter event=stop --format {{.Action}} {{index .Actor.Attributes "exitCode"}}'
)


def inspected(
    status: str = "running",
    exit_code: int = 0,
    restarts: int = 0,
    error: str = "",
    oom: bool = False,
    address: str = "",
) -> str:
    """`address`: in the network; "": none that the host knows."""
    return json.dumps(
        [
            {
                "Id": ID,
                "Name": "/mautrix-signal",
                "Created": CREATED,
                "Image": "sha256:feed",
                "RestartCount": restarts,
                "Config": {"Image": "dock.mau.dev/mautrix/signal:v0.2603.0", "Labels": {}, "Env": ["A=b"]},
                "NetworkSettings": {"Networks": {"matrix-net": {"IPAddress": address}}},
                "Mounts": [{"Type": "bind", "Source": "/opt/matrix/mautrix-signal/config-0", "Destination": "/data"}],
                "State": {
                    "Status": status,
                    "Running": status in ("running", "restarting"),  # yes: Docker calls a restarting one running
                    "StartedAt": STARTED,
                    "Pid": 4242,
                    "ExitCode": exit_code,
                    "Error": error,
                    "OOMKilled": oom,
                },
            }
        ]
    )
