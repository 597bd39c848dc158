"""Bedrock's Converse through the whole gateway, over real sockets: clients of all four protocols, streamed and not."""

from __future__ import annotations

from typing import Any, Final

import pytest

from asgi_llmgw import Gateway, TranslatorMiddleware, build_app
from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import header
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.providers.catalog import provider_from_catalog
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, call, http_scope
from tests.faultup import FaultServer, chunk, fault_server, response
from tests.protocols.bedrock_converse.written import event, exception
from tests.readers import SDKError, hear_answer, hear_stream

pytestmark = pytest.mark.anyio

MODEL: Final = "us.amazon.nova-pro-v1:0"
ENVIRON: Final = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key", "AWS_REGION": "eu-central-1"}
ACTION: Final = {False: "converse", True: "converse-stream"}
AMAZON: Final = ((b"content-type", b"application/vnd.amazon.eventstream"),)
CHUNKED: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n"
)
USAGE: Final[JSONObject] = {
    "inputTokens": 10,
    "outputTokens": 5,
    "totalTokens": 35,
    "cacheReadInputTokens": 20,
    "cacheWriteInputTokens": 0,
}
CALL: Final[JSONObject] = {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Paris"}}
WHOLE: Final = dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "I look. é"}, {"toolUse": CALL}]}},
        "stopReason": "tool_use",
        "usage": USAGE,
        "metrics": {"latencyMs": 7},
    }
)
STREAM: Final = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "I look."}}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " é"}}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {**CALL, "input": None}}}),
    event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"city":'}}}),
    event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '"Paris"}'}}}),
    event("contentBlockStop", {"contentBlockIndex": 1}),
    event("messageStop", {"stopReason": "tool_use"}),
    event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 7}}),
]
SCHEMA: Final[JSONObject] = {"type": "object", "properties": {"city": {"type": "string"}}}
FINISH: Final = {
    "openai_chat": "tool_calls",
    "openai_responses": "completed",
    "anthropic_messages": "tool_use",
    "gemini_generate": "STOP",
}


def asked(client: Protocol, *, stream: bool) -> tuple[str, JSONObject]:
    """A path and a body with a system prompt, a limit and a tool."""
    tool: JSONObject = {"name": "weather", "description": "Tells it."}
    told: JSONObject = {"role": "user", "content": "Weather?"}
    match client:
        case "openai_chat":
            function: JSONObject = {"type": "function", "function": {**tool, "parameters": SCHEMA}}
            messages: list[Any] = [{"role": "system", "content": "Be brief."}, told]
            options: JSONObject = {"stream_options": {"include_usage": True}} if stream else {}
            body: JSONObject = {
                "model": "smart",
                "messages": messages,
                "max_tokens": 50,
                "tools": [function],
                **options,
            }
            return "/v1/chat/completions", {**body, "stream": stream}
        case "openai_responses":
            function = {"type": "function", **tool, "parameters": SCHEMA, "strict": False}
            body = {"model": "smart", "instructions": "Be brief.", "input": [told], "max_output_tokens": 50}
            return "/v1/responses", {**body, "tools": [function], "stream": stream}
        case "anthropic_messages":
            body = {"model": "smart", "system": "Be brief.", "messages": [told], "max_tokens": 50, "stream": stream}
            return "/v1/messages", {**body, "tools": [{**tool, "input_schema": SCHEMA}]}
        case _:
            body = {
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
                "generationConfig": {"maxOutputTokens": 50},
                "tools": [{"functionDeclarations": [{**tool, "parametersJsonSchema": SCHEMA}]}],
            }
            action = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/smart:{action}", body


SENT: Final[JSONObject] = {
    "messages": [{"role": "user", "content": [{"text": "Weather?"}]}],
    "system": [{"text": "Be brief."}],
    "inferenceConfig": {"maxTokens": 50},
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}, "description": "Tells it."}}]
    },
}


def house(url: str, **provider: object) -> Gateway:
    document = {
        "providers": {"bedrock-converse": {"base_url": url, **provider}},
        "models": {"smart": {"targets": [f"bedrock-converse/{MODEL}"]}},
    }
    return build_app(parse_config(document, environ=ENVIRON), access_log=None)


async def ask(gateway: Gateway, client: Protocol, *, stream: bool) -> Answer:
    path, body = asked(client, stream=stream)
    path, _, query = path.partition("?")
    try:
        return await call(gateway, http_scope(path=path, query=query.encode()), body)
    finally:
        await gateway.aclose()


