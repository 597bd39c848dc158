"""Whatever client and vendor speak: a stream that is left is counted by its length, one that ends as it was told."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw import build_app
from asgi_llmgw._types import Scope
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import (
    ChoiceEnd,
    FinishReason,
    PartEnd,
    PartStart,
    Protocol,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, dumps, loads_object
from asgi_llmgw.protocols import SERVED, StreamContext, codec
from asgi_llmgw.testing import FakeUpstream, RecordingSend, ScriptedReceive, call, http_scope, sse_response

pytestmark = pytest.mark.anyio

QUESTION: JSONObject = {"role": "user", "content": "Hello"}
ASKED: dict[Protocol, tuple[str, bytes, JSONObject]] = {
    "openai_chat": ("/v1/chat/completions", b"", {"messages": [QUESTION], "max_tokens": 999}),
    "openai_responses": ("/v1/responses", b"", {"input": "Hello", "max_output_tokens": 999}),
    "anthropic_messages": ("/v1/messages", b"", {"messages": [QUESTION], "max_tokens": 999}),
    "gemini_generate": (
        "/v1beta/models/smart:streamGenerateContent",
        b"alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": 999}},
    ),
}
BEGIN: tuple[StreamEvent, ...] = (
    ResponseStart(id="r_1", model="m"),
    PartStart(0, TextPart("")),
    *(TextDelta(0, "word " * 18) for _ in range(10)),
)
END: tuple[StreamEvent, ...] = (
    PartEnd(0),
    ChoiceEnd(FinishReason("stop", "stop")),
    UsageUpdate(Usage(input_tokens=9, output_tokens=5)),
    ResponseEnd(),
)
PAIRS = pytest.mark.parametrize(("client", "vendor"), [(one, other) for one in SERVED for other in SERVED])


def asking(protocol: Protocol) -> tuple[Scope, bytes]:
    path, query, fields = ASKED[protocol]
    body = fields if protocol == "gemini_generate" else {"model": "smart", "stream": True, **fields}
    headers = ((b"content-type", b"application/json"), (b"x-api-key", b"client-key"))
    return http_scope(path=path, headers=headers, query=query), dumps(body)


def stream(protocol: Protocol) -> tuple[bytes, bytes]:
    """The beginning of a vendor's stream, 900 characters of text, and its end."""
    dialect = codec(protocol)
    encoder = dialect.stream_encoder(StreamContext(include_usage=True))

    def told(events: tuple[StreamEvent, ...]) -> bytes:
        return b"".join(frame.encode(dialect.frame_newline) for event in events for frame in encoder.feed(event))

    begin = told(BEGIN)
    end = told(END) + b"".join(frame.encode(dialect.frame_newline) for frame in encoder.close())
    return begin, end


async def cost(client: Protocol, vendor: Protocol, *, leave: bool) -> object:
    """What the log says after the client has left, or has heard it all; a million tokens of output are 1 USD."""
    begin, end = stream(vendor)
    config = parse_config(
        {
            "keys": [{"name": "team-a", "key": "client-key", "budget_usd": 1.0}],
            "providers": {"up": {"protocol": vendor, "base_url": "http://127.0.0.1:1", "api_key": "k"}},
            "models": {"smart": {"targets": ["up/m"]}},
            "prices": {"up/m": {"input": 0, "output": 1}},
        },
        environ={},
    )
    lines: list[bytes] = []
    answer = sse_response(begin, anyio.Event()) if leave else sse_response(begin, end)
    gateway = build_app(config, upstream=FakeUpstream([answer]), access_log=lines.append)
    scope, body = asking(client)
    if leave:
        receive = ScriptedReceive(body)
        heard = bytearray()

        def hear(chunk: bytes) -> None:
            heard.extend(chunk)
            if heard.count(b"word word") >= 10:
                receive.disconnect()

        await gateway(scope, receive, RecordingSend(hear))
    else:
        assert (await call(gateway, scope, body)).status == 200
    await gateway.aclose()
    return loads_object(lines[-1])["cost_usd"]


@PAIRS
async def test_a_stream_that_is_left_is_counted_by_its_length(client: Protocol, vendor: Protocol) -> None:
    """F109 L8: 900 characters are about 300 tokens, and never 1."""
    assert await cost(client, vendor, leave=True) == pytest.approx(0.0003)


@PAIRS
async def test_a_stream_that_ends_is_counted_as_it_was_told(client: Protocol, vendor: Protocol) -> None:
    assert await cost(client, vendor, leave=False) == pytest.approx(0.000005)
