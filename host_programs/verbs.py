"""All steps that run on the host, by the two words of their command line: `python3 -I mautrix-host-….pyz AREA VERB`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

VERBS = {
    "host read": "host_programs.facts.host:observe",
    "programs install": "host_programs.files.programs:install_programs",
    "stack cleanup": "host_programs.cleanup.stack:cleanup_stack",
    "secrets make-seed": "host_programs.secrets:make_seed",
    "secrets make-permanent": "host_programs.bridge.pickle_keys:make_permanent_seed",
    "directory claim": "host_programs.cleanup.bridge:claim_directory",
    "bridge renew": "host_programs.cleanup.bridge:renew_bridge",
    "bridge cleanup": "host_programs.cleanup.bridge:cleanup_bridge",
    "public shut-out": "host_programs.postgres.isolation:shut_public_out",
    "public renew": "host_programs.postgres.isolation:renew_isolation",
    "public let-in": "host_programs.postgres.isolation:give_public_back",
    "passwords prove": "host_programs.postgres.access:prove_access",
    "backup install": "host_programs.backup.nightly_backup:install_and_prove_dumps",
    "backup remove": "host_programs.backup.nightly_backup:remove_dumps",
    "synapse register": "host_programs.synapse.appservices:register_appservices",
    "synapse unregister": "host_programs.synapse.appservices:unregister_appservices",
    "synapse stop-and-check": "host_programs.synapse.stop_and_check:stop_and_check",
    "config write": "host_programs.bridge.config:write_config",
    "database prepare": "host_programs.bridge.database_life:prepare_database",
    "database archive": "host_programs.bridge.database_life:archive_database",
    "archive check": "host_programs.bridge.removal:check_before_removal",
    "archive read-key": "host_programs.bridge.pickle_keys:find_key",
    "container make-way": "host_programs.bridge.container:remove_leftover",
    "bridge wait": "host_programs.bridge.readiness:wait_until_ready",
    "deployment record": "host_programs.status.deployed:record_deployment",
    # Inside of Synapse's container.
    "inside-synapse read": "host_programs.synapse.inside.synapse_facts:read_synapse",
    "inside-synapse add": "host_programs.synapse.inside.homeserver_edit:add_entries",
    "inside-synapse remove": "host_programs.synapse.inside.homeserver_edit:remove_entries",
    "inside-synapse find-listed": "host_programs.synapse.inside.registrations:find_listed",
    "inside-synapse read-worker": "host_programs.synapse.inside.synapse_facts:read_worker",
    "inside-synapse check-config": "host_programs.bridge.config:compare_config",
}


def words_of(verb: Callable[..., Any]) -> str:
    """The words that run this function. Raises KeyError for one that is no step."""
    return _WORDS[f"{verb.__module__}:{verb.__name__}"]


def verb_of(words: str) -> Callable[[Any], Any]:
    """The function that the words run; only its module is imported. Raises KeyError for words that are none."""
    module, _, name = VERBS[words].partition(":")
    return cast("Callable[[Any], Any]", getattr(import_module(module), name))


_WORDS = {place: words for words, place in VERBS.items()}