CLIENTS = pytest.mark.parametrize("client", FINISH)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def check_call(vendor: FaultServer, *, stream: bool) -> None:
    """What came over the wire is the call that Amazon describes."""
    (received,) = vendor.requests
    told = dict(received.headers)
    assert received.request_line == f"POST /model/us.amazon.nova-pro-v1%3A0/{ACTION[stream]} HTTP/1.1"
    assert told["authorization"] == "Bearer bedrock-api-key"
    assert told["accept"] == ("application/vnd.amazon.eventstream" if stream else "application/json")
    assert told["content-type"] == "application/json"
    assert loads_object(received.body) == SENT


@CLIENTS
async def test_a_whole_answer_reaches_every_client(client: Protocol) -> None:
    async with fault_server([response(WHOLE, headers=(b"content-type: application/json",))]) as vendor:
        answer = await ask(house(vendor.url), client, stream=False)
        check_call(vendor, stream=False)
    assert answer.status == 200
    heard = hear_answer(client, answer.body)
    assert (heard.text, heard.calls) == ("I look. é", (("weather", {"city": "Paris"}),))
    assert heard.finish == FINISH[client]


@CLIENTS
@pytest.mark.parametrize("size", [7, 100, 100_000])
async def test_a_stream_reaches_every_client_however_it_is_cut(client: Protocol, size: int) -> None:
    """F142"""
    raw = b"".join(STREAM)
    pieces = [chunk(raw[start : start + size]) for start in range(0, len(raw), size)]
    async with fault_server([CHUNKED, *pieces, chunk(b"")]) as vendor:
        answer = await ask(house(vendor.url), client, stream=True)
        check_call(vendor, stream=True)
    assert answer.headers[b"content-type"].startswith(b"text/event-stream")
    heard = hear_stream(client, answer.body)
    assert (heard.text, heard.calls) == ("I look. é", (("weather", {"city": "Paris"}),))
    assert heard.finish == FINISH[client]


@CLIENTS
@BOTH
async def test_every_client_is_told_the_same_usage(client: Protocol, stream: bool) -> None:
    """The cached part of the prompt is a part of it."""
    steps = [CHUNKED, *map(chunk, STREAM), chunk(b"")] if stream else [response(WHOLE)]
    async with fault_server(steps) as vendor:
        answer = await ask(house(vendor.url), client, stream=stream)
    heard = (hear_stream if stream else hear_answer)(client, answer.body)
    assert heard.tokens == (30, 5)


@CLIENTS
@pytest.mark.parametrize(
    ("name", "status"),
    [("throttlingException", 429), ("serviceUnavailableException", 503), ("validationException", 400)],
)
async def test_an_exception_before_the_first_content_is_a_status(client: Protocol, name: str, status: int) -> None:
    steps = [CHUNKED, chunk(STREAM[0] + exception(name, {"message": "no luck"})), chunk(b"")]
    async with fault_server(steps) as vendor:
        answer = await ask(house(vendor.url), client, stream=True)
    overloaded = 529 if (client, status) == ("anthropic_messages", 503) else status
    assert answer.status == overloaded
    assert b"no luck" in answer.body


@CLIENTS
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(exception("modelStreamErrorException", {"message": "The model broke."}), id="an_exception"),
        pytest.param(STREAM[2][:-1] + b"\0", id="a_wrong_checksum"),
        pytest.param(STREAM[2][:-1], id="cut_inside_a_message"),
        pytest.param(b"", id="cut_between_two"),
        pytest.param(b"\0\0\0\x10 no message", id="no_message"),
    ],
)
async def test_a_stream_that_breaks_never_ends_as_if_it_were_whole(client: Protocol, broken: bytes) -> None:
    """F147 F148 F149: when content has gone out, the client's own SDK is told of an error."""
    document = {
        "providers": {"bedrock-converse": {}},
        "models": {"smart": {"targets": [f"bedrock-converse/{MODEL}"]}},
    }
    upstream = FakeUpstream([FakeResponse([*STREAM[:2], *([broken] if broken else [])], headers=AMAZON)])
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    answer = await ask(gateway, client, stream=True)
    assert answer.status == 200
    with pytest.raises(SDKError):
        hear_stream(client, answer.body)


