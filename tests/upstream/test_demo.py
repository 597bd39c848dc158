"""The demo provider, through the codecs and through the vendors' own clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, TypeAlias

import httpx2
import pytest
from anthropic import AsyncAnthropic
from google.genai import types as genai
from openai import AsyncOpenAI

from asgi_llmgw.ir import ChatResponse, Protocol, TextPart, ToolCallPart, accumulate, check_stream
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads, loads_object
from asgi_llmgw.protocols import codec
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.demo import DemoUpstream
from asgi_llmgw.upstream.demo.answer import example

pytestmark = pytest.mark.anyio

BASE = "demo://localhost"
SCHEMA: JSONObject = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
    "required": ["city", "days"],
}
ARGUMENTS: JSONObject = {"city": "demo", "days": 1}
Choice: TypeAlias = Literal["auto", "any", "named", "none"]

EVERY_PROTOCOL = pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages", "gemini_generate"])
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def chat_request(text: str, *, tools: bool, choice: Choice, limit: int | None, form: bool, result: str) -> JSONObject:
    messages: list[JSONValue] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]
    if result:
        function: JSONObject = {"name": "get_weather", "arguments": "{}"}
        call: JSONObject = {"id": "call_1", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]
    body: JSONObject = {"model": "demo", "messages": messages}
    if tools:
        body["tools"] = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
        named: JSONObject = {"type": "function", "function": {"name": "get_weather"}}
        choices: JSONObject = {"auto": "auto", "any": "required", "named": named, "none": "none"}
        body["tool_choice"] = choices[choice]
    if limit is not None:
        body["max_completion_tokens"] = limit
    if form:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
    return body


def messages_request(
    text: str, *, tools: bool, choice: Choice, limit: int | None, form: bool, result: str
) -> JSONObject:
    messages: list[JSONValue] = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    if result:
        call: JSONObject = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {}}
        block: JSONObject = {"type": "tool_result", "tool_use_id": "call_1", "content": result}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [block]}]
    body: JSONObject = {"model": "demo", "max_tokens": limit or 4096, "system": "be kind", "messages": messages}
    if tools:
        body["tools"] = [{"name": "get_weather", "input_schema": SCHEMA}]
        kind = {"auto": "auto", "any": "any", "named": "tool", "none": "none"}[choice]
        body["tool_choice"] = {"type": kind, **({"name": "get_weather"} if choice == "named" else {})}
    if form:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return body


def gemini_request(text: str, *, tools: bool, choice: Choice, limit: int | None, form: bool, result: str) -> JSONObject:
    contents: list[JSONValue] = [{"role": "user", "parts": [{"text": text}]}]
    if result:
        contents += [
            {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "get_weather", "response": {"output": result}}}],
            },
        ]
    config: JSONObject = {}
    body: JSONObject = {"contents": contents, "systemInstruction": {"parts": [{"text": "be kind"}]}}
    if tools:
        body["tools"] = [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": SCHEMA}]}]
        mode = {"auto": "AUTO", "any": "ANY", "named": "ANY", "none": "NONE"}[choice]
        named: JSONObject = {"allowedFunctionNames": ["get_weather"]} if choice == "named" else {}
        body["toolConfig"] = {"functionCallingConfig": {"mode": mode, **named}}
    if limit is not None:
        config["maxOutputTokens"] = limit
    if form:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    return {**body, "generationConfig": config}


REQUESTS = {
    "openai_chat": chat_request,
    "anthropic_messages": messages_request,
    "gemini_generate": gemini_request,
}


def upstream_request(protocol: Protocol, body: JSONObject, *, stream: bool) -> UpstreamRequest:
    if protocol == "gemini_generate":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return UpstreamRequest(url=f"{BASE}/v1beta/models/demo:{method}", body=dumps(body), stream=stream)
    path = "/chat/completions" if protocol == "openai_chat" else "/v1/messages"
    extra: JSONObject = {"stream_options": {"include_usage": True}} if stream and protocol == "openai_chat" else {}
    return UpstreamRequest(url=BASE + path, body=dumps({**body, "stream": stream, **extra}), stream=stream)


async def ask(
    protocol: Protocol,
    text: str = "hello there",
    *,
    stream: bool,
    tools: bool = False,
    choice: Choice = "auto",
    limit: int | None = None,
    form: bool = False,
    result: str = "",
) -> ChatResponse:
    """What a codec reads out of the demo provider's answer."""
    body = REQUESTS[protocol](text, tools=tools, choice=choice, limit=limit, form=form, result=result)
    upstream: Upstream = DemoUpstream(delay=0)
    async with upstream.open(upstream_request(protocol, body, stream=stream)) as answer:
        assert answer.status == 200
        received = await answer.aread(limit=1 << 20)
    if not stream:
        return codec(protocol).decode_response(received)
    frames, decoder = SSEDecoder(), codec(protocol).stream_decoder()
    events = [event for frame in (*frames.feed(received), *frames.close()) for event in decoder.feed(frame)]
    return accumulate(check_stream([*events, *decoder.close()]))


