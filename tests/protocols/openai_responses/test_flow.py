"""The short way for deltas says what the long way says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.ir import CitationPart, PartStart, ReasoningDelta, TextDelta, ToolInputDelta
from asgi_llmgw.protocols.openai_responses.flow import Flow
from asgi_llmgw.protocols.openai_responses.stream_decoder import ResponsesStreamDecoder
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.odd_frames import long_way, objects, strings, told
from tests.protocols.openai_responses.samples import CREATED, call, completed, frame, message
from tests.wire import Recording, needs_wire, recordings

TEXT = "response.output_text.delta"
ARGUMENTS = "response.function_call_arguments.delta"
SUMMARY = "response.reasoning_summary_text.delta"
THOUGHT = "response.reasoning_text.delta"
OPENED = (
    CREATED,
    frame("response.output_item.added", output_index=0, item=message("assistant")),
    frame("response.output_item.added", output_index=1, item=call("call_1", arguments="")),
    frame("response.output_item.added", output_index=2, item={"type": "reasoning", "id": "rs_1", "summary": []}),
)
OTHERS = (
    frame("response.content_part.done", output_index=0, content_index=0, part={"type": "output_text", "text": "T"}),
    frame("response.output_item.done", output_index=1, item=call("call_1", arguments="{}")),
    frame(
        "response.output_text.annotation.added",
        output_index=0,
        content_index=0,
        annotation={"type": "url_citation", "url": "u", "start_index": 0, "end_index": 1},
    ),
    frame("response.refusal.delta", output_index=0, content_index=1, delta="No."),
)


def small() -> st.SearchStrategy[bytes]:
    return st.sampled_from((b"0", b"0", b"1"))


def deltas(kind: str, output: int, **places: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return objects(
        {
            "type": st.just(f'"{kind}"'.encode()),
            "sequence_number": small(),
            "item_id": strings(),
            "output_index": st.sampled_from((str(output).encode(),) * 2 + (b"0", b"3")),
            **places,
            "delta": strings(),
        }
    )


ANY_DELTA = st.builds(
    ServerSentEvent,
    st.one_of(
        deltas(TEXT, 0, content_index=small(), logprobs=st.sampled_from((b"[]", b"[null]")), obfuscation=strings()),
        deltas(TEXT, 0),
        deltas(ARGUMENTS, 1),
        deltas(SUMMARY, 2, summary_index=small()),
        deltas(THOUGHT, 2, content_index=small()),
    ),
    st.sampled_from(("", TEXT, ARGUMENTS)),
)


@settings(max_examples=300)
@given(st.lists(st.one_of(ANY_DELTA, ANY_DELTA, st.sampled_from(OTHERS)), min_size=2, max_size=12))
def test_deltas_are_told_alike_on_both_ways(frames: list[ServerSentEvent]) -> None:
    whole = [*OPENED, *frames, completed()]
    assert told(ResponsesStreamDecoder(), whole) == told(ResponsesStreamDecoder(), [long_way(one) for one in whole])


@needs_wire
@pytest.mark.parametrize(
    "recording",
    [
        pytest.param(one, id=one.id)
        for one in recordings("openai_responses", "openai_compat_responses")
        if one.stream is not None
    ],
)
def test_recorded_streams_are_told_alike_on_both_ways(recording: Recording) -> None:
    frames = SSEDecoder().feed(recording.stream or b"")
    assert told(ResponsesStreamDecoder(), frames) == told(ResponsesStreamDecoder(), [long_way(one) for one in frames])


PLAIN = b'{"type":"%b","sequence_number":7,"item_id":"i","output_index":0,"content_index":0,"delta":"Hi"%b}'


@pytest.mark.parametrize(
    ("flow", "data", "event"),
    [
        pytest.param(
            Flow(TextDelta, 3, TEXT, 0),
            PLAIN % (TEXT.encode(), b',"logprobs":[],"obfuscation":"x"'),
            TextDelta(3, "Hi"),
            id="text",
        ),
        pytest.param(Flow(TextDelta, 3, TEXT, 0), PLAIN % (TEXT.encode(), b""), TextDelta(3, "Hi"), id="bare"),
        pytest.param(
            Flow(ReasoningDelta, 3, THOUGHT, 0), PLAIN % (THOUGHT.encode(), b""), ReasoningDelta(3, "Hi"), id="thought"
        ),
        pytest.param(
            Flow(ReasoningDelta, 3, SUMMARY, 0, summary=1),
            b'{"type":"%b","output_index":0,"summary_index":1,"delta":"Hi"}' % SUMMARY.encode(),
            ReasoningDelta(3, "Hi"),
            id="summary",
        ),
        pytest.param(
            Flow(ToolInputDelta, 3, ARGUMENTS, 2),
            b'{"type":"%b","output_index":2,"delta":"{"}' % ARGUMENTS.encode(),
            ToolInputDelta(3, "{"),
            id="arguments",
        ),
        pytest.param(Flow(TextDelta, 3, TEXT, 1), PLAIN % (TEXT.encode(), b""), None, id="another_item"),
        pytest.param(Flow(TextDelta, 3, TEXT, 0, content=1), PLAIN % (TEXT.encode(), b""), None, id="another_part"),
        pytest.param(
            Flow(ReasoningDelta, 3, SUMMARY, 0),
            b'{"type":"%b","output_index":0,"summary_index":1,"delta":"Hi"}' % SUMMARY.encode(),
            None,
            id="another_summary",
        ),
        pytest.param(Flow(TextDelta, 3, TEXT, 0), PLAIN % (THOUGHT.encode(), b""), None, id="another_kind"),
        pytest.param(Flow(TextDelta, 3, TEXT, 0), PLAIN % (TEXT.encode(), b',"new":1'), None, id="a_member_unknown"),
        pytest.param(Flow(TextDelta, 3, TEXT, 0), PLAIN % (TEXT.encode(), b',"logprobs":[null]'), None, id="logprobs"),
        pytest.param(Flow(TextDelta, 3, TEXT, 0), b"[DONE]", None, id="no_json"),
    ],
)
def test_the_short_way_is_for_plain_deltas_of_the_part(flow: Flow, data: bytes, event: object) -> None:
    assert flow.more(data) == event


def test_what_a_delta_added_counts_for_the_places_of_sources() -> None:
    """The text of the second part begins behind all the words of the first."""
    cited = frame(
        "response.output_text.annotation.added",
        output_index=0,
        content_index=1,
        annotation={"type": "url_citation", "url": "u", "start_index": 0, "end_index": 1},
    )
    said = [frame(TEXT, output_index=0, content_index=0, delta=word) for word in ("one ", "two ", "three ")]
    decoder = ResponsesStreamDecoder()
    events = [
        event
        for one in (*said, frame(TEXT, output_index=0, content_index=1, delta="x"), cited)
        for event in decoder.feed(one)
    ]
    (citation,) = [event.part for event in events if isinstance(event, PartStart) and event.index == 2]
    assert isinstance(citation, CitationPart)
    assert citation.start == len("one two three ")
