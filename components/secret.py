"""A secret made once and kept, encrypted, in the stack's state."""

from __future__ import annotations

import shlex

import pulumi
from pulumi_command import local

from scripts import bundle

# Everything of a Command but its triggers.
MADE_ONCE = (
    "create",
    "update",
    "delete",
    "stdin",
    "environment",
    "dir",
    "interpreter",
    "logging",
    "addPreviousOutputInEnv",
)


def secret(name: str, length: int, generation: int | None, parent: pulumi.Resource) -> pulumi.Output[str]:
    """`length` letters and digits that stay the same until `generation` changes (None: for ever).

    Made on the machine that runs Pulumi. All changes but the trigger's are ignored: a Command runs again whenever an
    input changes, so an edit of its text would otherwise rotate every token without a word.
    """
    text = bundle.source("scripts.generate")
    command = local.Command(
        name,
        create=f"python3 -c {shlex.quote(text)} {length}",
        triggers=None if generation is None else [generation],
        logging=local.Logging.NONE,
        add_previous_output_in_env=False,
        opts=pulumi.ResourceOptions(
            parent=parent,
            ignore_changes=[*MADE_ONCE],
            additional_secret_outputs=["stdout", "stderr"],
        ),
    )
    return pulumi.Output.secret(command.stdout)
