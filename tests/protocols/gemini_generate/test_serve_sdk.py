"""Google's own SDK against a server that answers through the codec alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from google import genai
from google.genai import errors, types

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.protocols import StreamContext
from asgi_llmgw.protocols.gemini_generate import CODEC

# the SDK's own way with aiohttp, which is not ours to mend
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")]

ANTHROPIC = ir.Opaque("anthropic_messages", "signature", "c2lnbmF0dXJl")
THINKING = ir.ReasoningPart("Hmm, the weather.", ANTHROPIC)
CALL = ir.ToolCallPart("toolu_1", "weather", '{"city":"Köln"}')
CALLING = ir.ChatResponse(
    (ir.Choice((THINKING, ir.TextPart("I look."), CALL), ir.FinishReason("tool_calls", "tool_use")),),
    id="r1",
    model="claude",
    usage=ir.Usage(10, 5, reasoning_tokens=2),
)
SAYING = ir.ChatResponse(
    (ir.Choice((ir.TextPart("Sunny, 20 °C.\u2028Good?"),), ir.FinishReason("stop")),),
    id="r2",
    model="claude",
    usage=ir.Usage(20, 6),
)


@dataclass
class Server:
    """Answers with these, in turn; keeps what was asked."""

    answers: list[ir.ChatResponse | UpstreamError]
    asked: list[ir.ChatRequest] = field(default_factory=list)
    url: str = ""
    break_off: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                request = CODEC.decode_request(head.split(b" ")[1].decode(), body)
                self.asked.append(request)
                self._answer(request, self.answers.pop(0), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(
        self, request: ir.ChatRequest, answer: ir.ChatResponse | UpstreamError, writer: asyncio.StreamWriter
    ) -> None:
        context = StreamContext(model=request.model, request=request)
        status, kind = 200, b"application/json"
        if isinstance(answer, UpstreamError):
            error = CODEC.encode_error(answer)
            status, out = error.status, error.body
        elif request.stream:
            kind = b"text/event-stream"
            encoder = CODEC.stream_encoder(context)
            events = list(ir.explode(answer))[: -2 if self.break_off else None]
            frames = [frame for event in events for frame in encoder.feed(event)] + list(encoder.close())
            out = b"".join(frame.encode(CODEC.frame_newline) for frame in frames)
        else:
            out = CODEC.encode_response(answer, context=context).body
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(out), out)
        )


@asynccontextmanager
async def serving(*answers: ir.ChatResponse | UpstreamError, break_off: bool = False) -> AsyncIterator[Server]:
    served = Server(list(answers), break_off=break_off)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{cast(int, server.sockets[0].getsockname()[1])}"
    try:
        yield served
    finally:
        server.close()


@asynccontextmanager
async def sdk(server: Server) -> AsyncIterator[genai.client.AsyncClient]:
    client = genai.Client(api_key="key", http_options=types.HttpOptions(base_url=server.url))
    async with client.aio as aio:
        yield aio
    client.close()


TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="Tells it.",
            parameters=types.Schema(
                type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING, nullable=True)}
            ),
        )
    ]
)
CONFIG = types.GenerateContentConfig(
    system_instruction="Be brief.",
    tools=[TOOL],
    temperature=0.5,
    thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


async def test_the_sdk_reads_a_whole_answer() -> None:
    async with serving(CALLING) as server, sdk(server) as client:
        response = await client.models.generate_content(model="anything/at-all", contents="Hi", config=CONFIG)
    (asked,) = server.asked
    assert asked.model == "anything/at-all"
    assert asked.messages == (
        ir.Message("system", (ir.TextPart("Be brief."),)),
        ir.Message("user", (ir.TextPart("Hi"),)),
    )
    assert asked.reasoning == ir.Reasoning("low", None, True)
    schema = {"type": "object", "properties": {"city": {"type": ["string", "null"]}}}
    assert asked.tools == (ir.Tool("weather", "Tells it.", schema),)  # type: ignore[arg-type]
    assert asked.extensions == ()
    assert response.text == "I look."
    assert response.function_calls is not None
    assert (response.function_calls[0].name, response.function_calls[0].args) == ("weather", {"city": "Köln"})
    assert response.model_version == "anything/at-all"
    usage = response.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (10, 3, 2)


async def test_the_sdk_reads_a_stream() -> None:
    """Trap 5"""
    async with serving(SAYING) as server, sdk(server) as client:
        stream = await client.models.generate_content_stream(model="m", contents="Hi")
        chunks = [chunk async for chunk in stream]
    assert server.asked[0].stream
    assert "".join(chunk.text or "" for chunk in chunks) == "Sunny, 20 °C.\u2028Good?"
    last = chunks[-1].candidates
    assert last is not None and last[0].finish_reason is types.FinishReason.STOP
    assert {chunk.response_id for chunk in chunks} == {"r2"}


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_the_chat_helper_goes_through_a_tool_loop(streamed: bool) -> None:
    """Clients 19 and 20, R1: calls meet their results, and the vendor's reasoning comes back byte for byte."""
    reply = types.Part(
        function_response=types.FunctionResponse(id="toolu_1", name="weather", response={"output": "20 °C"})
    )
    async with serving(CALLING, SAYING) as server, sdk(server) as client:
        chat = client.chats.create(model="m", config=CONFIG)
        said: list[str] = []
        for message in ("What is the weather?", reply):
            if streamed:
                async for chunk in await chat.send_message_stream(message):
                    said += [chunk.text or ""]
            else:
                said += [(await chat.send_message(message)).text or ""]
    assert "".join(said) == "I look.Sunny, 20 °C.\u2028Good?"
    _, question, calling, results = server.asked[1].messages
    assert question == ir.Message("user", (ir.TextPart("What is the weather?"),))
    assert calling == ir.Message("assistant", (THINKING, ir.TextPart("I look."), CALL))
    assert results == ir.Message("tool", (ir.ToolResultPart("toolu_1", (ir.TextPart("20 °C"),), "weather"),))


async def test_the_sdk_raises_for_a_stream_that_breaks() -> None:
    """§2.4"""
    async with serving(SAYING, break_off=True) as server, sdk(server) as client:
        stream = await client.models.generate_content_stream(model="m", contents="Hi")
        with pytest.raises(errors.ServerError) as caught:
            async for _ in stream:
                pass
    assert caught.value.code == 502


async def test_the_sdk_raises_for_an_error() -> None:
    error = UpstreamError("No such model.", failure="model_access", kind="model_not_found")
    async with serving(error) as server, sdk(server) as client:
        with pytest.raises(errors.ClientError) as caught:
            await client.models.generate_content(model="m", contents="Hi")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
