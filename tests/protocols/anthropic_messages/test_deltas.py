"""The short way for plain deltas says what the long way says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.protocols.anthropic_messages.deltas import plain_delta
from asgi_llmgw.protocols.anthropic_messages.stream import MessagesDecoder
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.odd_frames import long_way, objects, strings, told
from tests.wire import Recording, needs_wire, recordings

DELTA = "content_block_delta"
KINDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def opening(index: int, block: bytes) -> ServerSentEvent:
    return ServerSentEvent(
        b'{"type":"content_block_start","index":%d,"content_block":%b}' % (index, block), "content_block_start"
    )


BLOCKS = (
    opening(0, b'{"type":"text","text":""}'),
    opening(1, b'{"type":"thinking","thinking":"","signature":""}'),
    opening(2, b'{"type":"tool_use","id":"a","name":"f","input":{}}'),
    opening(3, b'{"type":"server_tool_use","id":"b","name":"web_search","input":{}}'),
)
STOPS = tuple(
    ServerSentEvent(b'{"type":"content_block_stop","index":%d}' % index, "content_block_stop") for index in range(4)
)
MORE = (
    *BLOCKS,
    *STOPS,
    ServerSentEvent(b'{"type":"ping"}', "ping"),
    ServerSentEvent(
        b'{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"s"}}', DELTA
    ),
    ServerSentEvent(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"a"}}}',
        DELTA,
    ),
    ServerSentEvent(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}'),
)


def frames_of(kind: str, block: int) -> st.SearchStrategy[ServerSentEvent]:
    delta = objects({"type": st.just(b'"%b"' % kind.encode()), KINDS[kind]: strings()})
    index = st.sampled_from((b"%d" % block,) * 4 + (b"3", b"4", b"1.0"))
    data = objects({"type": st.just(b'"content_block_delta"'), "index": index, "delta": delta})
    return st.builds(ServerSentEvent, data, st.sampled_from((DELTA, DELTA, DELTA, "", "message_stop")))


ANY_FRAME = st.one_of(
    *(frames_of(kind, block) for block, kind in enumerate(KINDS)),
    *(frames_of(kind, block) for block, kind in enumerate(KINDS)),
    st.sampled_from(MORE),
)
END = ServerSentEvent(b'{"type":"message_stop"}', "message_stop")


@settings(max_examples=400)
@given(st.lists(ANY_FRAME, min_size=1, max_size=12))
def test_deltas_are_told_alike_on_both_ways(frames: list[ServerSentEvent]) -> None:
    whole = [*BLOCKS, *frames, END]
    assert told(MessagesDecoder(), whole) == told(MessagesDecoder(), [long_way(frame) for frame in whole])


@needs_wire
@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, id=one.id) for one in recordings("anthropic_messages") if one.stream is not None],
)
def test_recorded_streams_are_told_alike_on_both_ways(recording: Recording) -> None:
    frames = SSEDecoder().feed(recording.stream or b"")
    assert told(MessagesDecoder(), frames) == told(MessagesDecoder(), [long_way(frame) for frame in frames])


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind) for kind in KINDS])
def test_a_delta_as_anthropic_writes_it_is_plain(kind: str) -> None:
    """Anthropic pads the end of a frame with spaces."""
    inner = b'{"type":"%b","%b":"a"}' % (kind.encode(), KINDS[kind].encode())
    data = b'{"type":"content_block_delta","index":2,"delta":%b     }' % inner
    plain = plain_delta(data)
    assert plain is not None
    assert (plain.index, plain.delta.words) == (2, "a")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"type":"content_block_delta","index":0}', id="no delta"),
        pytest.param(b'{"type":"ping"}', id="another frame"),
        pytest.param(b'{"index":0,"delta":{"type":"text_delta","text":"a"}}', id="no type"),
        pytest.param(
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"},"new":1}', id="unknown"
        ),
        pytest.param(
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","new":1}}', id="inside"
        ),
        pytest.param(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":null}}', id="null"),
        pytest.param(b'{"type":"content_block_delta","index":true,"delta":{"type":"text_delta","text":""}}', id="true"),
        pytest.param(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}', id="raw"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_anything_else_goes_the_long_way(data: bytes) -> None:
    assert plain_delta(data) is None
