"""Which command of Pulumi's CLI a command line is."""

from __future__ import annotations

from collections.abc import Sequence

# The root's flags that take no value (pulumi 3.259.0, pkg/cmd/pulumi/pulumi.go); any other takes the next word.
_ALONE = {"--disable-integrity-checking", "--emoji", "-e", "--fully-qualify-stack-names", "-Q", "--help", "-h"}
_ALONE |= {"--logflow", "--logtostderr", "--non-interactive", "--version"}


def operation(words: Sequence[str]) -> str:
    """The command (`up`, `destroy`, …) of a command line without the program's name; "" if there is none.

    Flags before it are passed over as the CLI's own parser does (github.com/spf13/cobra v1.10.2, command.go,
    stripFlags).
    """
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            break
        takes_value = word.startswith("--") or (word.startswith("-") and len(word) == 2)
        if takes_value and "=" not in word and word not in _ALONE:
            if len(left) <= 1:
                break
            left.pop(0)
        elif word and not word.startswith("-"):
            return word
    return ""


def destroys(words: Sequence[str]) -> bool:
    """Whether it takes the stack's resources away."""
    return operation(words) in ("destroy", "down", "dn")


def makes_nothing(words: Sequence[str]) -> bool:
    """Whether it runs the program and makes none of its resources."""
    return destroys(words) or operation(words) in ("refresh", "preview", "pre")
