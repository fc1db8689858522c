"""The emulated MAS must be strict: a request that the real one would refuse, or that the emulation does not know, may
never look like a success, or a deployment that is broken under the real MAS would pass on the lab."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import host
from lab.mas import Answer, Session, Settings, answer, introspect, server

SETTINGS = Settings(0, "https://matrix.echo6.co/", "shared", {"mat_known": Session("matt", "DEVICE1")})
FORM = {"content-type": "application/x-www-form-urlencoded", "authorization": "Bearer shared"}


def ask(body: str, **headers: str) -> Answer:
    merged = {**FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return introspect(SETTINGS, merged["authorization"], merged["content-type"], body.encode())


def test_an_unknown_token_is_inactive() -> None:
    given = ask("token=syt_nobody&token_type_hint=access_token")
    assert (given.status, json.loads(given.body)) == (200, {"active": False})


def test_a_known_token_is_the_users() -> None:
    document = json.loads(ask("token=mat_known").body)
    assert document["active"] is True
    assert document["username"] == "matt"
    assert document["scope"].split() == ["urn:matrix:client:api:*", "urn:matrix:client:device:DEVICE1"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("token=mat_known", {"authorization": "Bearer other"}, 401),
        ("token=mat_known", {"authorization": ""}, 401),
        ("token=mat_known", {"authorization": "shared"}, 401),
        ('{"token": "mat_known"}', {"content_type": "application/json"}, 415),
        ("", {}, 400),
        ("token_type_hint=access_token", {}, 400),
        ("token=mat_known&token=mat_known", {}, 400),
        ("token=mat_known&client_id=x", {}, 400),
    ],
)
def test_introspection_refuses(body: str, headers: dict[str, str], status: int) -> None:
    given = ask(body, **headers)
    assert given.status == status
    assert given.problem
    assert b"active" not in given.body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/oauth2/introspect", 405),
        ("POST", "/.well-known/openid-configuration", 405),
        ("DELETE", "/", 405),
        ("POST", "/oauth2/token", 501),
        ("POST", "/graphql", 501),
        ("GET", "/api/admin/v1/users", 501),
        ("GET", "/_matrix/client/v3/login", 501),
        ("GET", "/favicon.ico", 404),
        ("GET", "/.well-known/openid-configuration/", 404),
    ],
)
def test_whatever_is_not_emulated_is_refused_and_logged(method: str, path: str, status: int) -> None:
    given = answer(SETTINGS, method, path, FORM, b"token=mat_known")
    assert given.status == status
    assert path in given.problem


def test_discovery_has_what_synapse_requires() -> None:
    document = json.loads(answer(SETTINGS, "GET", "/.well-known/openid-configuration", {}, b"").body)
    # ServerMetadata in synapse/api/auth/mas.py
    assert isinstance(document["issuer"], str)
    assert isinstance(document["account_management_uri"], str)
    assert document["introspection_endpoint"] == "https://matrix.echo6.co/oauth2/introspect"


def test_pages_carry_the_marker_of_mas() -> None:
    for path in ("/", "/login?next=x"):
        given = answer(SETTINGS, "GET", path, {}, b"")
        assert given.content_type.startswith("text/html")
        assert b"matrix-authentication-service" in given.body


def valid_config() -> dict[str, object]:
    secrets = {name: f"{index:064x}" for index, name in enumerate(host.SECRETS, 1)}
    return host.mas_config(host.Stack(Path("/host"), "net", "pg", "syn", "mas", 18008, secrets))


def test_the_config_that_the_lab_writes_is_read() -> None:
    settings = Settings.read(json.loads(json.dumps(valid_config())))
    assert settings.port == 8080
    assert settings.secret == f"{host.SECRETS.index('mas_secret') + 1:064x}"
    assert [session.username for session in settings.sessions.values()] == ["matt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"http": {}}, "listeners"),
        ({"matrix": {"secret": ""}}, "matrix.secret is empty"),
        ({"matrix": None}, "missing or of a wrong type"),
        ({"lab_sessions": {"mat_x": {"username": "matt"}}}, "device_id"),
        (
            {"http": {"public_base": "https://x", "listeners": [{"binds": [{"address": "0.0.0.0:1"}]}]}},
            "must end in a slash",
        ),
    ],
)
def test_a_wrong_config_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.read({**valid_config(), **change})


@pytest.fixture
def address() -> Iterator[str]:
    with server(SETTINGS, "127.0.0.1") as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def test_over_http(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    request = urllib.request.Request(f"{address}/oauth2/introspect", data=b"token=mat_known", headers=FORM)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert json.load(response)["active"] is True
        assert "matrix-authentication-service" in response.headers["Server"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/nothing?token=mat_known", timeout=10)
    assert refused.value.code == 404
    refused.value.close()
    log = capfd.readouterr().err
    assert "ERROR mas: GET /nothing -> 404" in log
    assert "mat_known" not in log, "no token in the log"


@pytest.mark.parametrize("length", ["x", "-1", "999999999"])
def test_a_body_of_no_or_endless_length_is_refused(address: str, length: str) -> None:
    request = urllib.request.Request(
        f"{address}/oauth2/introspect", data=b"", headers={**FORM, "Content-Length": length}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 413
    refused.value.close()
