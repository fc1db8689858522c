"""Emulation of the Matrix Authentication Service (MAS 1.16), as far as a Synapse 1.147.1 behind it can tell.

`python3 mas.py CONFIG` serves; standard library only, so that any image with a python3 runs it. CONFIG is JSON in the
shape of MAS' own config.yaml (see `Settings.read`). What Synapse asks for (synapse/api/auth/mas.py, rest/well_known.py)
is answered as MAS answers it: the discovery document and token introspection with the shared secret. The pages that a
browser would get are HTML with MAS' marker. Every other path is refused, 404 or 501, and logged as an error: nothing
that the lab does not know may look like a success.

The other direction, MAS telling Synapse of a user, is `provision`: the calls of MAS' job queue.
"""

from __future__ import annotations

import hmac
import json
import signal
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BODY_LIMIT_BYTES = 64 * 1024
SCOPE_API = "urn:matrix:client:api:*"
SCOPE_DEVICE = "urn:matrix:client:device:"

_HTML = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>matrix-authentication-service</title></head>
<body><h1>Sign in</h1><form method="POST"><input name="username"><input name="password" type="password"></form></body>
</html>
"""


@dataclass(frozen=True)
class Session:
    """Whom an access token belongs to."""

    username: str
    device_id: str


@dataclass(frozen=True)
class Settings:
    """What the emulation takes from the config. `sessions`: active access tokens, every other one is inactive."""

    port: int
    issuer: str
    secret: str
    sessions: dict[str, Session]

    @staticmethod
    def read(config: Any) -> Settings:
        """From a parsed config: `http.listeners[0].binds[0].address` ("host:port"), `http.public_base` (ends in a
        slash), `matrix.secret`, and `lab_sessions`, the lab's own: {token: {"username": ..., "device_id": ...}}.

        Raises ValueError naming what is missing or wrong.
        """
        try:
            address = config["http"]["listeners"][0]["binds"][0]["address"]
            issuer, secret = config["http"]["public_base"], config["matrix"]["secret"]
            sessions = {
                token: Session(item["username"], item["device_id"]) for token, item in config["lab_sessions"].items()
            }
            port = int(address.rpartition(":")[2])
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"missing or of a wrong type: {error}") from error
        if not issuer.endswith("/"):
            raise ValueError(f"http.public_base is {issuer!r}; it must end in a slash")
        if not secret:
            raise ValueError("matrix.secret is empty")
        return Settings(port, issuer, secret, sessions)


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    problem: str = ""  # why it was refused, for the log; empty when all is well


def _json(status: int, document: object, problem: str = "") -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode(), problem)


def _refused(status: int, code: str, problem: str) -> Answer:
    return _json(status, {"error": code, "error_description": problem}, problem)


def discovery(settings: Settings) -> dict[str, object]:
    """The OpenID Connect discovery document (the fields that MAS 1.x publishes and Matrix clients read)."""
    base = settings.issuer
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}authorize",
        "token_endpoint": f"{base}oauth2/token",
        "jwks_uri": f"{base}oauth2/keys.json",
        "registration_endpoint": f"{base}oauth2/registration",
        "introspection_endpoint": f"{base}oauth2/introspect",
        "revocation_endpoint": f"{base}oauth2/revoke",
        "userinfo_endpoint": f"{base}oauth2/userinfo",
        "device_authorization_endpoint": f"{base}oauth2/device",
        "scopes_supported": ["openid", "email"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "prompt_values_supported": ["none", "login", "create"],
        "account_management_uri": f"{base}account/",
        "account_management_actions_supported": ["org.matrix.profile", "org.matrix.sessions_list"],
    }


def introspect(settings: Settings, authorization: str, content_type: str, body: bytes) -> Answer:
    """RFC 7662, for a client that is Synapse: it shows the shared secret as a bearer token."""
    if not hmac.compare_digest(authorization.encode(), f"Bearer {settings.secret}".encode()):
        return _refused(401, "invalid_client", "introspection without the shared secret")
    if content_type.partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return _refused(415, "invalid_request", f"introspection with content type {content_type!r}")
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    unknown = sorted(set(form) - {"token", "token_type_hint"})
    if unknown or len(form.get("token", [])) != 1:
        return _refused(400, "invalid_request", f"introspection form has {sorted(form)}; expected one token")
    session = settings.sessions.get(form["token"][0])
    if session is None:
        return _json(200, {"active": False})
    return _json(
        200,
        {
            "active": True,
            "scope": f"{SCOPE_API} {SCOPE_DEVICE}{session.device_id}",
            "client_id": "00000000000000000000000LAB",
            "username": session.username,
            "token_type": "access_token",
            "sub": session.username,
            "iss": settings.issuer,
            "device_id": session.device_id,
        },
    )


def answer(settings: Settings, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
    """The answer to one request. `target`: path with query; `headers`: names in lower case."""
    path = urlsplit(target).path
    known: dict[str, tuple[str, ...]] = {
        "/": ("GET",),
        "/login": ("GET",),
        "/health": ("GET",),
        "/.well-known/openid-configuration": ("GET",),
        "/oauth2/introspect": ("POST",),
    }
    if path not in known:
        if path.startswith(("/oauth2/", "/api/", "/graphql", "/_matrix/", "/account", "/authorize", "/upstream")):
            return _refused(501, "not_implemented", f"{method} {path} is not emulated")
        return _refused(404, "not_found", f"{method} {path} is nothing that MAS is asked for here")
    if method not in known[path]:
        return _refused(405, "invalid_request", f"{method} {path}; expected {known[path][0]}")
    if path == "/health":
        return Answer(200, "text/plain; charset=utf-8", b"ok")
    if path == "/.well-known/openid-configuration":
        return _json(200, discovery(settings))
    if path == "/oauth2/introspect":
        return introspect(settings, headers.get("authorization", ""), headers.get("content-type", ""), body)
    return Answer(200, "text/html; charset=utf-8", _HTML.encode())


def server(settings: Settings, host: str = "0.0.0.0") -> ThreadingHTTPServer:
    """A server on `settings.port` (0: any free one) that answers by `answer`. The caller serves and closes it."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "matrix-authentication-service"
        sys_version = "(emulated)"
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _serve(self) -> None:
            try:
                length = int(self.headers.get("Content-Length", "0"))
            except ValueError:
                length = -1
            if not 0 <= length <= BODY_LIMIT_BYTES:
                self.close_connection = True
                given = _refused(413, "invalid_request", f"Content-Length {self.headers.get('Content-Length')!r}")
            else:
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                given = answer(settings, self.command, self.path, headers, body)
            # Without the query: a token may be in it.
            level = "ERROR" if given.problem else "INFO"
            path = urlsplit(self.path).path
            print(f"{level} mas: {self.command} {path} -> {given.status} {given.problem}".rstrip(), file=sys.stderr)
            self.send_response(given.status)
            self.send_header("Content-Type", given.content_type)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Silent: `_serve` writes the log."""

    return ThreadingHTTPServer((host, settings.port), Handler)


def provision(synapse_url: str, secret: str, localpart: str, device_id: str) -> None:
    """Make the user and one device in Synapse, as MAS' jobs do; once more is no error.

    Raises OSError (urllib.error.URLError, HTTPError included) when Synapse refuses or does not answer.
    """
    for path, document in (
        ("provision_user", {"localpart": localpart, "set_displayname": localpart.capitalize()}),
        ("upsert_device", {"localpart": localpart, "device_id": device_id}),
    ):
        request = urllib.request.Request(
            f"{synapse_url}/_synapse/mas/{path}",
            data=json.dumps(document).encode(),
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
            method="POST",
        )
        # Loopback: a proxy of the environment has no business here.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as response:
            response.read()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: mas.py CONFIG", file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            settings = Settings.read(json.load(file))
    except (OSError, ValueError) as error:
        print(f"ERROR mas: {sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    # The first process of a container gets no default handler: without one `docker stop` would wait, then kill.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with server(settings) as serving:
        print(f"INFO mas: emulation listens on port {settings.port}, issuer {settings.issuer}", file=sys.stderr)
        serving.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
