"""Gemini clients that do not ask for `alt=sse` get their stream as one JSON array, written while it comes.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

from typing import cast

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.answer import Answer, is_event_stream
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.framing import JSONArrayFramer
from asgi_llmgw.sse import SSEDecoder

_SSE = b"alt=sse"
_STREAMED = ":streamGenerateContent"


class JSONArrayMiddleware:
    """Turn the event streams of `app` into JSON arrays for the clients that want them so; touch nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(_STREAMED) and _wants_array(scope):
            answer, send = Exchange.get_or_create(scope).watched(send)
            send = _ArrayWriter(send, answer).send
        await self._app(scope, receive, send)


def _wants_array(scope: Scope) -> bool:
    if Exchange.get_or_create(scope).client_protocol != "gemini_generate":
        return False
    query = cast(bytes, scope.get("query_string") or b"")
    return _SSE not in query.split(b"&")


class _ArrayWriter:
    """Changes the framing of one event stream."""

    def __init__(self, send: Send, answer: Answer) -> None:
        self._send = send
        self._answer = answer
        self._streaming = False
        self._frames = SSEDecoder()
        self._array = JSONArrayFramer()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            self._streaming = self._answer.as_array = is_event_stream(headers)
            if self._streaming:
                kept = [(name, value) for name, value in headers if name != b"content-type"]
                message = {**message, "headers": [*kept, (b"content-type", b"application/json")]}
        elif self._streaming:
            more = bool(message.get("more_body", False))
            elements = [self._array.feed(frame) for frame in self._frames.feed(message.get("body", b""))]
            if not more:
                elements += [self._array.feed(frame) for frame in self._frames.close()]
                elements.append(self._array.close())
            message = {"type": "http.response.body", "body": b"".join(elements), "more_body": more}
            if more and not elements:
                return
        await self._send(message)
