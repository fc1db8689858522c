"""What an exit code of the bridge's container means, and what to do about it.

The bridge's own codes are from the source of mautrix-go, from 0.19.0 (the first release with bridgev2) to 0.32.0. A
comment names the file, and a test finds every code of the source here. Docker adds its own: 125-127 before the bridge
ran, 128+n for a signal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExitCode:
    """One exit code. `meaning` (what happened) and `fix` are one clause each, for an error message."""

    code: int
    meaning: str
    fix: str

    def __str__(self) -> str:
        return f"exit code {self.code}: {self.meaning}; {self.fix}"


_LOG = "the last lines of its log name the reason"
_CONFIG = "config.yaml is not the one that this program wrote, or the image is of another release than it was made for"
_REGISTRATION = "the bridge ran with -g, which makes a registration", "run it as this program does: `pulumi up`"

_EXPLANATIONS = {
    # bridgev2/matrix/mxmain/main.go
    0: ("the bridge was stopped in an orderly way", "if nobody meant to stop it, start it again"),
    1: (
        "the bridge could not start: most often Synapse refused the bot's encryption device",
        f"check that the registration in Synapse has io.element.msc4190; {_LOG}",
    ),
    5: _REGISTRATION,
    10: ("the config cannot be read or parsed", f"{_CONFIG}; check that uid 1337 may read it, then `pulumi up`"),
    11: ("the config holds a value that is not valid or still the example's", f"{_CONFIG}; see the log's line"),
    12: ("the logging section of the config is not valid", _CONFIG),
    14: ("the database settings are not valid", "check the database's name, role and port in the settings"),
    18: ("the homeserver is too old for the bridge (it must support Matrix 1.4)", "update Synapse"),
    20: _REGISTRATION,
    21: _REGISTRATION,
    22: _REGISTRATION,
    # bridgev2/matrix/mxmain/dberror.go
    15: (
        "the database is unreachable, refuses the role or its password, or holds another program's or newer tables",
        "check Postgres and the role's password; if the tables are foreign, use a database of the bridge's own",
    ),
    # appservice/ping.go
    13: (
        "Synapse could not reach the bridge (seven pings in 30 seconds failed)",
        "compare the registration's url and hs_token with the bridge's config, and both containers' networks",
    ),
    # bridgev2/matrix/connector.go
    16: (
        "Synapse refused the as_token or the registration of the bot",
        "check that Synapse was restarted since registration.yaml was written, and its as_token and namespaces",
    ),
    17: ("Synapse knows the as_token as another user", "another appservice has it, or the setting domain is wrong"),
    23: ("no address to listen on is configured", _CONFIG),
    # bridgev2/bridge.go
    31: ("the migration to split portals failed", _LOG),
    32: ("the database was migrated for split_portals, which is now off", "set it again in bridgeConfig.bridge"),
    # bridgev2/matrix/crypto.go
    33: ("Synapse could not be asked for the bot's own device keys", f"check Synapse's health; {_LOG}"),
    34: (
        "the bot's device could not be verified: most often Synapse still has the bot's cross-signing keys and the "
        "database that held their recovery key is gone",
        "restore that database with its key, or set recovery_key to overwrite in the new one's table kv_store",
    ),
    50: ("encryption could not be set up anew after its device was lost", _LOG),
    51: ("the bot's /sync for encryption failed for good", f"check Synapse's log; {_LOG}"),
    # The Go runtime, Docker and signals
    2: ("the bridge crashed (a Go panic)", _LOG),
    125: ("Docker could not create or start the container", "docker inspect shows the reason in State.Error"),
    126: ("the image's program is not executable", "check the image: it should be a build for this machine"),
    127: ("the image has no such program", "check the image and the path of its program"),
    137: ("the bridge was killed: out of memory, or stopped too slowly", "look at OOMKilled in docker inspect"),
    143: ("the bridge was ended (SIGTERM) before it could listen to signals", "start it again"),
}
EXIT_CODES = {code: ExitCode(code, meaning, fix) for code, (meaning, fix) in _EXPLANATIONS.items()}

# For these, a restart of the same container with the same files cannot help.
NEEDS_A_CHANGE = frozenset({5, 10, 11, 12, 14, 16, 17, 18, 20, 21, 22, 23, 32, 34, 126, 127})


def explain_exit_code(code: int) -> ExitCode:
    """The meaning of an exit code. For an unknown one, it names the signal, or says that it is unknown."""
    if code in EXIT_CODES:
        return EXIT_CODES[code]
    if 128 < code < 193:
        return ExitCode(code, f"the bridge was ended by signal {code - 128}", _LOG)
    return ExitCode(code, "a code that this release of the bridge is not known to use", _LOG)
