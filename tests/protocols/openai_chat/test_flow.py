"""The short way for chunks that differ in one text says what the long way says."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.ir import Delta, ReasoningDelta, TextDelta, ToolInputDelta
from asgi_llmgw.json import loads_object
from asgi_llmgw.protocols.openai_chat.flow import Flow
from asgi_llmgw.protocols.openai_chat.stream_decoder import ChatStreamDecoder
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.odd_frames import ODD, objects, strings, told
from tests.wire import Recording, needs_wire, recordings

HEAD = b'"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
PLAIN = b'{%b"choices":[{"index":0,"delta":{"content":%%b},"logprobs":null,"finish_reason":null}]' % HEAD
FORMS = (
    PLAIN + b"}",
    PLAIN + b',"usage":null,"obfuscation":"pL0s"}',
    PLAIN + b',"obfuscation":""}',
    b'{"choices": [{"delta": {"content": %b, "role": "assistant"}, "index": 0}], "created": 1, "provider": "P"}',
    b'{"choices":[{"delta":{"content":null,"reasoning_content":%b},"finish_reason":null,"index":0}],"created":0}',
    b'{"choices":[{"index":0,"delta":{"reasoning":%b,"channel":"analysis"}}]}',
    b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}}]}',
    b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"type":"function","function":{"arguments":%b}}]}}]}',
    b'{"choices":[{"index":1,"delta":{"content":%b}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a","content":%b}}]}',
    b'{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"b","function":{"name":"f","arguments":%b}}]}}]}',
    b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":%b}}]}}]}',
    b'{"choices":[{"index":0,"delta":{"content":%b},"finish_reason":"stop"}]}',
    b'{"choices":[{"index":0,"delta":{"refusal":%b}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a","reasoning_content":%b}}]}',
    b'{"choices":[{"index":0,"delta":{"content":%b,"content":"a"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":%b}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
    b'{"choices":[{"index":0,"delta":{"content":%b}}],"citations":["https://example.com"]}',
    b'{"choices":[{"index":0,"delta":{"content":%b},"logprobs":{"content":[{"token":"a","logprob":0}]}}]}',
    b'{"choices":[{"index":0,"delta":{"content":%b}}],"error":{"message":"m"}}',
    b'{"id":%b,"choices":[{"index":0,"delta":{"content":"a"}}]}',
)
OPENED = (
    ServerSentEvent(b'{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'),
    ServerSentEvent(
        b'{"choices":[{"delta":{"tool_calls":['
        b'{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g","arguments":""}}]}}]}'
    ),
)


def unlike(frames: Sequence[ServerSentEvent]) -> list[ServerSentEvent]:
    """The same frames, no two of them alike, so that the short way is never taken."""
    return [
        msgspec.structs.replace(frame, data=frame.data.replace(b"{", b'{"unlike":%d,' % number, 1))
        if frame.data.startswith(b'{"')
        else frame
        for number, frame in enumerate(frames)
    ]


RUNS = st.builds(
    lambda form, texts, name: [ServerSentEvent(form % text, name) for text in texts],
    st.sampled_from(FORMS),
    st.lists(st.one_of(strings(), strings(), st.sampled_from(ODD)), min_size=1, max_size=5),
    st.sampled_from(("", "", "", "message", "error")),
)
ODD_RUNS = st.lists(
    objects(
        {
            "choices": st.builds(
                lambda delta: b'[{"index":0,"delta":%b}]' % delta, objects({"content": strings(), "role": strings()})
            ),
            "created": st.just(b"1"),
            "obfuscation": st.sampled_from((b'""', b'"pL0s"', b'"x y"', b"null", b'"\\""')),
        }
    ).map(ServerSentEvent),
    max_size=4,
)


@settings(max_examples=400)
@given(st.lists(st.one_of(RUNS, ODD_RUNS), min_size=1, max_size=4))
def test_chunks_are_told_alike_on_both_ways(runs: list[list[ServerSentEvent]]) -> None:
    frames = [*OPENED, *(frame for run in runs for frame in run), ServerSentEvent(b"[DONE]")]
    assert told(ChatStreamDecoder(), frames) == told(ChatStreamDecoder(), unlike(frames))


@needs_wire
@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, id=one.id) for one in recordings("openai_chat", "openai_compat") if one.stream is not None],
)
def test_recorded_streams_are_told_alike_on_both_ways(recording: Recording) -> None:
    frames = SSEDecoder().feed(recording.stream or b"")
    assert told(ChatStreamDecoder(), frames) == told(ChatStreamDecoder(), unlike(frames))


def taught(form: bytes, event: Delta, text: bytes = b'"Hi"') -> Flow:
    flow = Flow()
    flow.learn(form % text, loads_object(form % text), event, None)
    return flow


@pytest.mark.parametrize(
    ("form", "event"),
    [
        pytest.param(FORMS[0], TextDelta(3, "word"), id="text"),
        pytest.param(FORMS[1], TextDelta(3, "word"), id="padded"),
        pytest.param(FORMS[3], TextDelta(3, "word"), id="spaced"),
        pytest.param(FORMS[4], ReasoningDelta(3, "word"), id="thought"),
        pytest.param(FORMS[5], ReasoningDelta(3, "word"), id="channel"),
        pytest.param(FORMS[7], ToolInputDelta(3, "word"), id="arguments"),
    ],
)
def test_the_same_chunk_with_another_text_takes_the_short_way(form: bytes, event: Delta) -> None:
    assert taught(form, event).more(ServerSentEvent(form % b'"word"')) == event


def test_the_padding_may_be_another_in_each_chunk() -> None:
    flow = taught(PLAIN + b',"obfuscation":"pL0s"}', TextDelta(0, ""))
    assert flow.more(ServerSentEvent(PLAIN % b'"a"' + b',"obfuscation":"x"}')) == TextDelta(0, "a")
    assert flow.more(ServerSentEvent(PLAIN % b'"b"' + b',"obfuscation":""}')) == TextDelta(0, "b")
    assert flow.more(ServerSentEvent(PLAIN % b'"c"' + b',"obfuscation":"","usage":{}}')) is None


@pytest.mark.parametrize("form", [pytest.param(form, id=str(number)) for number, form in enumerate(FORMS[10:])])
def test_chunks_that_hold_more_than_a_text_go_the_long_way(form: bytes) -> None:
    assert taught(form, TextDelta(0, "")).more(ServerSentEvent(form % b'"word"')) is None


def test_a_word_that_also_stands_elsewhere_is_not_taken_for_the_text() -> None:
    assert taught(FORMS[0], TextDelta(0, ""), b'"c"').more(ServerSentEvent(FORMS[0] % b'"word"')) is None


def test_another_chunk_ends_the_flow() -> None:
    flow = taught(FORMS[0], TextDelta(0, ""))
    assert flow.more(ServerSentEvent(b"[DONE]")) is None
    assert flow.more(ServerSentEvent(FORMS[0] % b'"word"')) is None


def test_a_server_whose_chunks_are_never_alike_is_given_up() -> None:
    flow = Flow()
    for number in range(4):
        data = b'{"id":"%d","choices":[{"delta":{"content":"a"}}]}' % number
        flow.learn(data, loads_object(data), TextDelta(0, "a"), None)
    assert not flow.learns
