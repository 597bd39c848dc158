from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.gemini_generate import CODEC
from asgi_llmgw.sse import ServerSentEvent

from .received import call, chunk, events, fault, merged, streamed, text, thought, whole


def partial(*pieces: JSONObject, more: bool = True) -> JSONObject:
    body: JSONObject = {"partialArgs": list(pieces)}
    return {"functionCall": {**body, "willContinue": True} if more else body}


def opening(name: str) -> JSONObject:
    return {"functionCall": {"name": name, "willContinue": True}, "thoughtSignature": "c2ln"}


def test_texts_are_deltas_of_one_part() -> None:
    assert events(chunk(text("a")), chunk(text("")), chunk(text("b"), finish="STOP")) == [
        ir.ResponseStart(id="r1", model="gemini-x"),
        ir.PartStart(0, ir.TextPart("")),
        ir.TextDelta(0, "a"),
        ir.TextDelta(0, "b"),
        ir.PartEnd(0),
        ir.ChoiceEnd(ir.FinishReason("stop", "STOP")),
        ir.ResponseEnd(),
    ]


def test_a_signature_ends_its_part() -> None:
    told = events(chunk(text("a")), chunk(text("b", "c2ln")), chunk(text("", "dGVu"), finish="STOP"))
    assert [event for event in told if isinstance(event, ir.PartEnd)] == [
        ir.PartEnd(0),
        ir.PartEnd(1, ir.Opaque("gemini_generate", "thought_signature", "c2ln")),
        ir.PartEnd(2, ir.Opaque("gemini_generate", "thought_signature", "dGVu")),
    ]


def test_one_id_for_all_chunks() -> None:
    """S6."""
    told = events(chunk(text("a")), {**chunk(text("b"), finish="STOP"), "responseId": "other"})
    assert [event.id for event in told if isinstance(event, ir.ResponseStart)] == ["r1"]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param((chunk(call("f")), chunk(finish="STOP")), id="T1_T2_stop_in_a_later_chunk"),
        pytest.param((chunk(call("f"), finish="STOP"), chunk(call("g"), finish="STOP")), id="T3_stop_twice"),
        pytest.param((chunk(call("f"), finish="STOP"), chunk(text(""))), id="stop_not_last"),
    ],
)
def test_a_call_anywhere_is_the_ending(chunks: tuple[JSONObject, ...]) -> None:
    answer = streamed(*chunks)
    assert answer.choices[0].finish == ir.FinishReason("tool_calls", "STOP")
    assert whole(merged(list(chunks))).choices == answer.choices


def test_text_after_the_reason_still_counts() -> None:
    """T3, trap 18: the stream ends with the body."""
    assert streamed(chunk(text("a"), finish="STOP"), chunk(text("b"), finish="MAX_TOKENS")).choices[0] == ir.Choice(
        (ir.TextPart("ab"),), ir.FinishReason("length", "MAX_TOKENS")
    )


def test_calls_of_several_chunks_keep_their_order() -> None:
    """S5."""
    answer = streamed(chunk(call("f", a=1)), chunk(call("f", a=2)), chunk(finish="STOP"))
    calls = [part for part in answer.choices[0].parts if isinstance(part, ir.ToolCallPart)]
    assert [part.arguments for part in calls] == ['{"a":1}', '{"a":2}']
    assert len({part.id for part in calls}) == 2
    assert answer.choices == whole(chunk(call("f", a=1), call("f", a=2), finish="STOP")).choices


def test_text_thought_and_calls_alternate() -> None:
    """T13, T14, T23: every change of kind is a new part and nothing is lost."""
    answer = streamed(
        chunk(thought("t1"), text("a")),
        chunk(thought("t2")),
        chunk(text("b"), call("f")),
        chunk(text("c"), finish="STOP"),
    )
    names = [type(part).__name__ for part in answer.choices[0].parts]
    assert names == ["ReasoningPart", "TextPart", "ReasoningPart", "TextPart", "ToolCallPart", "TextPart"]


def test_candidates_are_told_apart() -> None:
    """F157."""
    answer = streamed(
        {
            "candidates": [
                {"index": 0, "content": {"parts": [text("a")]}},
                {"index": 1, "content": {"parts": [text("x")]}},
            ]
        },
        chunk(text("b"), finish="STOP"),
        chunk(text("y"), finish="MAX_TOKENS", index=1),
    )
    assert [(c.index, c.parts, c.finish.kind) for c in answer.choices] == [
        (0, (ir.TextPart("ab"),), "stop"),
        (1, (ir.TextPart("xy"),), "length"),
    ]


def test_the_last_usage_wins() -> None:
    """U9: told with every chunk, cumulative; objects without counts say nothing."""
    first: JSONObject = {"promptTokenCount": 5, "candidatesTokenCount": 1}
    last: JSONObject = {"promptTokenCount": 5, "candidatesTokenCount": 9}
    told = events(
        {**chunk(text("a")), "usageMetadata": first},
        {**chunk(text("b")), "usageMetadata": first},
        {**chunk(text("c")), "usageMetadata": {"trafficType": "ON_DEMAND"}},
        {**chunk(text("d"), finish="STOP"), "usageMetadata": last},
    )
    assert [event.usage.output_tokens for event in told if isinstance(event, ir.UsageUpdate)] == [1, 9]


def test_a_blocked_prompt_is_a_choice_without_a_word() -> None:
    """F157."""
    answer = streamed({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "responseId": "r1"})
    assert answer.choices == (ir.Choice((), ir.FinishReason("content_filter", "PROHIBITED_CONTENT")),)


