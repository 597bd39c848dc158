"""Claude on Amazon Bedrock, through the whole gateway: what goes there, and what comes of Amazon's answers."""

from __future__ import annotations

import pytest

from asgi_llmgw import Gateway, build_app
from asgi_llmgw._types import Headers
from asgi_llmgw.asgi import header
from asgi_llmgw.config import parse_config
from asgi_llmgw.envelopes.bedrock import BETAS
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.json import JSONObject, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.providers.catalog import provider_from_catalog
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, call, http_scope
from tests.amazon import chunk, exception, message
from tests.samples import chat_request, messages_answer, messages_stream
from tests.wire import Recording, recordings

pytestmark = pytest.mark.anyio

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
AMAZON: Headers = ((b"content-type", b"application/vnd.amazon.eventstream"),)
HELLO: JSONObject = {"model": "smart", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello é"}]}
ENVIRON = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key", "AWS_REGION": "eu-central-1"}


def events(stream: bytes) -> list[bytes]:
    decoder = SSEDecoder()
    return [frame.data for frame in (*decoder.feed(stream), *decoder.close())]


def amazon(stream: bytes) -> list[bytes]:
    """The stream of Anthropic's as Bedrock would send it."""
    return [chunk(event) for event in events(stream)]


def house(*answers: FakeResponse, **provider: object) -> tuple[Gateway, FakeUpstream]:
    upstream = FakeUpstream(list(answers))
    document = {
        "providers": {"bedrock": provider},
        "models": {"smart": {"targets": [f"bedrock/{MODEL}"]}, "any": {"targets": ["bedrock/any"]}},
    }
    return build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None), upstream


