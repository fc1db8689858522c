"""Reads the stack's settings from Pulumi's config, and reports all bad values together.

Each bad value is one line: the key, the value, and what it should be. A secret's value is in none of them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any

from documents.bridge.kinds import CUSTOM, make_bridge
from settings import checks
from settings.fields import BridgeSettings, Settings, bridge_defaults, key_of


class BadSettings(Exception):
    """Its text has one line for each bad setting."""


def read() -> Settings:
    """The running stack's settings. Raises pulumi.RunError, which ends the program with its text and no traceback."""
    import pulumi

    config = pulumi.Config()
    stored = (key.partition(":") for key in pulumi.runtime.get_config_env())
    keys = [*map(key_of, _names()), *(key for namespace, _, key in stored if namespace == config.name)]
    texts = {key: config.get(key) for key in keys}
    secret = {key for key in texts if pulumi.runtime.is_config_secret(config.full_key(key))}
    try:
        settings = parse(texts, secret)
    except BadSettings as bad:
        raise pulumi.RunError(str(bad)) from None
    if settings.postgres_password and "postgresPassword" not in secret:
        raise pulumi.RunError(
            "postgresPassword: is in plain text in the stack's config; "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    return settings


def parse(texts: Mapping[str, str | None], secret: Collection[str] = ()) -> Settings:
    """Settings from config values by key, as Pulumi keeps them: text, lists and mappings as JSON; `secret` are the keys
    that were set with --secret.

    Raises BadSettings with a line for each key that is missing, bad, or no setting.
    """
    parsed, problems = _check_fields(Settings, texts, secret)
    known = [*map(key_of, _names())]
    for key in sorted(texts.keys() - {*known}):
        near = [name for name in known if name.lower() == key.lower()] or difflib.get_close_matches(key, known, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        problems.append(f"{key}: no such setting: {meant}`pulumi config rm {key}`; docs/settings.md has all of them")
    for field in fields(Settings):
        key = key_of(field.name)
        if texts.get(key) == "" and field.metadata["empty"]:
            parsed[field.name] = ""
        elif not texts.get(key):
            problems.append(f"{key}: not set; set it with `pulumi config set {key} …`")
    bridges: list[BridgeSettings] = []
    for number, entry in enumerate(parsed.pop("bridges", ())):
        bridge, bad = _parse_entry(f"bridges[{number}]", entry, entry if "bridges" in secret else ())
        problems += bad
        if bridge:
            bridges.append(bridge)
            problems += checks.check_bridge(bridge, parsed)
    problems += checks.check_stack(parsed)
    problems += [*checks.check_pairs(bridges)] or [*checks.check_directories(bridges, parsed)]
    if problems:
        raise BadSettings("\n".join(problems))
    return Settings(**parsed, bridges=tuple(bridges))


def _names() -> Iterator[str]:
    return (field.name for field in fields(Settings))


def _parse_entry(
    setting: str, entry: Mapping[str, Any], secret: Collection[str]
) -> tuple[BridgeSettings | None, list[str]]:
    """One entry of `bridges`: its settings, or None and a line for each bad key."""
    parsed, problems = _check_fields(BridgeSettings, entry, secret, f"{setting}.")
    keys = [key_of(field.name) for field in fields(BridgeSettings) if "check" in field.metadata]
    for key in sorted(entry.keys() - {*keys}):
        problems.append(f"{setting}.{key}: no such key: should be one of {', '.join(keys)}")
    if parsed.get("kind") == CUSTOM:
        missing = [key for key in ("name", "network", "image", "port", "binary") if not entry.get(key)]
        problems += [f"{setting}.{key}: not set, and kind custom needs it" for key in missing]
    if problems:
        return None, problems
    bridge = make_bridge(parsed)
    return BridgeSettings(setting=setting, bridge=bridge, **{**bridge_defaults(bridge), **parsed}), []


def _check_fields(
    kind: type, texts: Mapping[str, Any], secret: Collection[str], where: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """The typed values by field, and a line for each bad one. What is empty is left out."""
    parsed: dict[str, Any] = {}
    problems = []
    for field in fields(kind):
        key = key_of(field.name)
        value = texts.get(key)
        if "check" not in field.metadata or value in (None, "", 0):
            continue
        try:
            parsed[field.name] = field.metadata["check"](value if isinstance(value, str) else json.dumps(value))
        except ValueError as error:
            may_hold_one = key in ("bridges", "bridgeConfig") or not isinstance(value, (str, int))
            shown = "" if key in secret or may_hold_one else f"{value!r} "
            problems.append(f"{where}{key}: {shown}should be {error}")
    return parsed, problems
