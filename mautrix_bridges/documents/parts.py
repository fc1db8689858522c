"""What of the plan a program makes: all of it, or one part beside others that somebody else made."""

from __future__ import annotations

import enum


class Part(enum.Flag):
    """DATABASE: role and database, who gets into which, the nightly dumps, archives. REGISTRATION: the files, the lines
    in homeserver.yaml, Synapse's restart. CONTAINER: directory, config, image, the gate, the bridge itself."""

    DATABASE = enum.auto()
    REGISTRATION = enum.auto()
    CONTAINER = enum.auto()


WHOLE = Part.DATABASE | Part.REGISTRATION | Part.CONTAINER
