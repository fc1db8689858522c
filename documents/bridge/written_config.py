"""What programs on the host, which have no PyYAML, read in a config.yaml that documents/bridge/config.py wrote."""

from __future__ import annotations

import re

from documents.places import Database

_PICKLE_KEY = re.compile(r'^ +pickle_key: "([^"\\]+)"$', re.MULTILINE)  # as documents/yaml_text.py writes it


def find_pickle_key(config: str) -> str:
    """The pickle key in the text of a config that we wrote; "" if there is none."""
    found = _PICKLE_KEY.search(config)
    return found[1] if found else ""


def names_database(config: str, database: Database) -> bool:
    """Whether the text of a config.yaml of ours has the URL of this database, as this role."""
    pattern = rf"postgres://{re.escape(database.role)}:[^@\s]*@[^/\s]*/{re.escape(database.database)}\?"
    return re.search(pattern, config) is not None
