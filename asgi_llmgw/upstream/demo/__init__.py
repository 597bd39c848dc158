"""The demo provider: an upstream that needs no key and no network, so that the first request works on any machine.

It speaks Chat Completions, Anthropic Messages and Gemini's generateContent on the wire, so everything above it works
exactly as with a vendor. It says that it is a demo, repeats what it was told, calls the tools it is named, and counts
words for tokens.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

import anyio

from asgi_llmgw._types import Headers
from asgi_llmgw.json import JSONError, JSONObject, dumps, loads_object
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import read_all
from asgi_llmgw.upstream.demo import wire
from asgi_llmgw.upstream.demo.answer import Answer, answer
from asgi_llmgw.upstream.demo.prompt import Prompt, read_chat, read_gemini, read_messages

_Stream: TypeAlias = Callable[[Prompt, Answer], Iterator[bytes]]
_Whole: TypeAlias = Callable[[Prompt, Answer], JSONObject]

_JSON: Final[Headers] = ((b"content-type", b"application/json"),)
_EVENTS: Final[Headers] = ((b"content-type", b"text/event-stream; charset=utf-8"),)
_GEMINI: Final = re.compile(r"/models/(?P<model>.+):(?P<method>generateContent|streamGenerateContent)\Z")


class DemoResponse:
    """An answer of the demo provider, which comes frame by frame."""

    __slots__ = ("_delay", "_frames", "headers", "status")

    def __init__(self, frames: Iterator[bytes], *, status: int, headers: Headers, delay: float) -> None:
        self._frames = frames
        self._delay = delay
        self.status = status
        self.headers = headers

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body, a frame at a time."""
        for frame in self._frames:
            await anyio.sleep(self._delay)
            yield frame

    async def aread(self, *, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        return await read_all(self.aiter_raw(), self.headers, limit=limit)


class DemoUpstream:
    """Answers by itself, always the same to the same request.

    Args:
        delay: seconds before each frame of a stream.
    """

    def __init__(self, *, delay: float = 0.02) -> None:
        self._delay = delay

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[DemoResponse]:
        """Answer."""
        await anyio.lowlevel.checkpoint()
        yield self._respond(request)

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _respond(self, request: UpstreamRequest) -> DemoResponse:
        path = unquote(urlsplit(request.url).path)
        try:
            body = loads_object(request.body)
        except JSONError:
            return self._whole({"error": {"message": "The body is not a JSON object."}}, status=400)
        if path.endswith("/chat/completions"):
            prompt = read_chat(body)
            return self._stream(wire.chat_stream, prompt) if prompt.stream else self._answer(wire.chat, prompt)
        if path.endswith("/messages"):
            prompt = read_messages(body)
            return self._stream(wire.messages_stream, prompt) if prompt.stream else self._answer(wire.messages, prompt)
        if found := _GEMINI.search(path):
            stream = found["method"] == "streamGenerateContent"
            prompt = read_gemini(body, model=found["model"], stream=stream)
            return self._stream(wire.gemini_stream, prompt) if stream else self._answer(wire.gemini, prompt)
        return self._whole({"error": {"message": "The demo provider has no such endpoint."}}, status=404)

    def _stream(self, render: _Stream, prompt: Prompt) -> DemoResponse:
        frames = render(prompt, answer(prompt))
        return DemoResponse(frames, status=200, headers=_EVENTS, delay=self._delay)

    def _answer(self, render: _Whole, prompt: Prompt) -> DemoResponse:
        return self._whole(render(prompt, answer(prompt)), status=200)

    def _whole(self, value: JSONObject, *, status: int) -> DemoResponse:
        return DemoResponse(iter((dumps(value),)), status=status, headers=_JSON, delay=0.0)