@CLIENTS
@BOTH
async def test_an_error_keeps_its_meaning(client: Protocol, stream: bool) -> None:
    headers = (b"x-amzn-errortype: ValidationException:http://internal.amazon.com/",)
    steps = [response(b'{"message":"Input is too long."}', status="400 Bad Request", headers=headers)]
    async with fault_server(steps) as vendor:
        answer = await ask(house(vendor.url), client, stream=stream)
    assert (answer.status, b"Input is too long." in answer.body) == (400, True)
    assert (b"context_length_exceeded" in answer.body) == client.startswith("openai")


async def test_the_next_target_is_tried_where_one_fails() -> None:
    refusal = response(
        b'{"message":"full"}', status="503 Unavailable", headers=(b"x-amzn-errortype: ServiceUnavailableException",)
    )
    async with fault_server([refusal]) as full, fault_server([response(WHOLE)]) as free:
        document = {
            "providers": {
                "one": {"kind": "bedrock-converse", "base_url": full.url},
                "two": {"protocol": "bedrock_converse", "base_url": free.url, "api_key": "k"},
            },
            "models": {"smart": {"targets": ["one/a.b", "two/c.d"]}},
        }
        gateway = build_app(parse_config(document, environ=ENVIRON), access_log=None)
        answer = await ask(gateway, "openai_chat", stream=False)
        assert free.requests[0].request_line.startswith("POST /model/c.d/converse ")
    assert hear_answer("openai_chat", answer.body).text == "I look. é"


@pytest.mark.parametrize("body", [b'{"message":"The security token bedrock-api-key is invalid"}', b"<html>denied"])
async def test_the_trouble_with_our_key_is_not_the_callers(body: bytes) -> None:
    async with fault_server([response(body, status="403 Forbidden")]) as vendor:
        answer = await ask(house(vendor.url), "openai_chat", stream=False)
    assert answer.status >= 500
    assert b"bedrock-api-key" not in answer.body and b"html" not in answer.body


async def test_what_is_lost_is_told_in_a_header() -> None:
    async with fault_server([response(WHOLE)]) as vendor:
        gateway = house(vendor.url)
        path, body = asked("openai_chat", stream=False)
        answer = await call(gateway, http_scope(path=path), {**body, "seed": 1, "presence_penalty": 1})
        await gateway.aclose()
    assert answer.headers[b"x-llmgw-diagnostics"] == b"2; codes=dropped"


async def test_an_inference_profile_can_be_a_model() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    document = {
        "providers": {"bedrock-converse": {}},
        "models": {"smart": {"targets": [f"bedrock-converse/{arn}"]}},
    }
    upstream = FakeUpstream([FakeResponse([WHOLE])])
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    assert (await ask(gateway, "openai_chat", stream=False)).status == 200
    assert upstream.requests[0].url == (
        "https://bedrock-runtime.eu-central-1.amazonaws.com/model/"
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse"
    )
    assert header(upstream.requests[0].headers, b"authorization") == "Bearer bedrock-api-key"


async def test_tokens_are_estimated_as_there_is_no_count() -> None:
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    document = {
        "providers": {"bedrock-converse": {}},
        "models": {"smart": {"targets": [f"bedrock-converse/{MODEL}"]}},
    }
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    _, body = asked("anthropic_messages", stream=False)
    answer = await call(gateway, http_scope(path="/v1/messages/count_tokens"), body)
    assert answer.headers[b"x-llmgw-token-count"] == b"estimate" and upstream.requests == []


def test_it_is_there_only_where_it_is_configured() -> None:
    """Today's name means Claude alone, as ever."""
    assert list(parse_config({}, environ=ENVIRON).providers) == ["bedrock"]
    config = parse_config({"providers": {"bedrock": {}, "bedrock-converse": {}}}, environ=ENVIRON)
    route = config.route_table().match("bedrock-converse/meta.llama3-3-70b-instruct-v1:0")
    assert route is not None
    (target,) = route.targets_for("bedrock-converse/meta.llama3-3-70b-instruct-v1:0")
    assert (target.provider, target.model) == ("bedrock-converse", "meta.llama3-3-70b-instruct-v1:0")
    claude = config.route_table().match("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert claude is not None and claude.targets[0].provider == "bedrock"


def test_a_server_of_ones_own_has_no_list_of_models_either() -> None:
    own = {"protocol": "bedrock_converse", "base_url": "http://127.0.0.1:1", "health_check_seconds": 5}
    with pytest.raises(ConfigError, match="is of no use"):
        parse_config({"providers": {"own": own}}, environ={})


@pytest.mark.parametrize(("protocol", "serve"), [("openai_chat", "bedrock_converse")])
def test_nothing_serves_it(protocol: Protocol, serve: Protocol) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="no client speaks"):
        TranslatorMiddleware(app, over=protocol, serve=serve)


