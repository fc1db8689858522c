"""What the program file on the host does when it is run: one step, told by two words and JSON on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, get_type_hints

from host_programs.host_lock import hold_step_lock
from host_programs.messages import ScriptError, print_line, say
from host_programs.verbs import VERBS, verb_of
from host_programs.wire import WireError, from_json, to_json


@dataclass(frozen=True)
class Order:
    """Standard input of a step. `arguments` are those of the verb; `step` ("DEPLOYMENT RESOURCE", "": none) has it wait
    for another run of the same step; `docker_host` is Docker's address ("": the one that docker takes by itself);
    another number of `reapply` only makes Pulumi run the step again."""

    arguments: Any
    step: str = ""
    docker_host: str = ""
    reapply: int = 0


def main() -> NoReturn:
    """Run the verb, print its result as JSON, exit 0. Otherwise exit 1 with a ScriptError's text, with one line of what
    the host refused (a full disk), or with the traceback of a defect of ours. SIGTERM and SIGHUP raise SystemExit, so
    that a verb takes back what it began."""
    words = " ".join(sys.argv[1:])
    if words == "status":  # for a person, on the host
        from host_programs.status import print_status

        print_status.main()
    if words not in VERBS:
        say(f"usage: python3 -I {sys.argv[0]} status; or AREA VERB, with a JSON object on standard input; one of:")
        say("\n".join(f"  {verb}" for verb in sorted(VERBS)))
        sys.exit(64)  # EX_USAGE of sysexits.h; Python itself ends with 2 if there is no such file
    for number in _ENDING:
        signal.signal(number, _exit_by_signal)
    try:
        result = _run(words)
    except (ScriptError, WireError) as error:
        say(str(error))
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"{words}: {place}{error.strerror or error}: mend that on the host, then run this again")
        sys.exit(1)
    except Exception:
        say(traceback.format_exc().rstrip())
        sys.exit(1)
    print_line(json.dumps(to_json(result), sort_keys=True), sys.stdout)
    sys.exit(0)


_ENDING = (signal.SIGTERM, signal.SIGHUP)


def _exit_by_signal(number: int, _: object) -> NoReturn:
    for ending in _ENDING:  # a second one does not cut short what the first has the verb take back
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(f"ended by {signal.Signals(number).name}")  # is said at the exit: `say` may be at work in this thread


def _run(words: str) -> Any:
    try:
        order = from_json(Order, json.loads(sys.stdin.buffer.read()), "standard input")
    except ValueError as error:  # its text tells where, and nothing of what is there
        raise ScriptError(f"standard input: is no JSON, should be an object with `arguments`: {error}") from None
    if order.docker_host:
        os.environ["DOCKER_HOST"] = order.docker_host
    verb = verb_of(words)
    kind = next(hint for name, hint in get_type_hints(verb).items() if name != "return")
    arguments = from_json(kind, order.arguments, f"{words}: arguments")
    with hold_step_lock(order.step) if order.step else nullcontext():
        return verb(arguments)
