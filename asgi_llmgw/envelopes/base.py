"""What it takes to hide a vendor's wrapping from everything above the transport."""

from __future__ import annotations

from typing import Protocol

import msgspec

from asgi_llmgw._types import Headers


class Dressed(msgspec.Struct, frozen=True):
    """A call as the vendor wants it."""

    url: str
    headers: Headers
    body: bytes


class Unwrapper(Protocol):
    """One stream, unwrapped while it runs."""

    def feed(self, chunk: bytes, /) -> bytes:
        """Server-sent events for this chunk of the vendor's; often empty.

        Raises:
            InvalidUpstreamResponse: the chunk cannot be read.
        """
        ...

    def close(self) -> bytes:
        """What is left at the end of input.

        Raises:
            InvalidUpstreamResponse: the stream ended inside a message.
        """
        ...


class Envelope(Protocol):
    """How a vendor wraps a protocol. One value serves all calls; whole answers that succeed are never wrapped."""

    @property
    def stream_type(self) -> bytes:
        """The content type of the vendor's streams."""
        ...

    def request(self, url: str, headers: Headers, body: bytes, /) -> Dressed:
        """Wrap a call.

        Raises:
            InvalidRequest: the vendor has no such operation.
        """
        ...

    def error(self, status: int, headers: Headers, body: bytes, /) -> bytes:
        """An error answer in the words of the protocol."""
        ...

    def stream(self) -> Unwrapper:
        """For one answer."""
        ...
