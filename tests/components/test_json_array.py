from __future__ import annotations

import json

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.components.json_array import JSONArrayMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, http_scope

pytestmark = pytest.mark.anyio

PATH = "/v1beta/models/m:streamGenerateContent"
ELEMENTS = [{"a": "ä\u2028"}, {"b": 2}, {"error": {"code": 503}}]
STREAM = "".join(f"data: {json.dumps(element, ensure_ascii=False)}\r\n\r\n" for element in ELEMENTS).encode()


def streaming(*chunks: bytes, kind: bytes = b"text/event-stream") -> JSONArrayMiddleware:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return JSONArrayMiddleware(app)


async def ask(app: JSONArrayMiddleware, protocol: Protocol = "gemini_generate", query: bytes = b"") -> RecordingSend:
    send = RecordingSend()
    exchange = Exchange("r", client_protocol=protocol)
    await app({**http_scope("POST", PATH, query=query), SCOPE_KEY: exchange}, ScriptedReceive(), send)
    return send


@pytest.mark.parametrize("size", [1, 7, len(STREAM)])
async def test_a_stream_becomes_one_array(size: int) -> None:
    """F157: however it is cut."""
    send = await ask(streaming(*(STREAM[at : at + size] for at in range(0, len(STREAM), size))))
    assert json.loads(send.body) == ELEMENTS
    assert send.headers[b"content-type"] == b"application/json"


async def test_elements_are_written_as_they_come() -> None:
    half = STREAM.index(b"\r\n\r\n") + 4
    send = await ask(streaming(STREAM[:half], STREAM[half:]))
    assert json.loads(send.chunks[0] + b"]") == ELEMENTS[:1]


async def test_an_empty_stream_is_an_empty_array() -> None:
    assert (await ask(streaming())).body == b"[]"


@pytest.mark.parametrize(
    ("protocol", "query", "kind"),
    [
        ("gemini_generate", b"alt=sse", b"text/event-stream"),
        ("gemini_generate", b"key=x&alt=sse", b"text/event-stream"),
        ("gemini_generate", b"", b"application/json"),
        ("openai_chat", b"", b"text/event-stream"),
    ],
)
async def test_everything_else_is_not_touched(protocol: Protocol, query: bytes, kind: bytes) -> None:
    send = await ask(streaming(STREAM, kind=kind), protocol, query)
    assert send.body == STREAM
