"""A deployment that stops, or asks another program, because Synapse's port is not where the plan has it: about half of
public stacks publish none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest

from documents.places import Synapse
from host_programs.docker import _parse_ports
from host_programs.messages import ScriptError
from host_programs.synapse import client
from host_programs.synapse.client import find_url
from tests.facts import container, deployment

SYNAPSE = deployment().synapse


@pytest.mark.parametrize(
    ("changed", "url"),
    [
        ({"published": {8008: "127.0.0.1:18008"}}, "http://127.0.0.1:18008"),
        ({"published": {8448: "127.0.0.1:8448"}}, "http://172.20.0.3:8008"),
        ({"networks": {"proxy": "172.21.0.9", "matrix-net": "172.20.0.3"}}, "http://172.20.0.3:8008"),
        ({"networks": {"matrix-net": "fd00::3"}}, "http://[fd00::3]:8008"),
        ({"networks": {"host": ""}}, "http://127.0.0.1:8008"),
    ],
    ids=["published", "not published", "several networks", "IPv6 alone", "the host's network"],
)
def test_synapse_is_asked_where_docker_has_it(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], url: str
) -> None:
    monkeypatch.setattr(client, "inspect_container", lambda name: container(name, **changed))
    assert find_url(SYNAPSE) == url


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://matrix-synapse:9008", "http://172.20.0.3:9008"),  # Synapse's own port, then
        ("http://proxy:80", "http://172.20.0.3:8008"),
    ],
)
def test_the_port_is_that_of_the_bridge_s_address_if_it_names_synapse(
    monkeypatch: pytest.MonkeyPatch, address: str, url: str
) -> None:
    monkeypatch.setattr(client, "inspect_container", container)
    assert find_url(replace(SYNAPSE, address=address)) == url


@pytest.mark.parametrize(("there", "words"), [(None, "is not there"), (container("x", networks={}), "set synapseUrl")])
def test_no_address_is_one_line(monkeypatch: pytest.MonkeyPatch, there: Optional[Any], words: str) -> None:
    monkeypatch.setattr(client, "inspect_container", lambda name: there)
    with pytest.raises(ScriptError, match=words):
        find_url(SYNAPSE)


def test_the_setting_counts_unasked() -> None:
    synapse: Synapse = replace(SYNAPSE, url="http://10.0.0.1:80")
    assert find_url(synapse) == "http://10.0.0.1:80"


def test_ports_as_docker_tells_them() -> None:
    any_address = [{"HostIp": "0.0.0.0", "HostPort": "8008"}, {"HostIp": "::", "HostPort": "8008"}]
    ports = {"8008/tcp": any_address, "8009/tcp": None, "53/udp": any_address}
    assert _parse_ports({**ports, "81/tcp": [{"HostIp": "::1", "HostPort": "1"}]}) == {
        8008: "127.0.0.1:8008",
        81: "[::1]:1",
    }