def test_grounding_that_comes_twice_is_told_once() -> None:
    grounding: JSONObject = {"groundingChunks": [{"web": {"uri": "u"}}]}
    answer = streamed(
        chunk(text("a"), groundingMetadata=grounding), chunk(text("b"), finish="STOP", groundingMetadata=grounding)
    )
    assert [type(part) for part in answer.choices[0].parts] == [ir.TextPart, ir.CitationPart]


def test_log_probabilities_follow_their_text() -> None:
    def result(token: str) -> JSONObject:
        return {"chosenCandidates": [{"token": token, "logProbability": -1}]}

    answer = streamed(
        chunk(text("a"), logprobsResult=result("a")),
        chunk(text(""), logprobsResult=result("x")),
        chunk(text("b"), finish="STOP", logprobsResult=result("b")),
    )
    assert [token.token for token in answer.choices[0].logprobs or ()] == ["a", "x", "b"]


def test_streamed_arguments_are_put_together() -> None:
    answer = streamed(
        chunk(opening("f")),
        chunk(partial({"jsonPath": "$.a[0].b", "stringValue": "x", "willContinue": True})),
        chunk(partial({"jsonPath": "$.a[0].b", "stringValue": "y", "willContinue": True})),
        chunk(partial({"jsonPath": "$.a[0].b", "stringValue": ""})),
        chunk(partial({"jsonPath": "$.a[1]", "numberValue": 0.5}, {"jsonPath": "$['c d']", "boolValue": False})),
        chunk(partial({"jsonPath": '$["e"]', "nullValue": "NULL_VALUE"})),
        chunk({"functionCall": {}}),
        chunk(finish="STOP"),
    )
    (part,) = answer.choices[0].parts
    assert isinstance(part, ir.ToolCallPart)
    assert part.arguments == '{"a":[{"b":"xy"},0.5],"c d":false,"e":null}'
    assert part.signature == ir.Opaque("gemini_generate", "thought_signature", "c2ln")
    assert answer.choices[0].finish.kind == "tool_calls"


@pytest.mark.parametrize(
    "following",
    [
        pytest.param(opening("g"), id="another_call"),
        pytest.param(text("after"), id="text"),
        pytest.param(text("", "c2ln"), id="signature"),
        pytest.param(None, id="end"),
    ],
)
def test_the_end_of_streamed_arguments_may_be_missing(following: JSONValue) -> None:
    piece = partial({"jsonPath": "$.a", "stringValue": "x", "willContinue": True})
    rest = [] if following is None else [chunk(following)]
    answer = streamed(chunk(opening("f")), chunk(piece), *rest, chunk(finish="STOP"))
    part = answer.choices[0].parts[0]
    assert isinstance(part, ir.ToolCallPart)
    assert part.arguments == '{"a":"x"}'


def test_streamed_arguments_cut_by_the_limit_are_no_tool_calls() -> None:
    """S10."""
    answer = streamed(chunk(opening("f")), chunk(finish="MAX_TOKENS"))
    assert answer.choices[0].finish.kind == "length"


@pytest.mark.parametrize("path", ["", "a", "$", "$.", "$[0]", "$.a[", "$.a[999999]", "$..a"])
def test_an_argument_without_a_place_is_a_fault(path: str) -> None:
    last = fault(chunk(opening("f")), chunk(partial({"jsonPath": path, "stringValue": "x"})), chunk(finish="STOP"))
    assert last.error.failure == "invalid_response"


def test_a_body_that_ends_too_early_is_a_fault() -> None:
    """T9: no reason was given, so this is no end."""
    told = events(chunk(text("a")), chunk(text("b")))
    assert isinstance(told[-1], ir.StreamFault)
    assert ir.ResponseEnd not in [type(event) for event in told]


def test_a_candidate_that_never_ended_is_a_fault() -> None:
    assert fault(chunk(text("a"), finish="STOP"), chunk(text("b"), index=1)).error.failure == "invalid_response"


@pytest.mark.parametrize("reason", ["", 0, "FINISH_REASON_UNSPECIFIED"])
def test_a_reason_that_says_nothing_is_no_end(reason: JSONValue) -> None:
    """T4."""
    assert fault(chunk(text("a"), finish=reason)).error.failure == "invalid_response"


def test_an_empty_stream_is_a_fault() -> None:
    """Never an empty success."""
    assert fault().error.failure == "invalid_response"
    assert fault({"usageMetadata": {"promptTokenCount": 1}}).error.failure == "invalid_response"


@pytest.mark.parametrize("junk", [b"{", b"text", b"1", b"null", b'"x"', b'{"candidates":1}', b'{"a":1}{"b":2}'])
def test_an_event_that_cannot_be_read_is_a_fault(junk: bytes) -> None:
    assert fault(chunk(text("a")), junk, chunk(text("b"), finish="STOP")).error.failure == "invalid_response"


@pytest.mark.parametrize("in_array", [False, True])
def test_an_error_in_the_stream_is_a_fault(in_array: bool) -> None:
    """F147, F14: nothing follows, and no end is made up."""
    error: JSONObject = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    last = fault(chunk(text("a"), finish="STOP"), [error] if in_array else error, chunk(text("b"), finish="STOP"))
    assert (last.error.failure, last.error.kind, last.error.message) == ("overloaded", "overloaded", "overloaded")


def test_an_error_without_a_code_is_known_by_its_status() -> None:
    error: JSONObject = {"error": {"message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
    assert fault(error).error.failure == "rate_limit"


def test_nothing_follows_a_fault() -> None:
    decoder = CODEC.stream_decoder()
    assert len(list(decoder.feed(ServerSentEvent(b"junk")))) == 1
    assert list(decoder.feed(ServerSentEvent(b"junk"))) == []
    assert list(decoder.close()) == []


def test_the_sentinel_of_others_is_ignored() -> None:
    decoder = CODEC.stream_decoder()
    assert list(decoder.feed(ServerSentEvent(b"[DONE]"))) == []
