"""The short way for plain deltas says what the long way says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.ir import StreamEvent
from asgi_llmgw.protocols.bedrock_converse.deltas import plain_delta
from asgi_llmgw.protocols.bedrock_converse.stream import ConverseDecoder
from asgi_llmgw.sse import ServerSentEvent
from tests.odd_frames import objects, strings, told

DELTA = "contentBlockDelta"
START = "contentBlockStart"


def delta(index: int, members: bytes) -> ServerSentEvent:
    return ServerSentEvent(b'{"contentBlockIndex":%d,"delta":%b}' % (index, members), DELTA)


BLOCKS = (
    delta(0, b'{"text":"a"}'),
    delta(1, b'{"reasoningContent":{"text":"b"}}'),
    ServerSentEvent(b'{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}', START),
    ServerSentEvent(
        b'{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"s","name":"g","type":"server_tool_use"}}}', START
    ),
)
MORE = (
    *BLOCKS,
    *(ServerSentEvent(b'{"contentBlockIndex":%d}' % index, "contentBlockStop") for index in range(4)),
    delta(1, b'{"reasoningContent":{"signature":"s"}}'),
    delta(1, b'{"reasoningContent":{"text":"a","signature":"s"}}'),
    delta(0, b'{"citation":{"title":"a"}}'),
    delta(0, b'{"text":"a","citation":{"title":"a"}}'),
    delta(0, b'{"text":"a","toolUse":{"input":"b"}}'),
    delta(0, b'{"text":null}'),
    delta(3, b'{"toolUse":{"input":"{}"}}'),
    ServerSentEvent(b'{"stopReason":"end_turn"}', "messageStop"),
)
WORDS = {0: "text", 1: "reasoningContent", 2: "toolUse"}


def frames_of(block: int) -> st.SearchStrategy[ServerSentEvent]:
    inner = {1: objects({"text": strings()}), 2: objects({"input": strings()})}
    members = objects({WORDS[block]: inner.get(block, strings())})
    index = st.sampled_from((b"%d" % block,) * 4 + (b"3", b"4", b"1.0"))
    data = objects({"contentBlockIndex": index, "delta": members, "p": st.just(b'"abc"')})
    return st.builds(ServerSentEvent, data, st.sampled_from((DELTA, DELTA, DELTA, "", "messageStop")))


ANY_FRAME = st.one_of(
    *(frames_of(block) for block in WORDS), *(frames_of(block) for block in WORDS), st.sampled_from(MORE)
)
END = ServerSentEvent(b'{"stopReason":"end_turn"}', "messageStop")


class LongWay(ConverseDecoder):
    """Takes no short way."""

    def _plain(self, data: bytes) -> StreamEvent | None:
        return None


@settings(max_examples=400)
@given(st.lists(ANY_FRAME, min_size=1, max_size=12))
def test_deltas_are_told_alike_on_both_ways(frames: list[ServerSentEvent]) -> None:
    whole = [*BLOCKS, *frames, END]
    assert told(ConverseDecoder(), whole) == told(LongWay(), whole)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"delta":{"text":"a"}}', b'{"contentBlockIndex":0,"delta":{"later":1}}']
)
def test_what_is_no_plain_delta_goes_the_long_way(data: bytes) -> None:
    assert plain_delta(data) is None
