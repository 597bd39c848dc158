from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, as_object, dumps, loads
from asgi_llmgw.protocols.gemini_generate import CODEC
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.wire import Recording, needs_wire, recordings

from .received import merged, read

pytestmark = needs_wire

ALL = recordings("gemini_generate")
ANSWERS = [r for r in ALL if r.response is not None and r.status == 200]
STREAMS = [r for r in ALL if r.stream is not None]

each_stream = pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.folder.name)


def body(recording: Recording) -> bytes:
    assert recording.stream is not None
    return recording.stream


def frames(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)] + list(decoder.close())


def chunks(recording: Recording) -> Iterator[JSONObject]:
    for frame in frames([body(recording)]):
        yield as_object(loads(frame.data))


@pytest.mark.parametrize("recording", [r for r in ALL if r.path], ids=lambda r: r.folder.name)
def test_recorded_paths_tell_the_model(recording: Recording) -> None:
    head = CODEC.peek(recording.path, b"")
    assert head.model == recording.meta["model"]
    assert head.stream is (recording.meta["stream"] is not None)


@pytest.mark.parametrize("recording", ANSWERS, ids=lambda r: r.folder.name)
def test_recorded_answers_are_read(recording: Recording, report: Callable[[str, int], None]) -> None:
    assert recording.response is not None
    answer = CODEC.decode_response(recording.response)
    assert answer.model
    assert answer.id
    features = recording.features
    for choice in answer.choices:
        assert choice.finish.raw is not None
        assert choice.finish.kind not in ("other", "error")
        calls = [part for part in choice.parts if isinstance(part, ir.ToolCallPart)]
        assert (choice.finish.kind == "tool_calls") is bool(calls) is ("tool_call" in features)
        assert all(isinstance(loads(part.arguments), dict) for part in calls)
    assert ("thought" in features) is any(isinstance(p, ir.ReasoningPart) for c in answer.choices for p in c.parts)
    report("gemini_generate answers", 1)


@each_stream
def test_recorded_streams_are_read(recording: Recording, report: Callable[[str, int], None]) -> None:
    answer = ir.accumulate(ir.check_stream(read([body(recording)])))
    (choice,) = answer.choices
    assert choice.finish.kind in ("stop", "length", "tool_calls")
    assert ("tool_call" in recording.features) is (choice.finish.kind == "tool_calls")
    assert choice.parts
    assert answer.usage is not None
    report("gemini_generate streams", 1)


@each_stream
def test_a_stream_and_the_whole_answer_agree(recording: Recording) -> None:
    """Law 2, where calls are whole: the parts of a merged answer are those of all chunks."""
    listed = list(chunks(recording))
    whole = CODEC.decode_response(dumps(merged(listed)))
    streamed = ir.accumulate(read([body(recording)]))
    assert streamed.choices == whole.choices
    assert streamed.usage == whole.usage
    assert (streamed.id, streamed.model) == (whole.id, whole.model)


@each_stream
def test_a_stream_may_be_cut_into_pieces_anywhere(recording: Recording) -> None:
    """Law 1, F1, F3."""
    data = body(recording)
    expected = read([data])
    assert read(data[i : i + 1] for i in range(len(data))) == expected
    for position in range(0, len(data), max(len(data) // 50, 1)):
        assert read((data[:position], data[position:])) == expected
    # the codec sees frames only, so for the rest of the cuts it is enough that these are the same
    same = frames([data])
    for position in range(0, len(data), 1 if len(data) < 8_000 else len(data) // 500):
        assert frames((data[:position], data[position:])) == same


@each_stream
def test_a_stream_that_breaks_off_never_ends_well(recording: Recording) -> None:
    """Law 4, T9: at every byte the events follow the grammar; only a reason makes an end."""
    data = body(recording)
    for position in range(0, len(data), max(len(data) // 200, 1)):
        told = list(ir.check_stream(read([data[:position]])))
        if b"finishReason" not in data[:position]:
            assert isinstance(told[-1], ir.StreamFault)
