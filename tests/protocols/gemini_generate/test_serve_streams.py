from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads, loads_object
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.gemini_generate import CODEC, JSONArrayFramer
from asgi_llmgw.protocols.gemini_generate.carriers import unpack
from tests.strategies import responses, tellings

from .served import CONTEXT, HIDDEN, answer, frames, told, whole, written

OURS: ir.Protocol = "gemini_generate"
SIGNED = ir.Opaque(OURS, "thought_signature", "c2ln")
QUICK = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
START = ir.ResponseStart(id="r1", model="m1")
STOP: list[ir.StreamEvent] = [ir.ChoiceEnd(ir.FinishReason("stop")), ir.ResponseEnd()]


def parts(chunk: JSONObject, index: int = 0) -> list[JSONValue]:
    return as_list(as_object(as_object(as_list(chunk["candidates"])[index])["content"])["parts"])


def all_parts(chunks: list[JSONObject]) -> list[JSONValue]:
    return [part for chunk in chunks for part in parts(chunk)]


def test_each_chunk_is_a_whole_response() -> None:
    """§4.5"""
    chunks = told(
        [
            START,
            ir.UsageUpdate(ir.Usage(3)),
            ir.PartStart(0, ir.TextPart("")),
            ir.TextDelta(0, "he"),
            ir.UsageUpdate(ir.Usage(3, 1)),
            ir.TextDelta(0, "y"),
            ir.PartEnd(0),
            ir.ChoiceEnd(ir.FinishReason("stop")),
            ir.UsageUpdate(ir.Usage(3, 2)),
            ir.ResponseEnd(),
        ],
        StreamContext(model="alias"),
    )
    names: JSONObject = {"modelVersion": "alias", "responseId": "r1"}

    def candidate(text: str, **more: JSONValue) -> list[JSONValue]:
        return [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}]

    assert chunks == [
        {"candidates": candidate("he"), "usageMetadata": {"promptTokenCount": 3}, **names},
        {
            "candidates": candidate("y"),
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
            **names,
        },
        {
            "candidates": candidate("", finishReason="STOP"),
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
            **names,
        },
    ]


def test_the_wire_has_data_lines_alone() -> None:
    """Trap 5: no names, no comments, no `[DONE]`, a blank after the colon."""
    text = b"".join(frame.encode(CODEC.frame_newline) for frame in frames(ir.explode(answer(ir.TextPart("a\u2028b")))))
    *events, rest = text.split(b"\r\n\r\n")
    assert rest == b""
    assert len(events) == 2
    for event in events:
        assert event.startswith(b"data: {") and b"\n" not in event and b"\xe2\x80\xa8" not in event


@pytest.mark.parametrize("context", [CONTEXT, HIDDEN], ids=["thoughts", "no_thoughts"])
@pytest.mark.parametrize(
    ("begun", "empty", "delta"),
    [
        pytest.param(ir.TextPart, ir.TextPart(""), ir.TextDelta, id="text"),
        pytest.param(ir.RefusalPart, ir.RefusalPart(""), ir.TextDelta, id="refusal"),
        pytest.param(ir.ReasoningPart, ir.ReasoningPart(), ir.ReasoningDelta, id="thought"),
        pytest.param(partial(ir.ToolCallPart, "c1", "f"), ir.ToolCallPart("c1", "f", ""), ir.ToolInputDelta, id="call"),
    ],
)
@given(word=st.text() | st.sampled_from(('{"a": "\u2028"}', '"\\\0')))
def test_a_delta_is_told_as_the_same_words_are_at_the_beginning_of_their_part(
    begun: Callable[[str], ir.OutputPart],
    empty: ir.OutputPart,
    delta: type[ir.TextDelta | ir.ReasoningDelta | ir.ToolInputDelta],
    context: StreamContext,
    word: str,
) -> None:
    """Deltas have a short way of their own, which nearly all events go."""
    usage: list[ir.StreamEvent] = [START, ir.UsageUpdate(ir.Usage(3, 1))]
    short = frames([*usage, ir.PartStart(0, empty), delta(0, word), ir.PartEnd(0), *STOP], context)
    assert short == frames([*usage, ir.PartStart(0, begun(word)), ir.PartEnd(0), *STOP], context)


def test_a_response_without_an_id_is_given_one_for_all_its_chunks() -> None:
    chunks = told(ir.explode(ir.ChatResponse((ir.Choice((ir.TextPart("a"),), ir.FinishReason("stop")),))))
    assert len(chunks) == 2
    assert {chunk["responseId"] for chunk in chunks} == {"1"}


