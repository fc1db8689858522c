"""Pins what documents lose first: a setting that nobody can look up, a default that is no longer so, a command, a file
or a message that an operator looks for at night and that is not there any more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents.bridge.kinds import KINDS, SIGNAL
from settings.fields import bridge_defaults, key_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SETTINGS = (ROOT / "docs/settings.md").read_text()
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "lab/README.md",
    ROOT / "tools/README.md",
]
# Tables whose first column holds the first line of an error: a person searches the document for it.
MESSAGE_TABLES = ("The first line", "The text", "It says")


def document_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Each table of a document: the first cell of its head, and the cells of its rows."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
            if not line.startswith("|---")
        ]
        yield rows[0][0], rows[1:]


def documented_defaults(head: str) -> dict[str, str]:
    """The defaults in docs/settings.md by key, of the tables with this head. Fails if a key is there twice."""
    rows = [row for table_head, table in read_tables(SETTINGS) if table_head == head for row in table]
    defaults = {row[0].strip("`"): row[1] for row in rows}
    assert len(defaults) == len(rows), f"twice: {sorted(row[0] for row in rows)}"
    return defaults


def read_default(cell: str) -> Any:
    assert re.fullmatch("`.+`", cell), f"{cell}: should be a value in backquotes"
    return yaml.safe_load(cell[1:-1])


def test_every_setting_is_documented_once_with_its_default() -> None:
    described = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    documented = documented_defaults("Key")
    assert sorted(documented) == sorted(described)
    for key, description in described.items():
        if "default" in description:
            assert read_default(documented[key]) == description["default"], key
        else:
            assert documented[key] == "must be set", key


def test_every_key_of_a_bridge_is_documented_once_with_its_default() -> None:
    documented = {key: read_default(cell) for key, cell in documented_defaults("Key of an entry").items()}
    assert documented == {key_of(name): default for name, default in bridge_defaults(SIGNAL).items()}


def test_every_kind_of_bridge_is_documented_as_it_is() -> None:
    (rows,) = (rows for head, rows in read_tables(SETTINGS) if head == "Kind")
    documented = [tuple(cell.strip("`") for cell in row) for row in rows]
    assert documented == [
        (kind, bridge.image, str(bridge.default_port), bridge.command_prefix) for kind, bridge in KINDS.items()
    ]


def test_the_readme_names_only_settings_that_exist() -> None:
    (rows,) = (rows for head, rows in read_tables(README.read_text()) if head == "Key, default")
    documented = documented_defaults("Key")
    keys = {key for row in rows for key in re.findall(r"`(\w+)`", row[0])}
    assert len(keys) == 10
    assert keys <= documented.keys()


def test_the_readme_stays_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 140] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_id)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9_-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for words in re.findall(r"(?:^ {4}|`)make ((?:[a-z0-9]+ ?)+)(?=  |`|$)", path.read_text(), re.MULTILINE):
        named |= set(words.split())
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_id)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if heading:
            assert heading in headings(linked), target


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_id)
def test_every_module_that_is_named_exists(path: Path) -> None:
    rooms = "components|docs|documents|examples|host_programs|lab|settings|tests|tools|verdicts|workstation"
    text = path.read_text()
    for name in re.findall(rf"`((?:{rooms})/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"python(?:3)? -m ([\w.]+)", text):
        module = ROOT / name.replace(".", "/")
        standard = name in ("venv", "pip")
        assert standard or module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name


@cache
def program_texts() -> str:
    """All texts of the program, one a line; … stands for what is filled in. Literals in a row are one text."""
    texts: list[str] = []
    for room in ("components", "documents", "host_programs", "settings", "verdicts", "workstation"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_id)
def test_every_message_that_is_explained_is_one_of_the_program_s(path: Path) -> None:
    texts, missing = program_texts(), []
    for head, rows in read_tables(path.read_text()):
        if head not in MESSAGE_TABLES:
            continue
        for row in rows:
            if row[1].startswith(("Pulumi's:", "Python's:")):
                continue
            for message in re.findall("`([^`]+)`", row[0]):
                missing += [message for part in message.split("…") if part.strip(" .:,") not in texts]
    assert missing == []
