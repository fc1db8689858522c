"""Reads the stack's settings from Pulumi's config, and reports all bad values together.

Each bad value is one line: the key, the value, and what it should be. A secret's value is in none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from documents.bridge import kinds
from settings import checks
from settings.fields import BridgeSettings, Settings, bridge_defaults, key_of


class BadSettings(Exception):
    """Its text has one line for each bad setting."""


def read() -> Settings:
    """The running stack's settings. Raises pulumi.RunError, which ends the program with its text and no traceback."""
    import pulumi

    config = pulumi.Config()
    try:
        settings = parse({key_of(field.name): config.get(key_of(field.name)) for field in fields(Settings)})
    except BadSettings as bad:
        raise pulumi.RunError(str(bad)) from None
    if settings.postgres_password and not pulumi.runtime.is_config_secret(config.full_key("postgresPassword")):
        raise pulumi.RunError(
            "postgresPassword: is in plain text in the stack's config; "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    return settings


def parse(texts: Mapping[str, str | None]) -> Settings:
    """Settings from config values by key, as Pulumi keeps them: text, lists and mappings as JSON.

    Raises BadSettings with a line for each key that is missing or bad.
    """
    parsed: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(Settings):
        key = key_of(field.name)
        text = texts.get(key)
        if text == "" and field.metadata["empty"]:
            parsed[field.name] = ""
        elif not text:
            problems.append(f"{key}: not set; set it with `pulumi config set {key} …`")
        else:
            try:
                parsed[field.name] = field.metadata["check"](text)
            except ValueError as error:
                shown = "" if field.name == "bridges" else f"{text!r} "
                problems.append(f"{key}: {shown}should be {error}")
    bridges: list[BridgeSettings] = []
    for number, entry in enumerate(parsed.pop("bridges", ())):
        bridge, bad = _parse_entry(f"bridges[{number}]", entry)
        problems += bad
        if bridge:
            bridges.append(bridge)
            problems += checks.check_bridge(bridge, parsed)
    problems += checks.check_stack(parsed)
    problems += [*checks.check_pairs(bridges)] or [*checks.check_directories(bridges, parsed)]
    if problems:
        raise BadSettings("\n".join(problems))
    return Settings(**parsed, bridges=tuple(bridges))


def _parse_entry(setting: str, entry: Mapping[str, Any]) -> tuple[BridgeSettings | None, list[str]]:
    """One entry of `bridges`: its settings, or None and a line for each bad key."""
    checked = {key_of(field.name): field for field in fields(BridgeSettings) if "check" in field.metadata}
    known = dict.fromkeys([*kinds.FIELDS, *kinds.CUSTOM_FIELDS, *checked])
    problems = [
        f"{setting}.{key}: no such key: should be one of {', '.join(known)}" for key in sorted(entry.keys() - {*known})
    ]
    try:
        bridge = kinds.bridge_from_entry(entry)
    except ValueError as error:
        return None, [*problems, f"{setting}: should be {error}"]
    values = bridge_defaults(bridge)
    for key, field in checked.items():
        value = entry.get(key)
        if value in (None, "", 0):
            continue
        try:
            values[field.name] = field.metadata["check"](value if isinstance(value, str) else json.dumps(value))
        except ValueError as error:
            shown = f"{value!r} " if isinstance(value, (str, int)) else ""  # a whole config may hold secrets
            problems.append(f"{setting}.{key}: {shown}should be {error}")
    key = str(entry.get("name") or entry.get("kind", "signal"))
    return (None if problems else BridgeSettings(key=key, setting=setting, bridge=bridge, **values)), problems