def test_calls_are_told_whole() -> None:
    """§4.5, S1, S2: however their arguments arrive."""
    first, second = ir.ToolCallPart("a", "f", ""), ir.ToolCallPart("b", "g", "")
    chunks = told(
        [
            START,
            ir.PartStart(0, first),
            ir.PartStart(1, second),
            ir.ToolInputDelta(0, '{"x":'),
            ir.ToolInputDelta(1, '{"y":2}'),
            ir.PartEnd(1),
            ir.ToolInputDelta(0, "1}"),
            ir.PartEnd(0, SIGNED),
            ir.ChoiceEnd(ir.FinishReason("tool_calls")),
            ir.ResponseEnd(),
        ]
    )
    assert all_parts(chunks) == [
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "b", "name": "g", "args": {"y": 2}}},
        {"text": ""},
    ]


def test_a_broken_call_is_no_call() -> None:
    """§4.5"""
    chunks = told(ir.explode(answer(ir.ToolCallPart("a", "f", "{x"), finish=ir.FinishReason("tool_calls"))))
    (only,) = chunks
    assert as_object(as_list(only["candidates"])[0])["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_thoughts_are_marked_and_only_for_those_who_asked() -> None:
    thinking = answer(ir.ReasoningPart("hm", SIGNED), ir.TextPart("a", signature=SIGNED))
    assert all_parts(told(ir.explode(thinking))) == [
        {"text": "hm", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "a"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": ""},
    ]
    assert all_parts(told(ir.explode(thinking), HIDDEN)) == [
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": "a"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": ""},
    ]


def test_the_last_chunk_tells_why_for_every_candidate_once() -> None:
    """§4.5"""
    choices = tuple(ir.Choice((ir.TextPart(t),), ir.FinishReason("stop"), index=i) for i, t in enumerate("ab"))
    chunks = told(ir.explode(ir.ChatResponse(choices, id="r", model="m", usage=ir.Usage(1, 2))))
    assert [b"finishReason" in dumps(chunk) for chunk in chunks] == [False, False, True]
    assert [as_object(candidate)["index"] for candidate in as_list(chunks[-1]["candidates"])] == [0, 1]
    assert "usageMetadata" in chunks[-1]


def test_a_candidate_does_not_wait_for_another() -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    events: list[ir.StreamEvent] = [START, ir.PartStart(0, ir.TextPart("")), ir.PartStart(1, ir.TextPart(""), 1)]
    for event in events:
        assert list(encoder.feed(event)) == []
    (frame,) = encoder.feed(ir.TextDelta(1, "b"))
    assert b'"index":1' in frame.data


def test_a_blocked_prompt_is_one_chunk_without_candidates() -> None:
    """§4.5, trap 30"""
    (chunk,) = told(ir.explode(answer(finish=ir.FinishReason("content_filter", "SAFETY"), usage=ir.Usage(4))))
    assert chunk == {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4},
        "modelVersion": "m1",
        "responseId": "r1",
    }


def test_an_answer_without_a_word_still_has_a_part() -> None:
    """SDKs throw a turn away when a chunk of it has no part."""
    (chunk,) = told([START, *STOP])
    assert parts(chunk) == [{"text": ""}]


@pytest.mark.parametrize("ending", ["fault", "cut"])
def test_a_stream_that_breaks_ends_with_an_error_and_nothing_after_it(ending: str) -> None:
    """T9, F147, F149"""
    events: list[ir.StreamEvent] = [START, ir.PartStart(0, ir.TextPart("")), ir.TextDelta(0, "a")]
    fault = ir.StreamFault(UpstreamError("It is full.", failure="overloaded", kind="overloaded"))
    encoder = CODEC.stream_encoder(CONTEXT)
    out = [frame for event in events for frame in encoder.feed(event)]
    out += encoder.feed(fault) if ending == "fault" else encoder.close()
    assert list(encoder.feed(ir.TextDelta(0, "b"))) == []
    assert list(encoder.close()) == []
    error = as_object(loads_object(out[-1].data)["error"])
    assert error["status"] == "UNAVAILABLE"
    assert error["code"] == (503 if ending == "fault" else 502)
    assert not any(b"finishReason" in frame.data for frame in out)


def test_a_stream_of_an_array_is_json_at_its_end() -> None:
    """§4.5: for clients who do not ask for `alt=sse`."""
    framer = JSONArrayFramer()
    out = [framer.feed(frame) for frame in frames(ir.explode(answer(ir.TextPart("a"))))]
    assert out[0].startswith(b"[{") and out[1].startswith(b",\r\n{")
    values = loads(b"".join(out) + framer.close())
    assert ir.accumulate(ir.explode(CODEC.decode_response(dumps(values)))).choices[0].parts == (ir.TextPart("a"),)
    assert JSONArrayFramer().close() == b"[]"


