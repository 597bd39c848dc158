"""Fakes for ASGI apps and for upstreams: what our own tests use, for the tests of anybody who builds on us.

They are strict: an app that breaks the ASGI contract fails the test that drives it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import anyio

from asgi_llmgw._types import ASGIApp, Headers, Message, Scope
from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.json import JSONValue, dumps, loads
from asgi_llmgw.upstream.base import UpstreamRequest


def http_scope(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    *,
    headers: Iterable[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),),
    query: bytes = b"",
    root_path: str = "",
) -> Scope:
    """An HTTP scope as uvicorn would make it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query,
        "root_path": root_path,
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


class ScriptedReceive:
    """A `receive` that gives the body in these chunks, then waits until `disconnect()` is called."""

    def __init__(self, *chunks: bytes) -> None:
        body = chunks or (b"",)
        self._messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": number < len(body) - 1}
            for number, chunk in enumerate(body)
        ]
        self._gone = anyio.Event()
        self._waiting = False
        self.calls = 0

    async def __call__(self) -> Message:
        assert not self._waiting, "receive() was called while another call was waiting"
        self.calls += 1
        if self._messages:
            return self._messages.pop(0)
        self._waiting = True
        try:
            await self._gone.wait()
        finally:
            self._waiting = False
        return {"type": "http.disconnect"}

    def disconnect(self) -> None:
        """The client leaves."""
        self._gone.set()


class RecordingSend:
    """A `send` that checks the order of messages and keeps them.

    Args:
        on_body: called with each body chunk; a test sets its events here.
    """

    def __init__(self, on_body: Callable[[bytes], None] | None = None) -> None:
        self.messages: list[Message] = []
        self.finished = False
        self._on_body = on_body

    async def __call__(self, message: Message) -> None:
        assert not self.finished, f"{message['type']} after the end of the response"
        if message["type"] == "http.response.start":
            assert not self.messages, "the response was started twice"
            for name, value in message.get("headers", ()):
                assert isinstance(name, bytes) and isinstance(value, bytes), (name, value)
                assert name == name.lower(), f"header name {name!r} is not in lower case"
                assert not set(b"\r\n\0") & set(name + value), f"header {name!r} would break out"
        else:
            assert message["type"] == "http.response.body", message["type"]
            assert self.messages, "a body came before the start"
            self.finished = not message.get("more_body", False)
        self.messages.append(message)
        if message["type"] == "http.response.body" and self._on_body is not None:
            self._on_body(cast(bytes, message.get("body", b"")))
        await anyio.lowlevel.checkpoint()

    @property
    def started(self) -> bool:
        return bool(self.messages)

    @property
    def status(self) -> int:
        return cast(int, self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0].get("headers", ()))

    @property
    def chunks(self) -> list[bytes]:
        return [cast(bytes, message.get("body", b"")) for message in self.messages[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> JSONValue:
        return loads(self.body)


@dataclass
class Answer:
    """What an app answered."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> JSONValue:
        return loads(self.body)


async def call(app: ASGIApp, scope: Scope | None = None, body: bytes | JSONValue = b"") -> Answer:
    """Drive an app through one whole request and check that it finished its answer."""
    text = body if isinstance(body, bytes) else dumps(body)
    send = RecordingSend()
    await app(scope if scope is not None else http_scope(), ScriptedReceive(text), send)
    assert send.finished, "the app returned without finishing its response"
    return Answer(send.status, send.headers, send.body)


class FakeClock:
    """A clock that moves only when told. Call it for the time in seconds."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@dataclass
class FakeResponse:
    """An upstream's answer. An exception among the chunks is raised there; an event is waited for."""

    chunks: Sequence[bytes | BaseException | anyio.Event] = ()
    status: int = 200
    headers: Headers = ((b"content-type", b"application/json"),)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            if isinstance(chunk, anyio.Event):
                await chunk.wait()
                continue
            await anyio.lowlevel.checkpoint()
            yield chunk

    async def aread(self, *, limit: int) -> bytes:
        body = bytearray()
        async for chunk in self.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise InvalidUpstreamResponse(f"the upstream's answer is larger than {limit} bytes")
        return bytes(body)


SSE_HEADERS: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)


def sse_response(*chunks: bytes | BaseException | anyio.Event) -> FakeResponse:
    """A streamed answer."""
    return FakeResponse(chunks, headers=SSE_HEADERS)


@dataclass
class FakeUpstream:
    """An `Upstream` that gives its answers in order (the last one again and again) and keeps what it was asked.

    An exception among the answers is raised when the call is opened. `open_calls` counts calls not closed yet, `sent`
    has the body of each, also of those that came in pieces.
    """

    answers: list[FakeResponse | BaseException]
    requests: list[UpstreamRequest] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    open_calls: int = 0
    closed: bool = False

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[FakeResponse]:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await anyio.lowlevel.checkpoint()
        if isinstance(answer, BaseException):
            raise answer
        pieces = request.pieces
        self.sent.append(request.body if pieces is None else b"".join([piece async for piece in pieces]))
        self.open_calls += 1
        try:
            yield answer
        finally:
            self.open_calls -= 1

    async def aclose(self) -> None:
        self.closed = True
