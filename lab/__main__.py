"""`python -m lab up|status|reset|down`: the lab, for people. See lab/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lab.box import Lab
from lab.engine import LabError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A Matrix host in a box, for this checkout.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("up", help="make or start the lab; what is there stays as it is")
    verbs.add_parser("status", help="what is there (exit status 1 when the lab is not up)")
    verbs.add_parser("reset", help="the host as it was after the first up, in seconds; Pulumi's state is emptied")
    down = verbs.add_parser("down", help="remove all that the lab made; images stay")
    down.add_argument("--orphans", action="store_true", help="also what is left of labs whose checkout is gone")
    verbs.add_parser("demo", help="up, `pulumi preview` and `pulumi up` on it, and what came of it")
    pulumi = verbs.add_parser("pulumi", help="run the Pulumi CLI on the lab: python -m lab pulumi up --yes")
    pulumi.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    return parser


def _say(line: str) -> None:
    print(f"lab: {line}", flush=True)


def _print_status(lab: Lab) -> int:
    report = lab.status()
    for key, value in report.items():
        if isinstance(value, dict):
            for name, state in value.items():
                print(f"{name}: {state}")
        elif isinstance(value, list):
            for item in value:
                print(f"the lab of {item}, which is gone, has left containers: python -m lab down --orphans")
        else:
            print(f"{key}: {value if not isinstance(value, bool) else ('yes' if value else 'no')}")
    return 0 if report["up"] else 1


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    lab = Lab.here(_say)
    try:
        if arguments.verb == "up":
            lab.up()
        elif arguments.verb == "reset":
            lab.reset()
        elif arguments.verb == "down":
            lab.down()
            if arguments.orphans:
                lab.clear_orphans()
        elif arguments.verb == "demo":
            # Not needed by the other verbs, which run before everything is set up.
            from lab.demo import demo

            demo(lab, _say)
        elif arguments.verb == "pulumi":
            return lab.pulumi(*arguments.arguments, check=False, capture=False).returncode
        else:
            return _print_status(lab)
    except LabError as error:
        print(f"python -m lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("python -m lab: interrupted; the next `up` clears what is half made", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
