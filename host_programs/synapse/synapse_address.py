"""Where the host reaches Synapse: what the setting synapseUrl says, or what Docker does (`auto`).

A container's address is another one after each start, so it is looked up anew whenever nobody answers, and is in no
resource's inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from documents.places import AUTO, Synapse
from host_programs.common import ScriptError
from host_programs.container import look
from host_programs.synapse.exchange import Request, ask
from verdicts.answers import Exchange


def base(synapse: Synapse) -> str:
    """The URL: the port that Docker publishes for Synapse's on this host, else the container's own address. ScriptError
    if there is neither."""
    if synapse.url != AUTO:
        return synapse.url
    container, port = look(synapse.container), _port(synapse)
    if container is None:
        raise ScriptError(f"container {synapse.container}: is not there: where Synapse answers is not known")
    host = "127.0.0.1" if "host" in container.networks else container.host_on(synapse.network)
    where = container.published.get(port) or (f"{host}:{port}" if host else "")
    if not where:
        raise ScriptError(
            f"container {container.name}: is {container.status}, publishes no port {port} and has no address in the "
            f"network {synapse.network}: start it, or set synapseUrl"
        )
    return f"http://{where}"


class Asker:
    """`ask`, where Synapse is: it is looked for until it has answered there (an errcode is an answer of its own, as for
    verdicts.auth.starting), and again once it does not."""

    def __init__(self, synapse: Synapse, secrets: Sequence[str] = ()) -> None:
        """`secrets`: as of `ask`."""
        self._synapse, self._secrets, self._url = synapse, secrets, ""

    @property
    def url(self) -> str:
        """As `base`, which raises ScriptError."""
        return self._url or base(self._synapse)

    def ask(self, step: str, request: Request, seconds: float) -> Exchange:
        """One that has no address at this moment counts as one that refuses."""
        try:
            url = self.url
        except ScriptError as error:
            return Exchange(step, request.method, request.target, fault="refused", detail=str(error))
        exchange = ask(step, url, request, seconds, self._secrets)
        answered = exchange.status == 200 or "errcode" in (exchange.json() or {})
        self._url = url if answered and not exchange.fault else ""
        return exchange


def _port(synapse: Synapse) -> int:
    """Synapse's own port, which the bridge's address names unless something stands between them."""
    parts = urlsplit(synapse.address)
    return parts.port or 8008 if parts.hostname == synapse.container else 8008
