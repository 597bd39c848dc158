"""What every `Upstream` over HTTP does in the same way: the headers it sends and the errors it raises.

The messages are for the client, so they name neither the host nor the key; the cause stays attached for the log.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from typing import Final

from asgi_llmgw import __version__
from asgi_llmgw._types import Headers
from asgi_llmgw.errors import InvalidUpstreamResponse, RequestError, UpstreamError

USER_AGENT: Final = f"asgi-llmgw/{__version__}"

OURS: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"accept-encoding"})
"""What HTTP itself needs is written by the HTTP client, whatever the caller says."""

TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A method or the name of a header: https://www.rfc-editor.org/rfc/rfc9110#name-tokens."""


def outgoing_headers(headers: Headers) -> list[tuple[str, str]]:
    """The call's headers as text, with `identity` asked for and ourselves named.

    Raises:
        RequestError: a header that would break out of its line.
    """
    pairs = [("accept-encoding", "identity")]
    named = False
    for name, value in headers:
        if name in OURS:
            continue
        named = named or name == b"user-agent"
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise bad_header()
        try:
            pairs.append((header_name(name), value.decode("utf-8")))
        except UnicodeDecodeError:
            raise bad_header() from None
    if not named:
        pairs.append(("user-agent", USER_AGENT))
    return pairs


@lru_cache(maxsize=256)
def header_name(name: bytes) -> str:
    """A header's name as text; the same few come with every call.

    Raises:
        RequestError: it is none.
    """
    if not TOKEN.fullmatch(name):
        raise bad_header()
    return name.decode("ascii")


def bad_header() -> RequestError:
    """A header that would break out of its line."""
    return RequestError("A header of the request cannot be passed on.", code="invalid_header")


def check_encoding(status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a compressed answer: `identity` was asked for, and inflating would cost more than it is worth.

    Raises:
        InvalidUpstreamResponse: it is compressed.
    """
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity", b"none"):
            raise InvalidUpstreamResponse(
                "The upstream sent a compressed answer although it was asked not to.", upstream_status=status
            )


async def read_all(chunks: AsyncIterator[bytes], headers: Sequence[tuple[bytes, bytes]], *, limit: int) -> bytes:
    """A whole body of at most `limit` bytes; a declared length over it is refused before anything is read.

    Raises:
        InvalidUpstreamResponse: it is larger.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large(limit)
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def too_large(limit: int) -> InvalidUpstreamResponse:
    """There is more of the answer than anybody wants."""
    return InvalidUpstreamResponse(f"The upstream's answer is larger than {limit} bytes.")


def too_slow() -> UpstreamError:
    """The vendor did not answer in time."""
    return UpstreamError("The upstream did not answer in time.", failure="timeout", kind="upstream_timeout")


def unreachable() -> UpstreamError:
    """There is no connection to the vendor."""
    return UpstreamError("The upstream cannot be reached.", failure="unreachable", kind="upstream_unavailable")


def broken() -> UpstreamError:
    """The connection ended before the answer did."""
    return UpstreamError(
        "The connection to the upstream broke before the answer was complete.",
        failure="unreachable",
        kind="upstream_unavailable",
    )


def unreadable() -> InvalidUpstreamResponse:
    """What came back is not HTTP."""
    return InvalidUpstreamResponse("The upstream's answer is not valid HTTP.")


def pool_exhausted() -> UpstreamError:
    """Every connection we may have is in use."""
    return UpstreamError(
        "Too many calls to the upstream are under way.", failure="overloaded", kind="overloaded", retry_after=1.0
    )
