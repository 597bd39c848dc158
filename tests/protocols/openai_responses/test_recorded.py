"""Recorded traffic of Responses, read and written again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    ChatResponse,
    OutputPart,
    ReasoningPart,
    StreamFault,
    accumulate,
)
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_responses import CODEC
from asgi_llmgw.sse import ServerSentEvent
from tests.protocols.openai_responses.samples import counting, encode_stream, frames_of, told
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

ALL: Final = recordings("openai_responses", "openai_compat_responses")
REQUESTS: Final = [item for item in ALL if item.request is not None]
ANSWERS: Final = [item for item in ALL if item.response is not None]
STREAMS: Final = [item for item in ALL if item.stream is not None]
REFUSED: Final = {"openai_responses/response-with-mixed-prompt-url-preserved": "model"}  # a stored prompt names it
BROKEN: Final = {"openai_responses/openai-error-1": "quota", "openai_responses/stream-rate-limited-1": "rate_limit"}
WHOLE: Final = [item for item in STREAMS if item.id not in BROKEN]


def each(items: Iterable[Recording]) -> list[object]:
    return [pytest.param(item, id=item.id) for item in items]


def bare(part: OutputPart) -> OutputPart:
    """Without the state, which the service encrypts anew each time it tells it, and its id."""
    return ReasoningPart(part.text) if isinstance(part, ReasoningPart) else part


def essence(response: ChatResponse) -> object:
    """What may not change on the way; probabilities are rounded by the service where it tells them twice."""
    (choice,) = response.choices
    tokens = [(token.token, round(token.logprob, 4)) for token in choice.logprobs or ()]
    parts = [bare(part) for part in choice.parts]
    kind = "stop" if choice.finish.kind == "other" else choice.finish.kind
    return [part for part in parts if part != ReasoningPart()], kind, tokens


def counts(response: ChatResponse) -> object:
    """The usage as numbers; what was not told is written as 0."""
    usage = response.usage
    if usage is None:
        return 0, 0, 0, 0, 0
    shares = (usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    return usage.input_tokens, usage.output_tokens, *(share or 0 for share in shares)


def last_response(frames: list[ServerSentEvent]) -> JSONObject:
    objects = [loads_object(frame.data) for frame in frames if frame.data.startswith(b"{")]
    return as_object(next(item for item in reversed(objects) if "response" in item)["response"])


@pytest.mark.parametrize("item", each(REQUESTS))
def test_recorded_request_is_read_or_refused_for_a_known_reason(
    item: Recording, report: Callable[[str, int], None]
) -> None:
    assert item.request is not None
    if item.id in REFUSED:
        with pytest.raises(InvalidRequest) as caught:
            CODEC.decode_request(item.path, item.request)
        assert caught.value.param == REFUSED[item.id]
        return
    request = CODEC.decode_request(item.path, item.request)
    assert request.messages
    encoded = CODEC.encode_request(request, profile=Profile())
    assert [note for note in encoded.diagnostics if note.severity != "info"] == []
    again = CODEC.decode_request(encoded.path, encoded.body)
    assert [message.role for message in again.messages] == [message.role for message in request.messages]
    assert (again.tools, again.response_format, again.sampling) == (
        request.tools,
        request.response_format,
        request.sampling,
    )
    report("openai_responses requests", 1)


@pytest.mark.parametrize("item", each(ANSWERS))
def test_recorded_answer_is_read_and_written_again(item: Recording, report: Callable[[str, int], None]) -> None:
    assert item.response is not None
    response = CODEC.decode_response(item.response)
    again = CODEC.decode_response(CODEC.encode_response(response, context=counting()).body)
    assert essence(again) == essence(response)
    assert counts(again) == counts(response)
    assert (again.id, again.model, again.created) == (response.id, response.model, response.created)
    report("openai_responses responses", 1)


@pytest.mark.parametrize("item", each(WHOLE))
def test_recorded_stream_says_what_its_response_object_says(
    item: Recording, report: Callable[[str, int], None]
) -> None:
    """Law 2: our reading of the deltas, and our reading of the object the service ends with."""
    assert item.stream is not None
    frames = frames_of(item.stream)
    streamed = accumulate(told(frames))
    whole = CODEC.decode_response(dumps(last_response(frames)))
    assert essence(streamed) == essence(whole)
    assert streamed.usage == whole.usage
    report("openai_responses streams", 1)


@pytest.mark.parametrize("item", each(WHOLE))
def test_recorded_stream_is_written_again(item: Recording) -> None:
    """Law 2, and the names and numbers of all events (T17)."""
    assert item.stream is not None
    events = told(frames_of(item.stream))
    written = encode_stream(events)
    frames = [ServerSentEvent(dumps(event), str(event["type"])) for event in written]
    assert essence(accumulate(told(frames))) == essence(accumulate(events))
    done = [event["item"] for event in written if event["type"] == "response.output_item.done"]
    assert as_list(as_object(written[-1]["response"])["output"]) == done


@pytest.mark.parametrize("item", each(item for item in STREAMS if item.id in BROKEN))
def test_recorded_failure_is_a_fault(item: Recording) -> None:
    """F14: it comes with status 200, and never looks like an empty answer."""
    assert item.stream is not None
    last = told(frames_of(item.stream))[-1]
    assert isinstance(last, StreamFault)
    assert last.error.failure == BROKEN[item.id]


@pytest.mark.parametrize("item", each(STREAMS))
def test_truncated_stream_never_looks_whole(item: Recording, report: Callable[[str, int], None]) -> None:
    """T9 F149: without its last frame every prefix is a fault, also with a broken frame behind it."""
    assert item.stream is not None
    frames = [frame for frame in frames_of(item.stream) if frame.data != b"[DONE]"]
    steps = max(1, len(frames) // 40)
    for count in range(0, len(frames), steps):
        assert isinstance(told(frames[:count])[-1], StreamFault)
        half = msgspec.structs.replace(frames[count], data=frames[count].data[: len(frames[count].data) // 2])
        assert isinstance(told([*frames[:count], half])[-1], StreamFault)
    report("openai_responses stream truncations", len(range(0, len(frames), steps)))


@pytest.mark.parametrize("item", each(WHOLE))
def test_stream_without_deltas_says_the_same(item: Recording) -> None:
    """S12: a server that sends the `done` events alone."""
    assert item.stream is not None
    frames = frames_of(item.stream)
    silent = [frame for frame in frames if not frame.event.endswith(".delta") and b'.delta"' not in frame.data[:60]]
    assert essence(accumulate(told(silent))) == essence(accumulate(told(frames)))


@pytest.mark.parametrize("item", each(WHOLE))
def test_response_object_alone_says_the_same(item: Recording) -> None:
    """S12 C9: and one that sends nothing but the end."""
    assert item.stream is not None
    frames = frames_of(item.stream)
    response = last_response(frames)
    end = ServerSentEvent(dumps({"type": f"response.{response['status']}", "response": response}))
    assert essence(accumulate(told([end]))) == essence(accumulate(told(frames)))


@pytest.mark.parametrize(
    "item",
    each(item for item in recordings("errors") if item.meta.get("vendor") == "openai" and "responses" in item.path),
)
def test_recorded_error_is_read(item: Recording) -> None:
    assert item.response is not None
    error = CODEC.decode_error(item.status, item.response)
    assert error.upstream_status == item.status
    assert error.failure == "credential" if item.status == 401 else error.failure in ("caller_fault", "model_access")
    assert CODEC.encode_error(error).status == (502 if item.status == 401 else 400)
