"""OpenAI's own Python SDK, unmodified, through the gateway to each upstream protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.sdk.conftest import CLIENT_KEY, Running
from tests.sdk.expected import expected
from tests.wire import needs_wire

PLAIN = [
    ("openai_chat", "async-with-temperature"),
    ("anthropic_messages", "document-url-input"),
    ("gemini_generate", "text-response-on-gemini-3-1-flash-lite"),
]
STREAMED = [
    ("openai_chat", "agent-run-stream"),
    ("anthropic_messages", "streaming-cached-prompt-tokens"),
    ("gemini_generate", "google-model-stream"),
]
TOOLS = [
    ("openai_chat", "disabling-cache-for-agent-6"),
    ("anthropic_messages", "cached-prompt-tokens-with-tools"),
    ("gemini_generate", "chat-tool-choice-and-calls-control-gemini-2-5-flash-respects-spe"),
]
PARALLEL = [
    ("openai_chat", "parallel-tool-calls"),
    ("anthropic_messages", "anthropic-tools-legacy"),
    ("gemini_generate", "function-call-choice"),
]
STREAMED_TOOLS = [
    ("openai_chat", "async-chat-multiple-tools-streaming-no-content"),
    ("openai_chat", "api-raw-stream-surfaces-two-distinct-tool-calls-before-text"),
    ("anthropic_messages", "instrumentation-multiple-tool-calling-streaming"),
    ("anthropic_messages", "tools-streaming-legacy"),
    ("gemini_generate", "response-with-multiple-tool-calls-true"),
    ("gemini_generate", "streaming-reasoning-with-multiple-tool-calls"),
]
TOOL_RESULTS = [
    ("openai_chat", "hierarchical-process-6"),
    ("anthropic_messages", "chat-function-calling-claude-haiku-4-5-can-handle-multiple-tool-2"),
    ("gemini_generate", "deferred-capability-announcement-live-3"),
]
IMAGES = [
    ("openai_chat", "chat-image-to-text"),
    ("anthropic_messages", "image-url-input"),
    ("gemini_generate", "test-mixed-files-gemini-gemini-2-5-flash-2"),
]
STRUCTURED = [
    ("openai_chat", "prompt-management-with-response-format"),
    ("anthropic_messages", "instrumentation-async-beta-messages-parse"),
    ("gemini_generate", "raw-exposes-structured-output-turn"),
]

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "What is the weather in Bogotá? 🌦"},
]


@pytest.fixture
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    gateway.upstream.bodies.clear()
    gateway.upstream.heads.clear()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(("folder", "name"), PLAIN)
def test_plain_answers(client: openai.OpenAI, folder: str, name: str) -> None:
    answer = client.chat.completions.create(model=f"{folder}--{name}", messages=QUESTION)
    assert answer.choices[0].message.content == expected(folder, name).text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.id and answer.created and answer.object == "chat.completion"


@pytest.mark.parametrize(("folder", "name"), STREAMED)
def test_streamed_answers(client: openai.OpenAI, folder: str, name: str) -> None:
    with client.chat.completions.stream(
        model=f"{folder}--{name}", messages=QUESTION, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == expected(folder, name).text == final.choices[0].message.content
    assert final.choices[0].finish_reason in ("stop", "length")
    assert final.usage is not None and final.usage.total_tokens > 0


@pytest.mark.parametrize(("folder", "name"), STREAMED)
def test_a_stream_says_nothing_of_usage_unless_asked(client: openai.OpenAI, folder: str, name: str) -> None:
    """U1, U3."""
    chunks = list(client.chat.completions.create(model=f"{folder}--{name}", messages=QUESTION, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected(folder, name).text


@pytest.mark.parametrize(("folder", "name"), TOOLS + PARALLEL)
def test_tool_calls(client: openai.OpenAI, folder: str, name: str) -> None:
    answer = client.chat.completions.create(
        model=f"{folder}--{name}", messages=QUESTION, tools=[WEATHER], tool_choice="required"
    )
    calls = answer.choices[0].message.tool_calls or []
    told = [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"]
    assert told == expected(folder, name).calls != []
    assert len({call.id for call in calls}) == len(calls)
    assert answer.choices[0].finish_reason == "tool_calls"


@needs_wire
@pytest.mark.parametrize(("folder", "name"), PARALLEL)
def test_parallel_calls_come_as_several(folder: str, name: str) -> None:
    assert len(expected(folder, name).calls) > 1 or folder != "openai_chat"


@pytest.mark.parametrize(("folder", "name"), STREAMED_TOOLS)
def test_streamed_parallel_tool_calls(client: openai.OpenAI, folder: str, name: str) -> None:
    """S4, S5, P0, T1."""
    with client.chat.completions.stream(model=f"{folder}--{name}", messages=QUESTION, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    told = [(call.function.name, json.loads(call.function.arguments or "{}")) for call in calls]
    assert told == expected(folder, name).calls != []
    assert len({call.id for call in calls}) == len(calls)
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(("folder", "name"), TOOL_RESULTS)
def test_a_conversation_with_tool_results(client: openai.OpenAI, gateway: Running, folder: str, name: str) -> None:
    """I2: the upstream gets the calls and their results the way it wants them."""
    messages: list[ChatCompletionMessageParam] = [
        *QUESTION,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": f"call_{i}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
                for i, arguments in enumerate(('{"city":"Bogotá"}', '{"city":"Lima"}'))
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "18 °C"},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 21}'},
    ]
    answer = client.chat.completions.create(model=f"{folder}--{name}", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == expected(folder, name).text
    sent = gateway.upstream.bodies[-1].decode()
    assert "18 °C" in sent and "celsius" in sent
    _RESULTS[folder](json.loads(sent))


def _chat_results(body: dict[str, list[dict[str, object]]]) -> None:
    assert [message["role"] for message in body["messages"]][-3:] == ["assistant", "tool", "tool"]


def _messages_results(body: dict[str, list[dict[str, list[dict[str, object]]]]]) -> None:
    calls, results = body["messages"][-2]["content"], body["messages"][-1]["content"]
    assert [block["id"] for block in calls] == [block["tool_use_id"] for block in results] == ["call_0", "call_1"]


def _gemini_results(body: dict[str, list[dict[str, list[dict[str, dict[str, object]]]]]]) -> None:
    parts = body["contents"][-1]["parts"]
    assert [part["functionResponse"]["name"] for part in parts] == ["get_weather", "get_weather"]


_RESULTS: dict[str, Callable[..., None]] = {
    "openai_chat": _chat_results,
    "anthropic_messages": _messages_results,
    "gemini_generate": _gemini_results,
}

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(("folder", "name"), IMAGES)
def test_images(client: openai.OpenAI, gateway: Running, folder: str, name: str) -> None:
    answer = client.chat.completions.create(
        model=f"{folder}--{name}",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}},
                ],
            }
        ],
    )
    assert answer.choices[0].message.content == expected(folder, name).text
    sent = gateway.upstream.bodies[-1].decode()
    assert PIXEL in sent and "https://pictures.example/cat.png" in sent


class City(BaseModel):
    """What the model is to fill in."""

    name: str
    country: str | None


@pytest.mark.parametrize(("folder", "name"), STRUCTURED)
def test_structured_output(client: openai.OpenAI, gateway: Running, folder: str, name: str) -> None:
    answer = client.chat.completions.create(
        model=f"{folder}--{name}",
        messages=QUESTION,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "strict": True, "schema": _strict(City.model_json_schema())},
        },
    )
    text = answer.choices[0].message.content
    assert text == expected(folder, name).text
    assert isinstance(json.loads(text or ""), dict)
    assert "country" in gateway.upstream.bodies[-1].decode()


def _strict(schema: dict[str, object]) -> dict[str, object]:
    return {**schema, "additionalProperties": False}


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("broken-openai", openai.BadRequestError, "integer below minimum value"),
        ("broken-anthropic", openai.BadRequestError, "does not match the expected shape"),
        ("broken-gemini", openai.RateLimitError, "exceeded your current quota"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_vendor_errors_keep_their_meaning(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], words: str, stream: bool
) -> None:
    with pytest.raises(error, match=words) as caught:
        client.chat.completions.create(model=model, messages=QUESTION, stream=stream)
    assert caught.value.type and caught.value.response.headers["x-request-id"]


def test_retry_after_comes_from_geminis_retry_info(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="broken-gemini", messages=QUESTION)
    assert caught.value.response.headers["retry-after"] == "35"


def test_our_own_errors_are_the_sdks_errors(client: openai.OpenAI, gateway: Running) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=PLAIN[1][0] + "--" + PLAIN[1][1], messages=[])
    assert bad.value.param == "messages"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"named", "broken-openai"}
    assert client.models.retrieve("named").id == "named"


def test_the_clients_key_never_reaches_a_vendor(client: openai.OpenAI, gateway: Running) -> None:
    """F097."""
    for folder, name in PLAIN:
        client.chat.completions.create(model=f"{folder}--{name}", messages=QUESTION)
    sent = b"".join(gateway.upstream.heads + gateway.upstream.bodies)
    assert CLIENT_KEY.encode() not in sent
    assert all(key in sent for key in (b"upstream-key-1", b"upstream-key-2", b"upstream-key-3"))