def text_of(response: ChatResponse) -> str:
    return "".join(part.text for part in response.choices[0].parts if isinstance(part, TextPart))


def call_of(response: ChatResponse) -> tuple[str, JSONValue]:
    calls = [part for part in response.choices[0].parts if isinstance(part, ToolCallPart)]
    assert len(calls) == 1
    return calls[0].name, loads(calls[0].arguments)


def finish_of(response: ChatResponse) -> str:
    return response.choices[0].finish.kind


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_says_that_it_is_a_demo_and_repeats_what_it_was_told(protocol: Protocol, stream: bool) -> None:
    response = await ask(protocol, "Grüße aus 北京", stream=stream)
    assert "demo provider" in text_of(response)
    assert text_of(response).endswith("You said: Grüße aus 北京")
    assert finish_of(response) == "stop"


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_counts_words_for_tokens(protocol: Protocol, stream: bool) -> None:
    response = await ask(protocol, "one two three", stream=stream)
    assert response.usage is not None
    assert response.usage.input_tokens == 5  # those of the system prompt too
    assert response.usage.output_tokens == len(text_of(response).split())


@EVERY_PROTOCOL
async def test_repeats_only_the_beginning_of_a_long_text(protocol: Protocol) -> None:
    assert len(text_of(await ask(protocol, "word " * 1000, stream=False))) < 250


@EVERY_PROTOCOL
async def test_a_stream_says_what_the_whole_answer_says(protocol: Protocol) -> None:
    whole, streamed = await ask(protocol, stream=False), await ask(protocol, stream=True)
    assert text_of(whole) == text_of(streamed)


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_stops_at_the_limit(protocol: Protocol, stream: bool) -> None:
    response = await ask(protocol, stream=stream, limit=3)
    assert text_of(response) == "This is the"
    assert finish_of(response) == "length"


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_calls_the_tool_that_the_user_names(protocol: Protocol, stream: bool) -> None:
    response = await ask(protocol, "please use get_weather", stream=stream, tools=True)
    assert call_of(response) == ("get_weather", ARGUMENTS)
    assert finish_of(response) == "tool_calls"


@EVERY_PROTOCOL
@BOTH_WAYS
@pytest.mark.parametrize("choice", ["any", "named"])
async def test_calls_a_tool_when_it_must(protocol: Protocol, stream: bool, choice: Choice) -> None:
    response = await ask(protocol, stream=stream, tools=True, choice=choice)
    assert call_of(response) == ("get_weather", ARGUMENTS)


@EVERY_PROTOCOL
@pytest.mark.parametrize(("text", "choice"), [("hello", "auto"), ("please use get_weather", "none")])
async def test_calls_no_tool_otherwise(protocol: Protocol, text: str, choice: Choice) -> None:
    response = await ask(protocol, text, stream=False, tools=True, choice=choice)
    assert finish_of(response) == "stop"
    assert "demo provider" in text_of(response)


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_quotes_what_the_tool_answered(protocol: Protocol, stream: bool) -> None:
    response = await ask(protocol, "get_weather please", stream=stream, tools=True, choice="any", result="rain at 9")
    assert "The tool answered:" in text_of(response)
    assert "rain at 9" in text_of(response)


@EVERY_PROTOCOL
@BOTH_WAYS
async def test_answers_with_json_of_the_wanted_schema(protocol: Protocol, stream: bool) -> None:
    assert loads(text_of(await ask(protocol, stream=stream, form=True))) == ARGUMENTS


