"""A component that a Pulumi user would not recognise: no type token, options that are dropped, arguments in no
dataclass; an order by hand where a value would carry it; a resource that appears only while a value is worked out."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pulumi
import pytest

from components.backup import DatabaseBackup
from components.container import BridgeContainer
from components.database import BridgeDatabase
from components.host import MatrixHost
from components.isolation import DatabaseIsolation
from components.registration import SynapseRegistration
from components.secrets import StackSecrets

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "__main__.py", *sorted((ROOT / "components").glob("*.py"))]

COMPONENTS: dict[type[pulumi.ComponentResource], str] = {
    MatrixHost: "mautrix:host:MatrixHost",
    StackSecrets: "mautrix:stack:Secrets",
    BridgeDatabase: "mautrix:bridge:Database",
    DatabaseBackup: "mautrix:stack:DatabaseBackup",
    DatabaseIsolation: "mautrix:stack:DatabaseIsolation",
    SynapseRegistration: "mautrix:stack:SynapseRegistration",
    BridgeContainer: "mautrix:bridge:Container",
}


def outputs_of(component: type[pulumi.ComponentResource]) -> set[str]:
    """The outputs that the class itself annotates."""
    return {name for name, hint in inspect.get_annotations(component).items() if "pulumi.Output[" in hint}


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_a_component_takes_a_name_a_dataclass_of_arguments_and_options_and_hands_them_through(
    component: type[pulumi.ComponentResource],
) -> None:
    assert issubclass(component, pulumi.ComponentResource)
    assert [*inspect.signature(component).parameters] == ["name", "args", "opts"]
    args = get_type_hints(component.__init__)["args"]
    assert dataclasses.is_dataclass(args) and getattr(args, "__name__", "") == f"{component.__name__}Args"
    (body,) = ast.parse(inspect.getsource(component)).body
    (call,) = (
        node for node in ast.walk(body) if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"
    )
    assert [ast.unparse(word) for word in call.args] == [repr(COMPONENTS[component]), "name", "None", "opts"]
    assert f"`{COMPONENTS[component]}`" in (component.__doc__ or ""), "its docstring names its type"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_a_component_s_docstring_says_what_it_makes_and_hands_out(component: type[pulumi.ComponentResource]) -> None:
    text = component.__doc__ or ""
    assert "Makes: " in text and "Output" in text
    for name in outputs_of(component):
        assert f"`{name}`" in text, name


def test_no_component_is_missing_here() -> None:
    defined = {
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "pulumi.ComponentResource" in [ast.unparse(base) for base in node.bases]
    }
    assert defined == {component.__name__ for component in COMPONENTS}


def test_every_depends_on_is_where_no_value_can_carry_the_order_and_says_why() -> None:
    found = {}
    for path in FILES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.keyword) and node.arg in ("depends_on", "deleted_with", "replace_with"):
                lines = text.splitlines()[node.lineno - 5 : node.lineno]
                found[f"{path.stem}: {ast.unparse(node)}"] = any("#" in line for line in lines)
    assert found == {
        "__main__: depends_on=[check.resource]": True,  # an unknown verdict would show a replacement
        "container: depends_on=[data.resource]": True,  # nothing of the data goes into the container
        "host: depends_on=[cleanup]": True,  # the cleanup says nothing
        "database: depends_on=[directory.resource]": True,  # nothing of the directory goes into a role
    }


def calls_in_apply(path: Path) -> Iterator[str]:
    """What is called while a value is worked out: in the functions handed to `apply`, and in those that they call, as
    far as they are in the same file."""
    tree = ast.parse(path.read_text())
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    todo: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "apply":
            todo += node.args
    seen: set[str] = set()
    while todo:
        node = todo.pop()
        for part in ast.walk(node):
            called = ast.unparse(part.func) if isinstance(part, ast.Call) else ""
            handed = ast.unparse(part) if part is node and isinstance(part, (ast.Name, ast.Attribute)) else ""
            for name in filter(None, (called, handed)):
                yield name
                last = name.rpartition(".")[2]
                if last in functions and last not in seen:
                    seen.add(last)
                    todo.append(functions[last])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_resource_is_made_and_nothing_runs_while_a_value_is_worked_out(path: Path) -> None:
    """A preview would not show it, and a destroy not find it."""
    for name in calls_in_apply(path):
        first, _, last = name.rpartition(".")
        assert not (first in ("docker", "postgresql", "local") and last[0].isupper()), name
        assert last not in {"command", "secret_once", "register_outputs", "run", "export", "stop_and_check"}, name
        assert last not in {component.__name__ for component in COMPONENTS}, name


def test_what_makes_a_resource_in_an_apply_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def make(x):\n    return local.Command(x)\n\nvalue.apply(lambda v: make(v))\nvalue.apply(make)\n")
    assert [*calls_in_apply(path)].count("local.Command") == 1 and "make" in calls_in_apply(path)


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: path.stem)
def test_no_component_reads_the_config(path: Path) -> None:
    """It would need settings that its caller cannot see, nor give it."""
    text = path.read_text()
    assert "pulumi.Config" not in text and "import Config" not in text and "settings.read" not in text
    assert not [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "settings" and path.stem != "preflight"
    ]