async def ask(gateway: Gateway, body: JSONObject, path: str = "/v1/messages", betas: bytes = b"") -> Answer:
    headers = [(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")]
    if betas:
        headers.append((b"anthropic-beta", betas))
    return await call(gateway, http_scope(path=path, headers=headers), body)


async def test_a_whole_answer_is_invoked() -> None:
    gateway, upstream = house(FakeResponse([messages_answer()]))
    answer = await ask(gateway, {**HELLO, "stream": False})
    assert answer.body == messages_answer()
    request = upstream.requests[0]
    assert request.url == (
        "https://bedrock-runtime.eu-central-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
    )
    assert (request.method, header(request.headers, b"authorization")) == ("POST", "Bearer bedrock-api-key")
    assert header(request.headers, b"accept") == "application/json"
    assert header(request.headers, b"anthropic-version") is None
    assert loads_object(request.body) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hello é"}],
    }


async def test_the_bytes_of_all_other_values_are_kept() -> None:
    gateway, upstream = house(FakeResponse([messages_answer()]))
    body = b'{"model":"smart","max_tokens": 1e1,"messages":[{"role":"user", "content":"\\u00e9 1.0"}],"stream" : false}'
    await call(gateway, http_scope(path="/v1/messages"), body)
    sent = upstream.requests[0].body
    assert b'"max_tokens":1e1' in sent and b'[{"role":"user", "content":"\\u00e9 1.0"}]' in sent
    assert b"stream" not in sent and b"model" not in sent


async def test_an_attempt_that_fails_takes_nothing_from_the_next() -> None:
    told = b"".join(messages_stream("Hi"))
    gateway, upstream = house(FakeResponse([b"{}"], status=500), FakeResponse(amazon(told), headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "model": "any", "stream": True})
    assert (answer.status, events(answer.body)) == (200, events(told))
    first, second = upstream.requests
    assert (first.url, first.body) == (second.url, second.body)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_a_stream_is_anthropics_again_however_it_is_cut(size: int) -> None:
    """F4"""
    whole = b"".join(amazon(b"".join(messages_stream("Hi", " there"))))
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    gateway, upstream = house(FakeResponse(pieces, headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    assert answer.headers[b"content-type"].startswith(b"text/event-stream")
    assert events(answer.body) == events(b"".join(messages_stream("Hi", " there")))
    assert upstream.requests[0].url.endswith("/invoke-with-response-stream")
    assert header(upstream.requests[0].headers, b"accept") == "application/vnd.amazon.eventstream"


STREAMS = [found for found in recordings("anthropic_messages") if found.stream is not None and found.status == 200]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
async def test_recorded_streams_come_through_event_for_event(recording: Recording) -> None:
    """F4"""
    stream = recording.stream or b""
    gateway, _ = house(FakeResponse(amazon(stream), headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    assert events(answer.body) == events(stream)
    assert [line for line in answer.body.split(b"\n") if line.startswith(b"event: ")] == [
        b"event: " + (as_str(loads_object(event)["type"]) or "").encode() for event in events(stream)
    ]


async def test_clients_of_other_protocols_are_translated() -> None:
    stream = amazon(b"".join(messages_stream("Hi", " there")))
    gateway, upstream = house(FakeResponse(stream, headers=AMAZON))
    answer = await ask(gateway, chat_request("smart", stream=True), "/v1/chat/completions")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    deltas = [as_object(as_list(loads_object(event)["choices"])[0]) for event in events(answer.body)[:-1]]
    assert "".join(as_str(as_object(delta["delta"]).get("content")) or "" for delta in deltas) == "Hi there"
    assert loads_object(upstream.requests[0].body)["anthropic_version"] == "bedrock-2023-05-31"


async def test_only_the_feature_flags_it_knows_get_there() -> None:
    """C1: with an unknown one the whole request would be refused."""
    gateway, upstream = house(FakeResponse([messages_answer()]))
    betas = b"claude-code-20250219, context-1m-2025-08-07,advanced-tool-use-2025-11-20,tool-search-tool-2025-10-19"
    await ask(gateway, {**HELLO, "anthropic_beta": ["effort-2025-11-24", "of-tomorrow"]}, betas=betas)
    request = upstream.requests[0]
    assert loads_object(request.body)["anthropic_beta"] == [
        "context-1m-2025-08-07",
        "tool-search-tool-2025-10-19",
        "effort-2025-11-24",
    ]
    assert header(request.headers, b"anthropic-beta") is None
    assert set(BETAS.values()) <= set(BETAS)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("throttlingException", 429),
        ("serviceUnavailableException", 529),
        ("modelTimeoutException", 504),
        ("internalServerException", 500),
        ("validationException", 400),
        ("somethingNewException", 500),
    ],
)
async def test_an_exception_before_the_first_content_is_a_status(failure: str, status: int) -> None:
    begin = chunk(events(messages_stream("x")[0])[0])
    gateway, _ = house(FakeResponse([begin, exception(failure, "no luck")], headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    assert answer.status == status
    assert as_object(answer.json)["type"] == "error"


async def test_an_exception_after_that_is_an_error_event() -> None:
    stream = amazon(b"".join(messages_stream("Hi")))
    failing = [*stream[:4], exception("modelStreamErrorException", "The model broke.")]
    gateway, _ = house(FakeResponse(failing, headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    last = loads_object(events(answer.body)[-1])
    assert last == {"type": "error", "error": {"type": "api_error", "message": "The model broke."}}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(message(b"{}", message_type="event", event_type="chunk"), id="no_bytes"),
        pytest.param(chunk(b"no event"), id="no_event"),
        pytest.param(chunk({"type": "ping"})[:-1] + b"\0", id="a_wrong_checksum"),
        pytest.param(chunk({"type": "ping"})[:-1], id="cut"),
        pytest.param(b"HTTP/1.1 500 and so on", id="another_protocol"),
        pytest.param(message(message_type="error", error_code="500", error_message="x"), id="an_error_message"),
    ],
)
async def test_a_stream_that_breaks_never_ends_as_if_it_were_whole(broken: bytes) -> None:
    """F4"""
    stream = amazon(b"".join(messages_stream("Hi")))
    gateway, _ = house(FakeResponse([*stream[:4], broken], headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    assert b"event: error" in answer.body and b"message_stop" not in answer.body


async def test_messages_of_other_kinds_are_passed_over() -> None:
    stream = amazon(b"".join(messages_stream("Hi")))
    other = message(b"{}", message_type="event", event_type="initial-response")
    gateway, _ = house(FakeResponse([other, *stream], headers=AMAZON))
    answer = await ask(gateway, {**HELLO, "stream": True})
    assert events(answer.body) == events(b"".join(messages_stream("Hi")))


def refusal(status: int, name: bytes, body: bytes) -> FakeResponse:
    return FakeResponse([body], status=status, headers=((b"x-amzn-errortype", name + b":http://internal.amazon.com/"),))


@pytest.mark.parametrize(
    ("answer", "status", "word", "text"),
    [
        pytest.param(
            refusal(400, b"ValidationException", b'{"message":"max_tokens: too many"}'),
            400,
            "invalid_request_error",
            "max_tokens: too many",
            id="the_callers_mistake",
        ),
        pytest.param(
            refusal(400, b"ValidationException", b'{"message":"Input is too long for requested model."}'),
            400,
            "invalid_request_error",
            "prompt is too long: Input is too long for requested model.",
            id="too_long",
        ),
        pytest.param(
            refusal(400, b"ValidationException", b'{"message":"The provided model identifier is invalid."}'),
            404,
            "not_found_error",
            "model: The provided model identifier is invalid.",
            id="no_such_model",
        ),
        pytest.param(
            refusal(429, b"ThrottlingException", b'{"message":"Too many requests"}'),
            429,
            "rate_limit_error",
            "Too many requests",
            id="throttled",
        ),
        pytest.param(
            FakeResponse([b'{"__type":"com.amazon#ServiceUnavailableException","Message":"x"}'], status=503),
            529,
            "overloaded_error",
            "x",
            id="overloaded",
        ),
    ],
)
async def test_an_error_keeps_its_meaning(answer: FakeResponse, status: int, word: str, text: str) -> None:
    gateway, _ = house(answer)
    told = await ask(gateway, HELLO)
    error = as_object(as_object(told.json)["error"])
    assert (told.status, error["type"], error["message"]) == (status, word, text)


@pytest.mark.parametrize("body", [b'{"message":"The security token bedrock-api-key is invalid"}', b"<html>denied"])
async def test_the_trouble_with_our_key_is_not_the_callers(body: bytes) -> None:
    gateway, _ = house(refusal(403, b"AccessDeniedException", body))
    answer = await ask(gateway, HELLO)
    assert answer.status >= 500
    assert b"bedrock-api-key" not in answer.body and b"html" not in answer.body


async def test_tokens_are_estimated_where_there_is_no_count() -> None:
    gateway, upstream = house(FakeResponse([b"{}"]))
    answer = await ask(gateway, HELLO, "/v1/messages/count_tokens")
    assert answer.headers[b"x-llmgw-token-count"] == b"estimate"
    assert upstream.requests == []


async def test_an_inference_profile_can_be_a_model() -> None:
    gateway, upstream = house(FakeResponse([messages_answer()]), base_url="https://bedrock.example")
    arn = "arn:aws:bedrock:us-east-1:1234:application-inference-profile/abc"
    document = {
        "providers": {"bedrock": {"base_url": "https://bedrock.example"}},
        "models": {"smart": {"targets": [f"bedrock/{arn}"]}},
    }
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    assert (await ask(gateway, HELLO)).status == 200
    assert upstream.requests[0].url == (
        "https://bedrock.example/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1234%3Aapplication-inference-profile%2Fabc/invoke"
    )


def test_with_its_two_variables_it_needs_no_configuration() -> None:
    config = parse_config({}, environ=ENVIRON)
    (provider,) = config.providers_by_name().values()
    assert (provider.name, provider.base_url) == ("bedrock", "https://bedrock-runtime.eu-central-1.amazonaws.com")
    route = config.route_table().match(MODEL)
    assert route is not None and route.targets_for(MODEL)[0].model == MODEL
    assert list(parse_config({}, environ={"AWS_BEARER_TOKEN_BEDROCK": "k"}).providers) == ["demo"]


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, "AWS_REGION"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "evil.example/#"}, "AWS_REGION"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "AWS_BEARER_TOKEN_BEDROCK"),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        parse_config({"providers": {"bedrock": {}}}, environ=environ)


def test_its_models_are_known_by_their_families() -> None:
    provider = provider_from_catalog("mine", "bedrock", api_keys=("k",), base_url="https://bedrock.example")
    anthropic = provider_from_catalog("mine", "anthropic", api_keys=("k",))
    assert provider.profile_for(MODEL) == anthropic.profile_for("claude-sonnet-4-5")
    assert provider.profile_for("anthropic.claude-3-haiku-20240307-v1:0") == anthropic.profile_for("claude-3-haiku")
    with pytest.raises(ConfigError, match="region"):
        provider_from_catalog("mine", "bedrock", api_keys=("k",))


async def test_a_server_of_ones_own_is_not_wrapped() -> None:
    """Amazon has other endpoints, which speak their protocols plainly."""
    upstream = FakeUpstream([FakeResponse([messages_answer()])])
    plain = {"kind": "bedrock", "protocol": "anthropic_messages", "base_url": "https://plain.example/anthropic"}
    document = {"providers": {"plain": plain}, "models": {"smart": {"targets": ["plain/x"]}}}
    gateway = build_app(parse_config(document, environ=ENVIRON), upstream=upstream, access_log=None)
    assert (await ask(gateway, HELLO)).status == 200
    assert upstream.requests[0].url == "https://plain.example/anthropic/v1/messages"
    assert dumps({"model": "x"})[1:-1] in upstream.requests[0].body