async def test_a_stream_comes_word_by_word() -> None:
    body = REQUESTS["openai_chat"]("hi", tools=False, choice="auto", limit=None, form=False, result="")
    async with DemoUpstream(delay=0).open(upstream_request("openai_chat", body, stream=True)) as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    # the role, 14 words, the reason of the end, the usage and the terminator
    assert len(chunks) == 1 + 14 + 3
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/chat/completions", b"not json", 400, id="not_json"),
        pytest.param("/chat/completions", b"[]", 400, id="not_an_object"),
        pytest.param("/embeddings", b"{}", 404, id="unknown_endpoint"),
    ],
)
async def test_refuses_what_it_cannot_answer(path: str, body: bytes, status: int) -> None:
    async with DemoUpstream(delay=0).open(UpstreamRequest(url=BASE + path, body=body)) as answer:
        assert answer.status == status
        assert "error" in loads_object(await answer.aread(limit=1000))


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/messages", "/v1beta/models/x:generateContent"])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"messages":7,"contents":"x","tools":{},"tool_choice":[]}',
        b'{"messages":[1],"contents":[null],"tools":[[]],"generationConfig":[]}',
    ],
)
async def test_a_strange_request_gets_an_answer_all_the_same(path: str, body: bytes) -> None:
    async with DemoUpstream(delay=0).open(UpstreamRequest(url=BASE + path, body=body)) as answer:
        assert answer.status == 200


NODE: JSONObject = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "demo"),
        ({"const": 3}, 3),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": ["null", "string"], "minLength": 6}, "demoxx"),
        ({"type": "string", "maxLength": 2}, "de"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 3}, 6),
        ({"type": "number", "minimum": 0.25, "maximum": 0.5}, 0.25),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "number", "exclusiveMaximum": 0}, -1.0),
        ({"type": "number", "maximum": -0.5}, -0.5),
        ({"type": "number"}, 0.0),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        (
            {
                "allOf": [{"$ref": "#/$defs/a"}, {"required": ["b"]}],
                "$defs": {"a": {"properties": {"b": {"const": 1}}}},
            },
            {"b": 1},
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/x~1y"}}, "required": ["a"], "$defs": {"x/y": {"type": "boolean"}}},
            {"a": False},
        ),
    ],
)
def test_an_example_fits_its_schema(schema: JSONObject, expected: JSONValue) -> None:
    assert example(schema) == expected


def test_gemini_writes_its_types_in_capitals() -> None:
    assert example({"type": "OBJECT", "properties": {"a": {"type": "ARRAY"}}, "required": ["a"]}) == {"a": []}


def test_a_schema_without_an_end_gets_an_example_all_the_same() -> None:
    found = example({"$ref": "#/$defs/node", "$defs": {"node": NODE}})
    assert isinstance(found, dict)
    assert "next" in found


def through_the_demo() -> httpx2.AsyncClient:
    """An HTTP client whose every request the demo provider answers."""

    async def handle(request: httpx2.Request) -> httpx2.Response:
        async def chunks() -> AsyncIterator[bytes]:
            call = UpstreamRequest(url=str(request.url), body=await request.aread())
            async with DemoUpstream(delay=0).open(call) as answer:
                async for chunk in answer.aiter_raw():
                    yield chunk

        kind = "text/event-stream" if b'"stream":true' in await request.aread() else "application/json"
        return httpx2.Response(200, headers={"content-type": kind}, content=chunks())

    return httpx2.AsyncClient(transport=httpx2.MockTransport(handle))


async def test_openai_s_own_client_reads_it() -> None:
    async with AsyncOpenAI(api_key="x", base_url="http://demo/v1", http_client=through_the_demo()) as client:
        whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text
    assert whole.usage is not None and chunks[-1].usage == whole.usage


async def test_anthropic_s_own_client_reads_it() -> None:
    async with (
        AsyncAnthropic(api_key="x", base_url="http://demo", http_client=through_the_demo()) as client,
        client.messages.stream(
            model="m",
            max_tokens=100,
            messages=[{"role": "user", "content": "use get_weather"}],
            tools=[{"name": "get_weather", "input_schema": {"type": "object", **SCHEMA}}],
        ) as stream,
    ):
        message = await stream.get_final_message()
    assert message.content[0].type == "tool_use"
    assert (message.content[0].name, message.content[0].input, message.stop_reason) == (
        "get_weather",
        ARGUMENTS,
        "tool_use",
    )


async def test_google_s_own_types_read_it() -> None:
    body = REQUESTS["gemini_generate"]("hi", tools=False, choice="auto", limit=None, form=False, result="")
    async with DemoUpstream(delay=0).open(upstream_request("gemini_generate", body, stream=True)) as answer:
        frames = list(SSEDecoder().feed(await answer.aread(limit=1 << 20)))
    chunks = [genai.GenerateContentResponse.model_validate_json(frame.data) for frame in frames]
    assert "".join(chunk.text or "" for chunk in chunks).endswith("You said: hi")
    assert [bool(chunk.candidates and chunk.candidates[0].finish_reason) for chunk in chunks[-2:]] == [False, True]
