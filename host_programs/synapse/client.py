"""The client of Synapse's HTTP API, at the address that the setting synapseUrl names, or that Docker has (`auto`).

A container gets another address at each start: so nothing of it is in a resource's inputs, and the client looks it up
again after each failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional
from urllib.parse import urlsplit

from documents.places import AUTO, Synapse
from host_programs.docker import inspect_container
from host_programs.messages import ScriptError
from host_programs.synapse.exchange import Request, send_request
from verdicts.answers import Exchange, summarize_answer
from verdicts.host_facts.docker import Container


def find_url(synapse: Synapse) -> str:
    """Synapse's URL on this host: the port that Docker publishes for it, else the container's own address. ScriptError
    if there is neither."""
    return url_of(synapse, inspect_container(synapse.container) if synapse.url == AUTO else None)


def url_of(synapse: Synapse, container: Optional[Container]) -> str:
    """The same, of a container that was just inspected."""
    if synapse.url != AUTO:
        return synapse.url
    if container is None:
        raise ScriptError(f"container {synapse.container}: is not there: where Synapse answers is not known")
    # The bridge's address of Synapse names Synapse's own port, unless a proxy stands between.
    address = urlsplit(synapse.address)
    port = (address.port if address.hostname == synapse.container else None) or 8008
    host = "127.0.0.1" if "host" in container.networks else container.host_on(synapse.network)
    host_and_port = container.published.get(port) or (f"{host}:{port}" if host else "")
    if not host_and_port:
        raise ScriptError(
            f"container {container.name}: is {container.status}, publishes no port {port} and has no address in the "
            f"network {synapse.network}: start it, or set synapseUrl"
        )
    return f"http://{host_and_port}"


def explain_silence(url: str, seconds: float) -> str:
    """Why the client-server API does not answer there within `seconds`; "" if it does."""
    exchange = send_request("versions", url, Request("GET", "/_matrix/client/versions"), seconds)
    answers = exchange.status == 200 and not exchange.fault and "versions" in (exchange.json() or {})
    return "" if answers else summarize_answer(exchange)


class SynapseClient:
    """Looks up Synapse's address until a request succeeds there, and again after a failure. `secrets`: as of
    `send_request`."""

    def __init__(self, synapse: Synapse, secrets: Sequence[str] = ()) -> None:
        self._synapse, self._secrets, self._url = synapse, secrets, ""

    @property
    def url(self) -> str:
        """As `find_url`, which raises ScriptError."""
        return self._url or find_url(self._synapse)

    def send(self, step: str, request: Request, seconds: float) -> Exchange:
        """As `send_request`; a Synapse without an address counts as one that refuses the connection."""
        try:
            url = self.url
        except ScriptError as error:
            return Exchange(step, request.method, request.target, fault="refused", detail=str(error))
        exchange = send_request(step, url, request, seconds, self._secrets)
        # An errcode is Synapse's own answer, whatever its status is.
        answered = exchange.status == 200 or "errcode" in (exchange.json() or {})
        self._url = url if answered and not exchange.fault else ""
        return exchange
