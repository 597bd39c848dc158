"""The official SDK reads what we write, from whatever vendor the answer came, and would have sent what we send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx2
import openai
import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.json import JSONObject, as_list, as_object, loads_object
from asgi_llmgw.protocols import Profile, codec
from asgi_llmgw.protocols.openai_responses import CODEC
from tests.protocols.openai_responses.samples import counting, encode_stream, frames_of
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

SOURCES: Final[dict[str, ir.Protocol]] = {
    "openai_chat": "openai_chat",
    "openai_compat": "openai_chat",
    "anthropic_messages": "anthropic_messages",
    "gemini_generate": "gemini_generate",
}
EVENT: Final[TypeAdapter[ResponseStreamEvent]] = TypeAdapter(ResponseStreamEvent)
PLAIN: Final[TypeAdapter[ResponseCreateParamsNonStreaming]] = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMED: Final[TypeAdapter[ResponseCreateParamsStreaming]] = TypeAdapter(ResponseCreateParamsStreaming)
ODD: Final = "openai_responses/responses-image-generation-tool-without-image-output-2"
"""A client that sends a picture's item back without the picture."""


def all_of(kind: str) -> list[object]:
    return [
        pytest.param(protocol, item, id=item.id)
        for folder, protocol in SOURCES.items()
        for item in recordings(folder)
        if getattr(item, kind) is not None
    ]


def events_of(protocol: ir.Protocol, stream: bytes) -> list[ir.StreamEvent]:
    decoder = codec(protocol).stream_decoder()
    return [event for frame in frames_of(stream) for event in decoder.feed(frame)] + list(decoder.close())


def texts(output: list[JSONObject], kind: str, key: str) -> str:
    parts = [as_object(part) for item in output for part in as_list(item.get("content") or item.get("summary"))]
    return "".join(str(part[key]) for part in parts if part["type"] == kind)


@pytest.mark.parametrize(("protocol", "item"), all_of("response"))
def test_sdk_reads_the_answer(protocol: ir.Protocol, item: Recording) -> None:
    try:
        answer = codec(protocol).decode_response(item.response or b"")
    except UpstreamError as error:
        assert error.message
        return
    body = CODEC.encode_response(answer, context=counting()).body
    read = Response.model_validate_json(body)
    first = answer.choices[0] if answer.choices else ir.Choice((), ir.FinishReason("other"))
    assert read.output_text == "".join(part.text for part in first.parts if isinstance(part, ir.TextPart))
    calls = [part.arguments or "{}" for part in first.parts if isinstance(part, ir.ToolCallPart)]
    assert [call.arguments for call in read.output if call.type == "function_call"] == calls


@pytest.mark.parametrize(("protocol", "item"), all_of("stream"))
def test_sdk_adds_up_the_stream(protocol: ir.Protocol, item: Recording) -> None:
    """Traps 11 to 13, T16 T17 T18: every event has its type, and the sum is what was told."""
    told = events_of(protocol, item.stream or b"")
    events = encode_stream(told)
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        if event["type"] == "error":
            break
        state.handle_event(EVENT.validate_python(event))
    response = as_object(events[-1]["response"])
    if response["status"] != "completed":
        assert events[-1]["type"] == f"response.{response['status']}"
        return
    whole = ir.accumulate(told)
    final = state._completed_response
    assert final is not None
    parts = whole.choices[0].parts
    assert final.output_text == "".join(part.text for part in parts if isinstance(part, ir.TextPart))
    calls = [(part.name, part.arguments or "{}") for part in parts if isinstance(part, ir.ToolCallPart)]
    assert [(call.name, call.arguments) for call in final.output if call.type == "function_call"] == calls


@pytest.fixture(scope="module")
def recorded_stream() -> tuple[bytes, str]:
    """A stream of Anthropic's with a call, written for a client of Responses, and the name of the tool."""
    for item in recordings("anthropic_messages"):
        told = events_of("anthropic_messages", item.stream or b"") if item.stream else []
        calls = [event.part for event in told if isinstance(event, ir.PartStart)]
        name = next((part.name for part in calls if isinstance(part, ir.ToolCallPart)), None)
        if name is not None:
            encoder = CODEC.stream_encoder(counting())
            frames = [frame for event in told for frame in encoder.feed(event)]
            return b"".join(frame.encode() for frame in frames), name
    raise AssertionError("there is a recorded stream with a call")


def client(body: bytes) -> openai.OpenAI:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    return openai.OpenAI(
        api_key="x", base_url="http://127.0.0.1/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )


def test_sdk_stream_manager_returns_the_final_response(recorded_stream: tuple[bytes, str]) -> None:
    body, name = recorded_stream
    with client(body) as caller, caller.responses.stream(model="m", input="Hello") as stream:
        final = stream.get_final_response()
    assert name in [call.name for call in final.output if call.type == "function_call"]


def test_sdk_raises_for_a_stream_that_breaks() -> None:
    """Trap 14: the nested shape, without which it would not be noticed."""
    encoder = CODEC.stream_encoder(counting())
    error = UpstreamError("Slow down.", failure="rate_limit", kind="rate_limited")
    events: list[ir.StreamEvent] = [ir.ResponseStart(), ir.StreamFault(error)]
    body = b"".join(frame.encode() for event in events for frame in encoder.feed(event))
    with client(body) as caller, caller.responses.stream(model="m", input="Hello") as stream:
        told = iter(stream)
        with pytest.raises(openai.APIError, match=r"Slow down\."):
            list(told)


def requests() -> Iterator[object]:
    for folder, protocol in {"openai_responses": "openai_responses", **SOURCES}.items():
        for item in recordings(folder):
            if item.id != ODD and item.request is not None and protocol in ("openai_chat", "openai_responses"):
                yield pytest.param(protocol, item, id=item.id)


@pytest.mark.parametrize(("protocol", "item"), list(requests()))
def test_sdk_would_have_sent_the_request(protocol: ir.Protocol, item: Recording) -> None:
    """The types want an id on replayed thoughts, which the service does not, and which would be looked up in vain."""
    try:
        request = codec(protocol).decode_request(item.path, item.request or b"")
        body = loads_object(CODEC.encode_request(request, profile=Profile()).body)
    except InvalidRequest as error:
        assert error.param
        return
    for thought in (as_object(value) for value in as_list(body["input"])):
        if thought["type"] == "reasoning":
            assert "id" not in thought
            thought["id"] = "rs_1"
    wanted = (STREAMED if request.stream else PLAIN).validate_python(body)
    # pydantic looks into an iterable only as far as somebody reads it
    assert len(list(wanted.get("tools", ()))) == len(as_list(body.get("tools")))
    assert body["model"] == request.model
