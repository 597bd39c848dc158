"""Recorded traffic of OpenAI and of those who speak its protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import msgspec
import pytest
from _pytest.mark import ParameterSet
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.ir import (
    ChatResponse,
    CitationPart,
    MediaPart,
    OutputPart,
    ReasoningPart,
    StreamEvent,
    StreamFault,
    ToolCallPart,
    accumulate,
    check_stream,
)
from asgi_llmgw.json import as_list, as_object
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_chat import CODEC
from asgi_llmgw.sse import SSEDecoder
from tests.wire import Recording, needs_wire, recordings

from .samples import CONTEXT, DONE, USAGE, chunks, encode_stream, events, frames_of

pytestmark = needs_wire

TRAFFIC = recordings("openai_chat", "openai_compat")
REQUESTS = [item for item in TRAFFIC if item.request is not None]
ANSWERS = [item for item in TRAFFIC if item.response is not None and item.status < 400]
STREAMS = [item for item in TRAFFIC if item.stream is not None]

REFUSED_REQUESTS = {
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-1": "model",  # Azure has it in the path
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-2": "model",
    # Perplexity's own part, with base64 where an address should be
    "openai_compat/chat-document-models-perplexity-sonar-pro-understands-docx-docum": "messages[0].content[1].type",
}
ERROR_ANSWERS = {"openai_compat/prompt-content-filtering": "filtered"}
BROKEN_STREAMS = {"openai_compat/tool-use-failed-error-streaming-with-text": "caller_fault"}


def each(items: Iterable[Recording]) -> list[ParameterSet]:
    return [pytest.param(item, id=item.id) for item in items]


def told(data: bytes, cuts: Iterable[int] = ()) -> list[StreamEvent]:
    """The events of a stream whose bytes arrive in pieces."""
    framing, decoder = SSEDecoder(), CODEC.stream_decoder()
    edges = [0, *cuts, len(data)]
    out: list[StreamEvent] = []
    for begin, end in itertools.pairwise(edges):
        for item in framing.feed(data[begin:end]):
            out += decoder.feed(item)
    for item in framing.close():
        out += decoder.feed(item)
    return [*out, *decoder.close()]


def comparable(events_: list[StreamEvent]) -> list[object]:
    """Errors compare by identity; their text will do."""
    return [event.error.message if isinstance(event, StreamFault) else event for event in events_]


def essence(response: ChatResponse) -> list[tuple[object, ...]]:
    """What a client of this protocol can be told: no raw vendor words, no ids that had to be made."""

    def plain(part: OutputPart) -> OutputPart:
        if isinstance(part, ToolCallPart):
            return msgspec.structs.replace(part, id="", arguments=part.arguments or "{}")
        if isinstance(part, CitationPart):
            return CitationPart(part.url, part.title or None, part.start or None, part.end or None)
        return part

    return [
        (
            choice.index,
            [plain(part) for part in choice.parts if not isinstance(part, (ReasoningPart, MediaPart))],
            "".join(part.text for part in choice.parts if isinstance(part, ReasoningPart)),
            choice.finish.kind,
            choice.logprobs or None,
        )
        for choice in response.choices
    ]


def counts(response: ChatResponse) -> object:
    return None if response.usage is None else msgspec.structs.replace(response.usage, raw=None)


@pytest.mark.parametrize("item", each(REQUESTS))
def test_recorded_request_is_read_or_refused_for_a_known_reason(
    item: Recording, report: Callable[[str, int], None]
) -> None:
    assert item.request is not None
    if item.id in REFUSED_REQUESTS:
        with pytest.raises(InvalidRequest) as caught:
            CODEC.decode_request(item.path, item.request)
        assert caught.value.param == REFUSED_REQUESTS[item.id]
        return
    request = CODEC.decode_request(item.path, item.request)
    assert request.messages
    encoded = CODEC.encode_request(request, profile=Profile())
    again = CODEC.decode_request(encoded.path, encoded.body)
    assert again.tools == request.tools or any(d.path.startswith("tools") for d in encoded.diagnostics)
    assert again.response_format == request.response_format
    assert again.sampling == request.sampling
    report("openai_chat requests", 1)


@pytest.mark.parametrize("item", each(ANSWERS))
def test_recorded_answer_is_read_and_written_again(item: Recording, report: Callable[[str, int], None]) -> None:
    assert item.response is not None
    if item.id in ERROR_ANSWERS:
        with pytest.raises(UpstreamError) as caught:
            CODEC.decode_response(item.response)
        assert caught.value.failure == ERROR_ANSWERS[item.id]
        return
    response = CODEC.decode_response(item.response)
    encoded = CODEC.encode_response(response, context=CONTEXT)
    ChatCompletion.model_validate_json(encoded.body, strict=True)
    again = CODEC.decode_response(encoded.body)
    assert essence(again) == essence(response)
    assert counts(again) == counts(response)
    report("openai_chat responses", 1)


@pytest.mark.parametrize("item", each(STREAMS))
def test_recorded_stream_is_read_and_written_again(item: Recording, report: Callable[[str, int], None]) -> None:
    assert item.stream is not None
    heard = list(check_stream(told(item.stream)))
    if item.id in BROKEN_STREAMS:
        assert isinstance(heard[-1], StreamFault)
        assert heard[-1].error.failure == BROKEN_STREAMS[item.id]
        return
    response = accumulate(heard)
    frames = encode_stream(heard, USAGE)
    assert frames[-1] == DONE
    again = accumulate(events(frames))
    assert essence(again) == essence(response)
    assert counts(again) == counts(response)
    report("openai_chat streams", 1)


@pytest.mark.parametrize("item", each(item for item in STREAMS if item.id not in BROKEN_STREAMS))
def test_sdk_adds_up_the_rewritten_stream(item: Recording) -> None:
    """Traps 8 to 10: what the official helper makes of our chunks is what was told."""
    assert item.stream is not None
    heard = told(item.stream)
    response = accumulate(heard)
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for data in chunks(encode_stream(heard, USAGE)):
        state.handle_chunk(ChatCompletionChunk.model_validate(data, strict=True))
    snapshot = state.current_completion_snapshot
    assert len(snapshot.choices) == len(response.choices)
    for choice, expected in zip(snapshot.choices, response.choices, strict=True):
        calls = [part for part in expected.parts if isinstance(part, ToolCallPart)]
        found = [as_object(call) for call in as_list(choice.message.model_dump().get("tool_calls"))]
        assert [as_object(call["function"])["name"] for call in found] == [call.name for call in calls]
        assert [as_object(call["function"])["arguments"] for call in found] == [
            call.arguments or "{}" for call in calls
        ]
        assert choice.message.role == "assistant"
        assert choice.finish_reason is not None


@pytest.mark.parametrize("item", each(STREAMS))
def test_stream_cut_into_pieces_tells_the_same(item: Recording, report: Callable[[str, int], None]) -> None:
    """F141, F142: byte by byte, and every two-way cut.

    A cut concerns the framing alone: equal frames make equal events. Streams under 20 kB are cut at every byte, larger
    ones at a fixed odd stride, which makes about 500 cuts.
    """
    assert item.stream is not None
    data = item.stream
    whole = comparable(told(data))
    assert comparable(told(data, range(1, len(data)))) == whole
    stride = 1 if len(data) < 20_000 else len(data) // 500 | 1
    frames = [frame.data for frame in frames_of(data)]
    for at in range(1, len(data), stride):
        framing = SSEDecoder()
        pieces = [*framing.feed(data[:at]), *framing.feed(data[at:]), *framing.close()]
        assert [piece.data for piece in pieces] == frames
    report("openai_chat stream cuts", len(range(1, len(data), stride)))


@pytest.mark.parametrize("item", each(STREAMS))
def test_truncated_stream_never_looks_whole(item: Recording, report: Callable[[str, int], None]) -> None:
    """T9, F149: the grammar holds wherever the bytes end, and the end is a fault until every choice has ended.

    A truncation inside a frame is the same as one before it (or a frame that is not JSON), so frames are what is cut:
    each whole prefix, and each prefix with a broken frame behind it.
    """
    assert item.stream is not None
    frames = frames_of(item.stream)
    steps = max(1, len(frames) // 60)
    for count in range(0, len(frames), steps):
        heard = events(frames[:count])
        ended = heard and not isinstance(heard[-1], StreamFault)
        finished = sum(b'"finish_reason":"' in frame.data.replace(b": ", b":") for frame in frames[:count])
        assert not ended or finished
        broken = msgspec.structs.replace(frames[count], data=frames[count].data[: len(frames[count].data) // 2])
        assert isinstance(events([*frames[:count], broken])[-1], StreamFault) or finished
    report("openai_chat stream truncations", len(range(0, len(frames), steps)))


@pytest.mark.parametrize("item", each(item for item in recordings("errors")))
def test_recorded_error_is_read(item: Recording, report: Callable[[str, int], None]) -> None:
    assert item.response is not None
    error = CODEC.decode_error(item.status, item.response)
    assert error.message
    assert error.upstream_status == item.status
    encoded = CODEC.encode_error(error)
    assert encoded.status >= 400
    if item.status in (401, 403):
        assert error.failure == "credential"
        assert encoded.status == 502
    report("errors in every shape", 1)
