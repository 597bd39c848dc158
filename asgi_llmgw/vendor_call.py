"""What every call to a vendor has in common, whatever it is about: a client that may leave, and a failure told once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

from asgi_llmgw._types import Headers, Send
from asgi_llmgw.answer import ClientDisconnected
from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import upstream_codec
from asgi_llmgw.providers.classify import retry_after
from asgi_llmgw.render import send_error
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse
from asgi_llmgw.upstream.held import HeldCall

_MAX_ERROR: Final = 64 * 1024
"""Bytes of a refusal that are read."""


class VendorCall(ABC):
    """One request to a vendor. What becomes of its answer is for the subclass to say, in `answered`.

    Args:
        protocol: what the client is told errors in.
        clock: seconds, monotonic.

    Attributes:
        started: something has been sent to the client.
        complete: the last of it is on the way.
        gone: the client is not there any more.
    """

    def __init__(self, exchange: Exchange, send: Send, *, protocol: Protocol, clock: Callable[[], float]) -> None:
        self.exchange = exchange
        self.send = send
        self.protocol: Protocol = protocol
        self.clock = clock
        self.started = False
        self.complete = False
        self.gone = False
        self._held = HeldCall()

    async def run(self, upstream: Upstream, request: UpstreamRequest) -> None:
        """Make the call and pass the answer on."""
        try:
            async with self._held.open(upstream, request) as response:
                await self.answered(response)
        except GatewayError as error:
            await self.failed(error)
        except (ClientDisconnected, OSError):
            # a server that says so when one writes to a client that has gone
            self.leave()

    @abstractmethod
    def answered(self, response: UpstreamResponse) -> Awaitable[None]:
        """Pass the answer on, good or bad.

        Raises:
            GatewayError: it is none that the client can have.
        """

    async def failed(self, error: GatewayError) -> None:
        """The call has come to nothing."""
        await self.fail(error)

    async def fail(self, error: GatewayError) -> None:
        """Tell the client what went wrong; nothing was sent before."""
        if self.gone:
            return
        self.exchange.fail(error)
        self.started = self.complete = True
        await send_error(self.send, error, self.protocol, request_id=self.exchange.request_id)

    def left(self) -> float | None:
        """The client has left; the seconds that the call may still go on, None where it was over."""
        if self.complete:
            # servers say so as well when the answer has been delivered
            return None
        self.leave()
        return 0.0

    def leave(self) -> None:
        """Nobody is there any more to be answered."""
        self.gone = True
        self.exchange.outcome = "client_disconnected"

    async def let_go(self) -> None:
        """Close the call to the vendor although the answer hangs in a `send`."""
        self.gone = True
        await self._held.aclose()

    async def refusal(self, response: UpstreamResponse, spoken: Protocol) -> tuple[UpstreamError, bytes]:
        """What a vendor says that does not answer, read in the protocol it speaks, and its very bytes.

        Raises:
            UpstreamError: it is no error either, or too large.
        """
        body = await response.aread(limit=_MAX_ERROR)
        if response.status < 400:
            raise InvalidUpstreamResponse(
                f"the upstream answered with status {response.status}", upstream_status=response.status
            )
        error = upstream_codec(spoken).decode_error(response.status, body)
        if error.retry_after is None:
            error.retry_after = retry_after(response.headers)
        return error, body

    async def pass_on(self, chunk: bytes, headers: Headers, *, more: bool) -> None:
        """One piece of an answer, behind its head if it is the first."""
        if not self.started:
            self.started = True
            self.exchange.first_token = self.clock()
            await self.send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await self.send({"type": "http.response.body", "body": chunk, "more_body": more})