def test_an_error_is_the_last_element_of_an_array() -> None:
    """§4.5"""
    framer = JSONArrayFramer()
    out = b"".join(framer.feed(frame) for frame in frames([START, ir.PartStart(0, ir.TextPart("x"))]))
    values = as_list(loads(out + framer.close()))
    assert ["error" in as_object(value) for value in values] == [False, True]


def essence(response: ir.ChatResponse, *, shown: bool) -> list[object]:
    """What a stream and a whole answer have in common: the order of the parts, wherever a text was cut.

    In a stream a signature follows its text in a part of its own, as the vendor does it; chunks cannot tell the end of
    one unsigned text from the beginning of the next. No text waits for the end of a thought that is not shown, so what
    such thoughts leave behind may come before or after it.
    """
    told: list[object] = [response.id, response.model, response.created]
    for choice in response.choices:
        parts: list[ir.OutputPart] = []
        unpacked = list(chain.from_iterable(map(unloaded, choice.parts)))
        if not shown:
            unpacked.sort(key=lambda part: not isinstance(part, ir.ReasoningPart))
        for part in unpacked:
            last = parts[-1] if parts else None
            if isinstance(part, ir.TextPart) and isinstance(last, ir.TextPart) and last.signature is None:
                parts[-1] = ir.TextPart(last.text + part.text, signature=part.signature)
            elif isinstance(part, ir.ReasoningPart) and isinstance(last, ir.ReasoningPart) and last.opaque is None:
                parts[-1] = ir.ReasoningPart(last.text + part.text, part.opaque)
            else:
                parts.append(part)
        told += [choice.index, parts, choice.finish, choice.logprobs or ()]
    return told


def unloaded(part: ir.OutputPart) -> list[ir.OutputPart]:
    """The reasoning of another vendor that travels in a signature, and the part it travels on."""
    if not isinstance(part, (ir.TextPart, ir.ToolCallPart, ir.MediaPart)) or part.signature is None:
        return [part]
    carried = unpack(part.signature.payload)
    return [part] if carried is None else [*carried, msgspec.structs.replace(part, signature=None)]


@given(data=st.data(), response=responses(), shown=st.booleans())
@QUICK
def test_however_an_answer_is_told_its_stream_says_what_the_whole_answer_says(
    data: st.DataObject, response: ir.ChatResponse, shown: bool
) -> None:
    """Laws 2 and 8: parts interleaved at will."""
    context = StreamContext(include_thoughts=shown, new_id=lambda prefix: f"{prefix}1")
    chunks = [loads_object(frame.data) for frame in frames(data.draw(tellings(response)), context)]
    body = loads_object(CODEC.encode_response(response, context=context).body)
    assert sum(b'"finishReason":' in dumps(chunk) for chunk in chunks) == (1 if as_list(body.get("candidates")) else 0)
    assert chunks[-1].get("usageMetadata") == body.get("usageMetadata")
    if body.get("candidates") != []:
        assert essence(whole(chunks), shown=shown) == essence(CODEC.decode_response(dumps(body)), shown=shown)


@given(data=st.data(), response=responses())
@QUICK
def test_a_stream_that_breaks_anywhere_never_looks_whole(data: st.DataObject, response: ir.ChatResponse) -> None:
    """T9, F147, F149"""
    events = data.draw(tellings(response))[:-1]
    cut = data.draw(st.integers(0, len(events)))
    *before, last = [loads_object(frame.data) for frame in frames(events[:cut])]
    assert list(last) == ["error"]
    assert not any(b'"finishReason":' in dumps(chunk) for chunk in before)


def believable(response: ir.ChatResponse) -> ir.ChatResponse:
    """Without what only Gemini itself can say, of which anything at all was generated."""

    def said_by_others(part: ir.OutputPart) -> bool:
        state = part.opaque if isinstance(part, ir.ReasoningPart) else getattr(part, "signature", None)
        of = part.protocol if isinstance(part, ir.UnknownPart) else state.protocol if state is not None else None
        return of != OURS

    return msgspec.structs.replace(
        response,
        choices=tuple(
            msgspec.structs.replace(choice, parts=tuple(filter(said_by_others, choice.parts)))
            for choice in response.choices
        ),
    )


@given(data=st.data(), response=responses().map(believable))
@QUICK
def test_the_sdk_understands_whatever_is_told(data: st.DataObject, response: ir.ChatResponse) -> None:
    """Law 4"""
    written(response)
    assert told(data.draw(tellings(response)))
