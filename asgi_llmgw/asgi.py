"""The few things every ASGI component needs: read a body, replay it, find the path, answer, and notice who left.

https://asgi.readthedocs.io/en/latest/specs/www.html. No Python server raises from `send()` once the client has gone, so
`receive()` is the only place to learn of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Final

import anyio

from asgi_llmgw._types import Headers, Message, Receive, Scope, Send
from asgi_llmgw.answer import ClientDisconnected as ClientDisconnected
from asgi_llmgw.errors import RequestError
from asgi_llmgw.interrupt import Interrupt

MIB: Final = 1024 * 1024
MAX_BODY: Final = 32 * MIB
BODY_TIMEOUT: Final = 30.0
BODY_RATE: Final = 1024
"""Bytes a second, on average, below which a request body is too slow."""
BODY_GRACE: Final = 10.0
"""Seconds after which that is looked at."""
ABANDONED_AFTER: Final = 1.0
"""Seconds that cancelled work gets to end: some servers shield their `send` and never give it back."""

UNCACHED: Final[Headers] = ((b"cache-control", b"no-cache, no-store, private, no-transform"),)
"""On every answer to a caller with a key: nothing between us and the client may keep it."""

STREAMING: Final[Headers] = (*UNCACHED, (b"x-accel-buffering", b"no"))
"""On every event stream: nothing between us and the client may hold it back."""


def headers_of(scope: Scope) -> Headers:
    """The request's headers, copied: servers have been seen appending trailers to the list they handed out."""
    return tuple([(name.lower(), value) for name, value in scope.get("headers") or ()])


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
    path: str = scope.get("path") or "/"
    given: str | None = scope.get("root_path")
    if not given:
        return path
    root = given.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def path_with_query(scope: Scope) -> str:
    """`route_path` and the query string, as codecs take it."""
    query: bytes = scope.get("query_string") or b""
    path = route_path(scope)
    return f"{path}?{query.decode('latin-1')}" if query else path


async def read_body(
    receive: Receive,
    *,
    headers: Headers = (),
    limit: int = MAX_BODY,
    timeout: float = BODY_TIMEOUT,
    min_rate: float = BODY_RATE,
) -> bytes:
    """The whole request body.

    Args:
        headers: the request's headers; a declared length over the limit is refused before anything is read.
        limit: the most bytes to take.
        timeout: seconds until the last byte must have come.
        min_rate: bytes a second that must have come on average, once `BODY_GRACE` is over.

    Raises:
        RequestError: larger than the limit (413) or too slow (408).
        ClientDisconnected: the client left before the end.
    """
    if type(receive) is Replay and not receive.told:
        receive.told = True
        if len(receive.body) > limit:
            raise _too_large(limit)
        return receive.body
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    body = bytearray()
    with _Pace(body, timeout, min_rate) as pace:
        pace.start()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _unread(message)
            chunk: bytes = message.get("body") or b""
            if len(body) + len(chunk) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return b"".join((body, chunk)) if body else chunk
            body += chunk
    raise RequestError("The request body came too slowly.", kind="request_timeout")


class _Pace(Interrupt):
    """What ends the reading of a body by its one timer, set to the moment at which it is too slow if no more comes."""

    __slots__ = ("_body", "_min_rate", "_started", "_timeout")

    def __init__(self, body: bytearray, timeout: float, min_rate: float) -> None:
        self._body = body
        self._timeout = timeout
        self._min_rate = min_rate

    def start(self) -> None:
        """The first byte is waited for from now on."""
        self._started = self.loop.time()
        first = self._timeout if self._timeout < BODY_GRACE else BODY_GRACE
        self.timer = self.loop.call_later(first, self._check)

    def _check(self) -> None:
        enough = len(self._body) / self._min_rate if self._min_rate else self._timeout
        ends = self._started + min(self._timeout, enough)
        # a timer may be a little early
        if ends <= self.loop.time() + 0.001:
            self.fire()
        else:
            self.timer = self.loop.call_at(ends, self._check)


def _unread(message: Message) -> Exception:
    """Why there is no body to read."""
    if message["type"] == "http.disconnect":
        return ClientDisconnected()
    return RequestError("The server sent an ASGI message that does not belong into a request body.")


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The request body is larger than {limit} bytes.", kind="request_too_large", code="request_too_large"
    )


class Replay:
    """A `receive` that gives a body whole and then whatever the server says next (a disconnect)."""

    __slots__ = ("body", "rest", "told")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body = body
        self.told = False
        self.rest = receive

    async def __call__(self) -> Message:
        if self.told:
            return await self.rest()
        self.told = True
        return {"type": "http.request", "body": self.body, "more_body": False}


async def peek_body(receive: Receive, *, headers: Headers = (), limit: int = MAX_BODY) -> tuple[bytes, Receive]:
    """The whole request body, and a `receive` that gives it once more; as it is where it was read further out.

    Raises:
        RequestError: as `read_body`.
        ClientDisconnected: the client left before the end.
    """
    if type(receive) is Replay and not receive.told and len(receive.body) <= limit:
        return receive.body, receive
    body = await read_body(receive, headers=headers, limit=limit)
    return body, Replay(body, receive)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body whole and then whatever the server says next."""
    if type(receive) is Replay and receive.told:
        receive = receive.rest
    return Replay(body, receive)


async def watch_disconnect(receive: Receive) -> None:
    """Return when the client has gone. Call it only after the request body was read to its end."""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return


async def while_connected(
    receive: Receive,
    work: Coroutine[None, None, None],
    *,
    left: Callable[[], float | None],
    let_go: Callable[[], Awaitable[None]],
) -> None:
    """Do the work as long as there is a client to do it for.

    The work has a task of its own, which is the one that sends; this one waits for the client to leave. It returns even
    where a `send` hangs that cannot be cancelled: all that is above it in the stack can then give back what it holds.

    Args:
        receive: the request body must have been read to its end.
        work: makes the answer.
        left: told when the client has left before the end of the work; the seconds that it may still go on, None for
            as long as it takes.
        let_go: closes what the work holds, should it not end although it was cancelled.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        with Interrupt() as watching:
            task.add_done_callback(watching.fire)
            while (await receive())["type"] == "http.request":
                pass
        if not task.done():
            patience = left()
            if patience != 0:
                await asyncio.wait({task}, timeout=patience)
    finally:
        if not task.done():
            await _end(task, let_go)
    if task.done() and not task.cancelled():
        task.result()


async def _end(task: asyncio.Task[None], let_go: Callable[[], Awaitable[None]]) -> None:
    """Cancel the work; what does not end in time is left to itself."""
    _unfinished.add(task)
    task.add_done_callback(_finished)
    task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task}, timeout=ABANDONED_AFTER)
        if not task.done():
            await let_go()


_unfinished: Final[set[asyncio.Task[None]]] = set()
"""The event loop itself holds its tasks by weak references only."""


def _finished(task: asyncio.Task[None]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        # whatever it is, nobody is there any more to be told
        task.exception()


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