@CLIENTS
@BOTH
async def test_any_app_that_speaks_it_can_be_served_over(client: Protocol, stream: bool) -> None:
    """A double of Amazon's, with its own content type and its own bytes."""
    asked_for: list[str] = []

    async def amazon(scope: Scope, receive: Receive, send: Send) -> None:
        asked_for.append(str(scope["path"]))
        kind = b"application/vnd.amazon.eventstream" if stream else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for piece in STREAM if stream else [WHOLE]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    path, body = asked(client, stream=stream)
    path, _, query = path.partition("?")
    app = TranslatorMiddleware(amazon, over="bedrock_converse", serve=client)
    answer = await call(app, http_scope(path=path, query=query.encode()), body)
    heard = (hear_stream if stream else hear_answer)(client, answer.body)
    assert heard.text == "I look. é" and heard.calls == (("weather", {"city": "Paris"}),)
    assert asked_for == [f"/model/smart/{ACTION[stream]}"]


async def test_thoughts_of_claude_come_and_go_back_as_they_were() -> None:
    """R1: to a client of Anthropic's own, sealed on the way."""
    signature, hidden = "c2lnbmF0dXJl+/==", "aGlkZGVu"
    blocks: list[Any] = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": signature}}},
        {"reasoningContent": {"redactedContent": hidden}},
        {"toolUse": CALL},
    ]
    output: JSONObject = {"message": {"role": "assistant", "content": blocks}}
    thinks = dumps({**loads_object(WHOLE), "output": output})
    upstream = FakeUpstream([FakeResponse([thinks]), FakeResponse([WHOLE])])
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    document = {
        "providers": {"bedrock-converse": {}},
        "models": {"smart": {"targets": [f"bedrock-converse/{model}"]}},
    }
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    path, body = asked("anthropic_messages", stream=False)
    thinking: JSONObject = {**body, "max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    answer = await call(gateway, http_scope(path=path), thinking)
    said = as_list(as_object(answer.json)["content"])
    assert signature.encode() not in answer.body
    result: JSONObject = {"type": "tool_result", "tool_use_id": "tooluse_1", "content": "rain"}
    history: list[Any] = [
        *as_list(body["messages"]),
        {"role": "assistant", "content": said},
        {"role": "user", "content": [result]},
    ]
    await call(gateway, http_scope(path=path), {**thinking, "messages": history})
    sent = loads_object(upstream.requests[1].body)
    assert as_object(as_list(sent["messages"])[1])["content"] == blocks
    assert sent["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 2000}}


@BOTH
async def test_the_proxy_alone_passes_converse_on(stream: bool) -> None:
    """Whole answers byte for byte; of a stream the events, each under its name, and what it cost is known."""
    provider = provider_from_catalog("aws", "bedrock-converse", api_keys=("k",), places={"region": "eu-central-1"})
    answer = FakeResponse(STREAM, headers=AMAZON) if stream else FakeResponse([WHOLE])
    upstream, exchange = FakeUpstream([answer]), Exchange("r")
    body = dumps({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]})
    scope = http_scope(path=f"/model/a%2Fb/{ACTION[stream]}")
    told = await call(ProxyApp(provider, upstream=upstream), {**scope, SCOPE_KEY: exchange}, body)
    assert upstream.requests[0].url.endswith(f"/model/a%2Fb/{ACTION[stream]}")
    assert upstream.requests[0].body == body
    assert exchange.usage is not None and exchange.usage.input_tokens == 30
    if stream:
        assert [frame.event for frame in SSEDecoder().feed(told.body)][-2:] == ["messageStop", "metadata"]
    else:
        assert told.body == WHOLE


async def test_a_stream_that_breaks_behind_the_proxy_alone_ends_in_an_exception() -> None:
    """F149"""
    provider = provider_from_catalog("aws", "bedrock-converse", api_keys=("k",), places={"region": "eu-central-1"})
    upstream = FakeUpstream([FakeResponse(STREAM[:2], headers=AMAZON)])
    told = await call(ProxyApp(provider, upstream=upstream), http_scope(path="/model/a/converse-stream"), b"{}")
    last = SSEDecoder().feed(told.body)[-1]
    assert last.event == "exception" and loads_object(last.data)["__type"] == "InternalServerException"
