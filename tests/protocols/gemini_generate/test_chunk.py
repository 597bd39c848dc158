"""The short way for chunks of text says what the long way says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.ir import StreamFault, TextDelta, UsageUpdate
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols.gemini_generate.chunk import OTHERWISE, read_text_chunk
from asgi_llmgw.protocols.gemini_generate.stream import GeminiStreamDecoder
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.odd_frames import long_way, objects, strings, told
from tests.protocols.gemini_generate.received import call, chunk, text, thought
from tests.wire import Recording, needs_wire, recordings

TOKENS: JSONObject = {"token": "T", "logProbability": -0.5}
OTHERS = tuple(
    ServerSentEvent(dumps(one))
    for one in (
        chunk(text("Hi")),
        chunk(thought("Hm")),
        chunk(text("Hi"), index=1),
        chunk(call("f", a=1)),
        chunk({"functionCall": {"name": "g", "partialArgs": [], "willContinue": True}}),
        chunk(text("signed", "c2ln")),
        chunk(text(""), logprobsResult={"chosenCandidates": [TOKENS]}),
        chunk(thought("signed"), text("Hi"), logprobsResult={"chosenCandidates": [TOKENS]}),
        chunk(text("Hi")) | {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}},
        chunk(text("Hi")) | {"usageMetadata": {"trafficType": "ON_DEMAND"}},
        chunk(finish="STOP"),
    )
)
DETAILS = b'[{"modality":"AUDIO","tokenCount":%d}]'


def numbers() -> st.SearchStrategy[bytes]:
    return st.sampled_from((b"0", b"1", b"1", b"2"))


def listed(items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    one = items.map(lambda item: b"[%b]" % item)
    return st.one_of(one, one, one, st.lists(items, max_size=2).map(lambda some: b"[%b]" % b",".join(some)))


PARTS = st.one_of(
    objects({"text": strings()}), objects({"text": strings(), "thought": st.sampled_from((b"true", b"false"))})
)
CONTENTS = objects({"parts": listed(PARTS), "role": st.just(b'"model"')})
CANDIDATES = st.one_of(
    objects({"content": CONTENTS}), objects({"content": CONTENTS, "index": st.sampled_from((b"0", b"0", b"1"))})
)
COUNTS = st.one_of(
    objects({"promptTokenCount": numbers()}),
    objects(
        {
            "promptTokenCount": numbers(),
            "candidatesTokenCount": numbers(),
            "totalTokenCount": numbers(),
            "promptTokensDetails": numbers().map(lambda count: DETAILS % int(count)),
            "serviceTier": strings(),
        }
    ),
)
NAMES = {"modelVersion": strings(), "responseId": strings()}
CHUNKS = st.one_of(
    objects({"candidates": listed(CANDIDATES), **NAMES}),
    objects({"candidates": listed(CANDIDATES), "usageMetadata": COUNTS, **NAMES}),
).map(ServerSentEvent)


@settings(max_examples=150)
@given(st.lists(st.one_of(CHUNKS, CHUNKS, st.sampled_from(OTHERS)), min_size=2, max_size=12))
def test_chunks_are_told_alike_on_both_ways(frames: list[ServerSentEvent]) -> None:
    whole = [OTHERS[0], *frames]
    assert told(GeminiStreamDecoder(), whole) == told(GeminiStreamDecoder(), [long_way(one) for one in whole])


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param((chunk(text("a")), chunk(logprobsResult={"chosenCandidates": [TOKENS]})), id="logprobs_wait"),
        pytest.param((chunk({"functionCall": {"name": "g", "willContinue": True}}),), id="a_call_is_open"),
        pytest.param((chunk(text("a")), chunk(thought("b"))), id="a_thought_is_open"),
        pytest.param((chunk(text("a", "c2ln")),), id="nothing_is_open"),
        pytest.param((chunk(text("a"), index=1),), id="another_candidate"),
        pytest.param((chunk(text("a")), chunk(text("b"), finish="STOP")), id="after_the_reason"),
    ],
)
def test_what_a_text_follows_is_told_alike_on_both_ways(chunks: tuple[JSONObject, ...]) -> None:
    frames = [ServerSentEvent(dumps(one)) for one in (*chunks, chunk(text("c")), chunk(text("d")))]
    assert told(GeminiStreamDecoder(), frames) == told(GeminiStreamDecoder(), [long_way(one) for one in frames])


@needs_wire
@pytest.mark.parametrize(
    "recording", [pytest.param(one, id=one.id) for one in recordings("gemini_generate") if one.stream is not None]
)
def test_recorded_streams_are_told_alike_on_both_ways(recording: Recording) -> None:
    frames = SSEDecoder().feed(recording.stream or b"")
    assert told(GeminiStreamDecoder(), frames) == told(GeminiStreamDecoder(), [long_way(one) for one in frames])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(dumps(chunk(text("Hi"))), id="text"),
        pytest.param(dumps(chunk(thought("Hi"), index=None)), id="thought"),
        pytest.param(dumps(chunk(text("Hi")) | {"usageMetadata": {"new": [{"a": 1}]}}), id="tokens"),
    ],
)
def test_the_short_way_is_for_plain_chunks_of_text(data: bytes) -> None:
    assert read_text_chunk(data).candidates[0].content.parts[0].text == "Hi"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(dumps(chunk(text("Hi")) | {"usageMetadata": {"new": [1]}}), id="odd_tokens"),
        pytest.param(dumps(chunk(text("Hi"), finish="STOP")), id="a_reason"),
        pytest.param(dumps(chunk(text("Hi"), text("Ho"))), id="two_parts"),
        pytest.param(dumps(chunk(text("Hi", "c2ln"))), id="a_signature"),
        pytest.param(dumps(chunk(text("Hi")) | {"promptFeedback": {}}), id="a_block"),
        pytest.param(dumps({"error": {"code": 500}}), id="an_error"),
        pytest.param(b"[DONE]", id="no_json"),
    ],
)
def test_the_short_way_is_for_nothing_else(data: bytes) -> None:
    with pytest.raises(OTHERWISE):
        read_text_chunk(data)


def counted(prompt: int) -> ServerSentEvent:
    return ServerSentEvent(dumps(chunk(text("Hi")) | {"usageMetadata": {"promptTokenCount": prompt}}))


def test_tokens_are_told_when_they_change_and_only_then() -> None:
    """Each chunk repeats them; one that goes back to an earlier count tells that too."""
    frames = [counted(3), counted(3), long_way(counted(4)), ServerSentEvent(dumps(chunk(text("Hi")))), counted(3)]
    decoder = GeminiStreamDecoder()
    events = [[*decoder.feed(one)] for one in frames]
    assert [[type(event) for event in some if isinstance(event, TextDelta | UsageUpdate)] for some in events] == [
        [TextDelta, UsageUpdate],
        [TextDelta],
        [TextDelta, UsageUpdate],
        [TextDelta],
        [TextDelta, UsageUpdate],
    ]


def test_tokens_that_cannot_be_read_break_the_stream_before_the_text_is_told() -> None:
    said = dumps(chunk(text("Hi")))
    decoder = GeminiStreamDecoder()
    decoder.feed(ServerSentEvent(said))
    (event,) = decoder.feed(ServerSentEvent(said[:-1] + b',"usageMetadata":{"a":"\xff"}}'))
    assert isinstance(event, StreamFault)
