"""Pins: a plugin that ignores what it does not know (a lab that passes where the real provider would refuse), and a
difference where there is none (every second `up` would change something)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.provider.experimental.property_value import PropertyValue

from lab.plugins import NAMES, wrapper
from lab.plugins.base import (
    UNKNOWN,
    EngineLog,
    InitFailed,
    Prop,
    diff,
    failures,
    has_unknown,
    normal,
    one_of,
    plain,
    strings,
    wrap,
)

CHECKOUT = Path(__file__).resolve().parents[2]

SCHEMA = {
    "name": Prop(required=True, replace=True),
    "size": Prop("integer"),
    "on": Prop("boolean", default=True),
    "tags": strings("set"),
    "words": strings(),
    "kept": Prop(computed=True, replace=True),
    "mode": Prop(validate=one_of("a", "b")),
    "box": Prop("object", fields={"width": Prop("integer", required=True), "unit": Prop(default="mm")}),
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text() | st.floats(-1e6, 1e6).map(lambda x: x + 0.5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def problems(**values: object) -> list[str]:
    return [f"{failure.property} {failure.reason}" for failure in failures(SCHEMA, values)]


@given(VALUES)
def test_a_value_survives_the_way_to_the_engine_and_back(value: object) -> None:
    assert plain(PropertyValue.unmarshal(wrap(value).marshal())) == value


def test_what_is_unknown_survives_the_way_to_the_engine_and_back() -> None:
    wire = PropertyValue.unmarshal(wrap({"a": [UNKNOWN, "x"]}).marshal())
    assert plain(wire) == {"a": [UNKNOWN, "x"]}
    assert has_unknown(plain(wire)) and not has_unknown({"a": ["x"]})
    assert plain(PropertyValue.computed()) is UNKNOWN


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": "x"}, []),
        ({}, ["name is required and missing"]),
        ({"name": "x", "sise": 1}, ["sise is not implemented by the lab's emulated plugin, or does not exist"]),
        ({"name": 5}, ["name is a number; it should be a string"]),
        ({"name": "x", "size": True}, ["size is a boolean; it should be an integer"]),
        ({"name": "x", "size": 1.5}, ["size is a number; it should be an integer"]),
        ({"name": "x", "on": "true"}, ["on is a string; it should be a boolean (true or false)"]),
        ({"name": "x", "tags": ["a", 1, None]}, ["tags[1] is a number; it should be a string"]),
        ({"name": "x", "mode": "c"}, ["mode is 'c'; it should be one of: a, b"]),
        ({"name": "x", "box": {}}, ["box.width is required and missing"]),
        ({"name": "x", "box": {"width": 1, "colour": ""}}, ["box.colour is not implemented by the lab's"]),
        ({"name": UNKNOWN, "size": UNKNOWN, "tags": [UNKNOWN], "mode": UNKNOWN}, []),
        ({"name": "x", "__defaults": ["size"]}, []),
    ],
)
def test_strictness(values: dict[str, object], expected: list[str]) -> None:
    found = problems(**values)
    if values.get("tags") and expected != []:
        expected = [*expected, "tags[2] is null; it should be a string"]
    assert len(found) == len(expected)
    for line, wanted in zip(found, expected, strict=True):
        assert line.startswith(wanted)


def test_a_wrong_type_does_not_show_the_value() -> None:
    assert "hunter2" not in " ".join(problems(name=["hunter2"]))


def kinds(old: dict[str, object], new: dict[str, object], ignore: tuple[str, ...] = ()) -> dict[str, str]:
    return {path: change.kind.name for path, change in diff(SCHEMA, old, new, ignore).detailed_diff.items()}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
        ({"tags": [], "words": None}, {"words": []}),
        ({"size": 0}, {}),
        ({"on": True}, {}),
        ({"kept": "what the engine chose"}, {}),
        ({"box": {"width": 1, "unit": "mm"}}, {"box": {"width": 1}}),
    ],
)
def test_what_is_the_same_is_no_difference(old: dict[str, object], new: dict[str, object]) -> None:
    assert kinds(old, new) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"name": "x"}, {"name": "y"}, {"name": "UPDATE_REPLACE"}),
        ({"words": ["a", "b"]}, {"words": ["b", "a"]}, {"words": "UPDATE"}),
        ({"size": 3}, {}, {"size": "DELETE"}),
        ({}, {"kept": "mine"}, {"kept": "ADD_REPLACE"}),
        ({"on": False}, {}, {"on": "UPDATE"}),
        ({"tags": ["a"]}, {"tags": ["a", UNKNOWN]}, {"tags": "UPDATE"}),
        ({"box": {"width": 1}}, {"box": {"width": 1, "unit": "cm"}}, {"box": "UPDATE"}),
    ],
)
def test_what_differs_is_named_with_its_kind(
    old: dict[str, object], new: dict[str, object], expected: dict[str, str]
) -> None:
    assert kinds(old, new) == expected


def test_ignored_changes_are_none() -> None:
    assert kinds({"size": 1, "tags": ["a"]}, {"size": 2, "tags": ["b"]}, ("size", "tags[0]")) == {}


@given(st.lists(st.text(), max_size=5))
def test_a_set_is_the_same_in_any_order(items: list[str]) -> None:
    assert normal(SCHEMA["tags"], items) == normal(SCHEMA["tags"], items[::-1])


def test_a_failed_start_carries_the_resource_to_the_engine() -> None:
    from pulumi.runtime.proto import provider_pb2, status_pb2

    status = InitFailed("id1", {"a": 1}, {"b": "x"}, "it does not start").status()
    packed = status_pb2.Status.FromString(dict(status.trailing_metadata)["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    assert packed.details[0].Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("id1", ["it does not start"])
    assert detail.properties.fields["a"].number_value == 1 and detail.inputs.fields["b"].string_value == "x"


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_starts_anywhere_and_says_its_port_and_version(name: str, tmp_path: Path) -> None:
    """From a foreign directory, with a PYTHONPATH that would break it: both belong to the commands, not to it."""
    import importlib.metadata

    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import provider_pb2_grpc

    (tmp_path / "pulumi.py").write_text("raise SystemExit('the wrong pulumi')")
    executable = tmp_path / f"pulumi-resource-{name}"
    executable.write_text(wrapper(name, Path(sys.executable), CHECKOUT))
    executable.chmod(0o755)
    with subprocess.Popen(
        [executable, "127.0.0.1:1"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                version = stub.GetPluginInfo(empty_pb2.Empty(), timeout=20).version
        finally:
            process.kill()
    assert version == importlib.metadata.version(f"pulumi_{name}")


def test_no_wrapper_for_a_plugin_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no emulated plugin is named 'aws'"):
        wrapper("aws", Path(sys.executable), CHECKOUT)


@pytest.mark.parametrize("name", NAMES)
def test_a_start_loads_neither_docker_nor_psycopg(name: str) -> None:
    """A preview that changes nothing pays for the start of all three plugins."""
    code = f"import sys, lab.plugins.{name}; print([m for m in ('docker', 'psycopg', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_child_of_a_component_is_of_its_own_type(direct: Any) -> None:
    """The engine's URN of a child holds its parents' types before its own."""
    from lab.plugins.command import CommandProvider
    from lab.plugins.docker import DockerProvider

    parents = "mautrix:bridge:Stack$mautrix:bridge:Part$"
    command = direct(CommandProvider(EngineLog(None)), f"{parents}command:local:Command")
    assert command.create(command.checked(create="echo hi"))[1]["stdout"] == "hi"
    image = direct(DockerProvider(), f"{parents}docker:index/remoteImage:RemoteImage")
    assert image.create(image.checked(name="x"), preview=True)[1]["imageId"] is UNKNOWN
