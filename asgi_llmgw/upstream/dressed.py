"""An upstream whose vendor wraps a protocol in something of its own: everything above sees the protocol alone.

Here a call is seen whole, just before it leaves, so this is also where one that is signed as a whole is signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec.structs import replace

from asgi_llmgw._types import Headers
from asgi_llmgw.envelopes import Envelope
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.signing import Signer

from .base import Upstream, UpstreamRequest, UpstreamResponse

_SSE: Final = (b"content-type", b"text/event-stream")


def dress(upstream: Upstream, envelope: Envelope | None, signer: Signer | None = None) -> Upstream:
    """The upstream as it is where there is nothing to wrap and nothing to sign."""
    signed = upstream if signer is None else SignedUpstream(upstream, signer)
    return signed if envelope is None else DressedUpstream(signed, envelope)


class SignedUpstream:
    """Signs each call.

    Args:
        upstream: makes the calls.
        signer: tells the vendor who we are.
    """

    def __init__(self, upstream: Upstream, signer: Signer) -> None:
        self._upstream = upstream
        self._signer = signer

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[UpstreamResponse]:
        """Make the call.

        Raises:
            UpstreamError: as any upstream, or there are no credentials.
        """
        headers = await self._signer.sign(request.method, request.url, request.headers, request.body)
        async with self._upstream.open(replace(request, headers=headers)) as response:
            yield response

    async def aclose(self) -> None:
        """Close what is below."""
        await self._upstream.aclose()


class DressedUpstream:
    """Wraps each call and unwraps its answer.

    Args:
        upstream: makes the calls.
        envelope: what the vendor wraps the protocol in.
    """

    def __init__(self, upstream: Upstream, envelope: Envelope) -> None:
        self._upstream = upstream
        self._envelope = envelope

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[UpstreamResponse]:
        """Make the call.

        Raises:
            InvalidRequest: the vendor has no such operation.
            UpstreamError: as any upstream.
        """
        if request.pieces is not None:
            raise InvalidRequest("The vendor takes no uploads.", kind="unsupported", code="unsupported_operation")
        dressed = self._envelope.request(request.url, request.headers, request.body)
        plain = replace(request, url=dressed.url, headers=dressed.headers, body=dressed.body)
        async with self._upstream.open(plain) as response:
            yield _Undressed(response, self._envelope)

    async def aclose(self) -> None:
        """Close what is below."""
        await self._upstream.aclose()


class _Undressed:
    """An answer without its wrapping."""

    __slots__ = ("_envelope", "_response", "_wrapped", "headers", "status")

    def __init__(self, response: UpstreamResponse, envelope: Envelope) -> None:
        self._response = response
        self._envelope = envelope
        self.status = response.status
        kind = next((value for name, value in response.headers if name == b"content-type"), b"")
        self._wrapped = bool(envelope.stream_type) and kind.lower().startswith(envelope.stream_type)
        rest = tuple(pair for pair in response.headers if pair[0] != b"content-type")
        self.headers: Headers = (*rest, _SSE) if self._wrapped else tuple(response.headers)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives, unwrapped."""
        if not self._wrapped:
            async for chunk in self._response.aiter_raw():
                yield chunk
            return
        stream = self._envelope.stream()
        async for chunk in self._response.aiter_raw():
            if out := stream.feed(chunk):
                yield out
        if out := stream.close():
            yield out

    async def aread(self, *, limit: int) -> bytes:
        """The whole body; an error in the words of the protocol."""
        body = await self._response.aread(limit=limit)
        return self._envelope.error(self.status, tuple(self._response.headers), body) if self.status >= 400 else body
