"""What a host may do with each request: look at it, change it, refuse it, and learn how it ended."""

from __future__ import annotations

from asgi_llmgw.exchange import Exchange
from asgi_llmgw.sse import ServerSentEvent


class Hooks:
    """Guardrails, redaction and logging plug in here: override what is needed, and leave the rest.

    Each method is called once for each request to a model, however many targets are tried for it. Bodies and events are
    in the client's own protocol (`exchange.client_protocol`). `GatewayError` raised by one of the first three refuses
    the request in that protocol; `RequestError` makes it the client's fault.

    Answers are untouched, and cost nothing, where neither `on_response` nor `on_event` is overridden.
    """

    async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
        """The body to go on with. Who asks and for which model is known; a model's name changed here has no effect."""
        return body

    async def on_response(self, exchange: Exchange, body: bytes) -> bytes:
        """The body of a whole answer to give to the client; errors do not come by."""
        return body

    def on_event(self, exchange: Exchange, frame: ServerSentEvent) -> ServerSentEvent | None:
        """The event of a stream to give to the client, None to leave it out."""
        return frame

    async def on_end(self, exchange: Exchange) -> None:
        """All is over and counted. What this raises is logged, and the request is none the worse.

        `exchange.outcome` is None where the answer was broken off.
        """
