"""The few things every ASGI component needs: read a body, replay it, find the path, answer, and notice who left.

https://asgi.readthedocs.io/en/latest/specs/www.html. No Python server raises from `send()` once the client has gone, so
`receive()` is the only place to learn of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import anyio

from asgi_llmgw._types import Headers, Message, Receive, Scope, Send
from asgi_llmgw.errors import RequestError

MIB: Final = 1024 * 1024
MAX_BODY: Final = 32 * MIB
BODY_TIMEOUT: Final = 30.0

UNCACHED: Final[Headers] = ((b"cache-control", b"no-cache, no-store, private, no-transform"),)
"""On every answer to a caller with a key: nothing between us and the client may keep it."""

STREAMING: Final[Headers] = (*UNCACHED, (b"x-accel-buffering", b"no"))
"""On every event stream: nothing between us and the client may hold it back."""


class ClientDisconnected(Exception):
    """The client has gone; nobody is left to answer."""


def headers_of(scope: Scope) -> Headers:
    """The request's headers, copied: servers have been seen appending trailers to the list they handed out."""
    return tuple((bytes(name).lower(), bytes(value)) for name, value in scope.get("headers") or ())


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The first value of a header, as text; None when it is absent. `name` is in lower case."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1").strip()
    return None


def route_path(scope: Scope) -> str:
    """The path below the mount point.

    Servers and frameworks differ in whether `path` includes `root_path`; it is taken off only where it is a true
    prefix of whole segments.
    """
    path = cast(str, scope.get("path") or "/")
    root = cast(str, scope.get("root_path") or "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def path_with_query(scope: Scope) -> str:
    """`route_path` and the query string, as codecs take it."""
    query = cast(bytes, scope.get("query_string") or b"")
    path = route_path(scope)
    return f"{path}?{query.decode('latin-1')}" if query else path


async def read_body(
    receive: Receive, *, headers: Headers = (), limit: int = MAX_BODY, timeout: float = BODY_TIMEOUT
) -> bytes:
    """The whole request body.

    Args:
        headers: the request's headers; a declared length over the limit is refused before anything is read.
        limit: the most bytes to take.
        timeout: seconds until the last byte must have come.

    Raises:
        RequestError: larger than the limit (413) or too slow (408).
        ClientDisconnected: the client left before the end.
    """
    declared = header(headers, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    with anyio.move_on_after(timeout):
        first = await receive()
        body = _body_of(first)
        if not first.get("more_body", False):
            if len(body) > limit:
                raise _too_large(limit)
            return body
        buffer = bytearray(body)
        more = True
        while more:
            if len(buffer) > limit:
                raise _too_large(limit)
            message = await receive()
            buffer += _body_of(message)
            more = bool(message.get("more_body", False))
        if len(buffer) > limit:
            raise _too_large(limit)
        return bytes(buffer)
    raise RequestError(f"The request body did not arrive within {timeout:g} seconds.", kind="request_timeout")


def _body_of(message: Message) -> bytes:
    match message["type"]:
        case "http.request":
            return cast(bytes, message.get("body", b"") or b"")
        case "http.disconnect":
            raise ClientDisconnected
        case _:
            raise RequestError("The server sent an ASGI message that does not belong into a request body.")


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The request body is larger than {limit} bytes.", kind="request_too_large", code="request_too_large"
    )


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body whole and then whatever the server says next (a disconnect)."""
    told = False

    async def replaying() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replaying


async def watch_disconnect(receive: Receive) -> None:
    """Return when the client has gone. Call it only after the request body was read to its end."""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return


async def send_response(send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """One whole answer with its length."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_gone(send: Send) -> None:
    """Close the books with a server whose client left before the answer began: it is never delivered."""
    await send_response(send, 499, b"")
