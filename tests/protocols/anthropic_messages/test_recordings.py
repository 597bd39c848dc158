"""Recorded traffic: everything Anthropic was seen to send is understood, however its bytes are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic
import httpx2
import msgspec
import pytest

from asgi_llmgw.ir import ChatResponse, OutputPart, ToolCallPart, UnknownPart, accumulate, check_stream
from asgi_llmgw.json import JSONValue, as_object, dumps, dumps_text, loads, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.wire import Recording, needs_wire, recordings

from .samples import decode_stream

pytestmark = needs_wire

ANSWERS = [r for r in recordings("anthropic_messages") if r.response is not None and r.status < 300]
STREAMS = [r for r in recordings("anthropic_messages") if r.stream is not None]
REQUESTS = [r for r in recordings("anthropic_messages") if r.request is not None]
# several answers in one file, and one that no SDK accepts
MALFORMED = {"programmatic-tool-calling-1", "spliced-message-start"}

each_stream = pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.folder.name)


def body_of(recording: Recording) -> bytes:
    assert recording.stream is not None
    return recording.stream


def sse_frames(*chunks: bytes) -> list[ServerSentEvent]:
    reader = SSEDecoder()
    return [frame for chunk in chunks for frame in reader.feed(chunk)] + list(reader.close())


def positions(raw: bytes, most: int) -> Iterator[int]:
    """Every place to cut, or as many of them, evenly, as a test has time for."""
    yield from range(0, len(raw) + 1, max(1, len(raw) // most))


@pytest.mark.parametrize("recording", ANSWERS, ids=lambda r: r.folder.name)
def test_every_recorded_answer_is_understood(recording: Recording, report: Callable[[str, int], None]) -> None:
    assert recording.response is not None
    raw = loads_object(recording.response)
    response = CODEC.decode_response(recording.response)
    assert response.id == raw["id"]
    assert response.choices[0].finish.raw == raw["stop_reason"]
    assert response.choices[0].finish.kind != "other"
    assert response.usage is not None and response.usage.input_tokens is not None
    report("anthropic_messages answers", 1)


@each_stream
def test_every_recorded_stream_is_understood(recording: Recording, report: Callable[[str, int], None]) -> None:
    response = accumulate(check_stream(decode_stream(body_of(recording))))
    assert response.id and response.model
    assert response.choices[0].finish.kind != "other"
    assert response.usage is not None and response.usage.output_tokens is not None
    report("anthropic_messages streams", 1)


@each_stream
def test_chunks_make_no_difference(recording: Recording) -> None:
    """Law 1, F1, F3: whole, byte by byte, and cut in two anywhere."""
    raw = body_of(recording)
    whole = sse_frames(raw)
    if len(raw) < 20_000:
        assert decode_stream(*(raw[i : i + 1] for i in range(len(raw)))) == decode_stream(raw)
    for at in positions(raw, 250):
        assert sse_frames(raw[:at], raw[at:]) == whole


@each_stream
def test_a_stream_cut_anywhere_keeps_to_the_grammar(recording: Recording) -> None:
    """Law 4, T9: the cut is told as a fault unless the reason was told before."""
    raw = body_of(recording)
    for at in positions(raw, 150):
        events = list(check_stream(decode_stream(raw[:at])))
        if b'"message_delta"' not in raw[:at]:
            assert type(events[-1]).__name__ == "StreamFault"


@pytest.mark.parametrize(
    "recording", [r for r in STREAMS if r.folder.name not in MALFORMED], ids=lambda r: r.folder.name
)
def test_a_stream_tells_what_the_whole_answer_would(recording: Recording) -> None:
    """Law 2, with the vendor's own SDK putting the answer together."""
    raw = body_of(recording)
    streamed = accumulate(decode_stream(raw))
    whole = CODEC.decode_response(dumps(sdk_message(raw)))
    assert [comparable(part) for part in parts(streamed)] == [comparable(part) for part in parts(whole)]
    assert streamed.choices[0].finish == whole.choices[0].finish
    assert counts(streamed) == counts(whole)
    assert (streamed.id, streamed.service_tier) == (whole.id, whole.service_tier)


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda r: r.folder.name)
def test_recorded_requests_are_peeked_into_and_renamed(recording: Recording) -> None:
    """Law 6: one value changes, all others keep their bytes."""
    assert recording.request is not None
    raw = loads_object(recording.request)
    head = CODEC.peek("/v1/messages", recording.request)
    assert (head.model, head.stream) == (raw["model"], raw.get("stream", False))
    assert CODEC.with_model("/v1/messages", recording.request, head.model).body == recording.request
    assert loads_object(CODEC.with_model("/v1/messages", recording.request, "x").body) == {**raw, "model": "x"}


def sdk_message(raw: bytes) -> object:
    """The message the vendor's SDK makes of a stream."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="x", base_url="http://127.0.0.1", http_client=http) as client,
        client.beta.messages.stream(model="x", max_tokens=1, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        return stream.get_final_message().to_dict(mode="json")


def parts(response: ChatResponse) -> tuple[OutputPart, ...]:
    return response.choices[0].parts


def counts(response: ChatResponse) -> object:
    assert response.usage is not None
    return msgspec.structs.replace(response.usage, raw=None)


def comparable(part: OutputPart) -> object:
    """A part without what JSON leaves open: blanks in arguments, and null where a member might be absent."""
    match part:
        case ToolCallPart():
            return msgspec.structs.replace(part, arguments=dumps_text(loads(part.arguments)))
        case UnknownPart():
            return part.kind, without_nulls(part.raw)
        case _:
            return without_nulls(msgspec.to_builtins(part))


def without_nulls(value: JSONValue) -> JSONValue:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in as_object(value).items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
