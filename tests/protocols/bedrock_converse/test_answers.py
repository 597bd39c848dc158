"""Whole answers and streams, block by block."""

from __future__ import annotations

from typing import Any, Final

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps
from asgi_llmgw.protocols.bedrock_converse import CODEC
from asgi_llmgw.sse import ServerSentEvent

OWN: Final[ir.Protocol] = "bedrock_converse"


def whole(*blocks: JSONValue, **fields: JSONValue) -> ir.ChatResponse:
    told: JSONObject = {"output": {"message": {"role": "assistant", "content": [*blocks]}}, "stopReason": "end_turn"}
    return CODEC.decode_response(dumps({**told, **fields}))


def parts(*blocks: JSONValue) -> tuple[ir.OutputPart, ...]:
    return whole(*blocks).choices[0].parts


def streamed(*frames: tuple[str, JSONValue]) -> list[ir.StreamEvent]:
    decoder = CODEC.stream_decoder()
    told = [event for name, data in frames for event in decoder.feed(ServerSentEvent(dumps(data), name))]
    return list(ir.check_stream([*told, *decoder.close()]))


def start(index: int, start: JSONValue) -> tuple[str, JSONValue]:
    return "contentBlockStart", {"contentBlockIndex": index, "start": start}


def delta(index: int, delta: JSONValue) -> tuple[str, JSONValue]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}


def stop(index: int) -> tuple[str, JSONValue]:
    return "contentBlockStop", {"contentBlockIndex": index}


BEGIN: tuple[str, JSONValue] = ("messageStart", {"role": "assistant"})
USAGE: JSONObject = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}


def ended(reason: str = "end_turn") -> tuple[tuple[str, JSONValue], ...]:
    return ("messageStop", {"stopReason": reason}), ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def told_by(*frames: tuple[str, JSONValue]) -> tuple[ir.OutputPart, ...]:
    return ir.accumulate(streamed(BEGIN, *frames, *ended())).choices[0].parts


CITATION: JSONObject = {
    "title": "Report",
    "sourceContent": [{"text": "It "}, {"text": "rained."}],
    "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}},
}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param({"text": "Hi"}, [ir.TextPart("Hi")], id="text"),
        pytest.param(
            {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Paris"}}},
            [ir.ToolCallPart("t1", "weather", '{"city":"Paris"}')],
            id="a_call",
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "t1", "name": "weather"}}, [ir.ToolCallPart("t1", "weather", "{}")], id="no_input"
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "t1", "name": "weather", "input": "broken {"}},
            [ir.ToolCallPart("t1", "weather", "broken {")],
            id="input_that_is_no_object",
        ),
        pytest.param(
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            [ir.ReasoningPart("hm", ir.Opaque(OWN, "signature", "c2ln"))],
            id="a_signed_thought",
        ),
        pytest.param(
            {"reasoningContent": {"reasoningText": {"text": "hm"}}}, [ir.ReasoningPart("hm")], id="an_unsigned_thought"
        ),
        pytest.param(
            {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
            [ir.ReasoningPart("", ir.Opaque(OWN, "redacted", "aGlkZGVu"))],
            id="a_hidden_thought",
        ),
        pytest.param(
            {"citationsContent": {"content": [{"text": "It "}, {"text": "rained."}], "citations": [CITATION]}},
            [
                ir.TextPart("It rained."),
                ir.CitationPart(
                    title="Report", start=0, end=10, quote="It rained.", protocol="bedrock_converse", raw=CITATION
                ),
            ],
            id="a_citation",
        ),
        pytest.param(
            {"image": {"format": "png", "source": {"bytes": "aGk="}}},
            [ir.MediaPart("image", ir.Base64Source("aGk="), "image/png")],
            id="a_picture",
        ),
        pytest.param(
            {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a"}}}},
            [
                ir.UnknownPart(
                    "bedrock_converse",
                    {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a"}}}},
                    "image",
                )
            ],
            id="a_picture_elsewhere",
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "s", "name": "search", "input": {"q": 1}, "type": "server_tool_use"}},
            [
                ir.UnknownPart(
                    "bedrock_converse",
                    {"toolUse": {"toolUseId": "s", "name": "search", "input": {"q": 1}, "type": "server_tool_use"}},
                    "toolUse",
                )
            ],
            id="a_call_of_the_vendors_own",
        ),
        pytest.param({}, [ir.UnknownPart("bedrock_converse", {}, "")], id="nothing"),
    ],
)
def test_blocks_of_an_answer(block: JSONObject, expected: list[ir.OutputPart]) -> None:
    assert list(parts(block)) == expected


@pytest.mark.parametrize(
    ("reason", "kind", "with_call"),
    [
        ("end_turn", "stop", "tool_calls"),
        ("stop_sequence", "stop", "tool_calls"),
        ("tool_use", "tool_calls", "tool_calls"),
        ("max_tokens", "length", "length"),
        ("model_context_window_exceeded", "length", "length"),
        ("guardrail_intervened", "content_filter", "content_filter"),
        ("content_filtered", "content_filter", "content_filter"),
        ("malformed_tool_use", "error", "error"),
        ("of_tomorrow", "other", "tool_calls"),
    ],
)
def test_why_an_answer_ended(reason: str, kind: str, with_call: str) -> None:
    assert whole({"text": "Hi"}, stopReason=reason).choices[0].finish == ir.FinishReason(kind, reason)  # type: ignore[arg-type]
    call: JSONObject = {"toolUse": {"toolUseId": "t", "name": "n", "input": {}}}
    assert whole(call, stopReason=reason).choices[0].finish.kind == with_call
    answer = ir.accumulate(streamed(BEGIN, delta(0, {"text": "Hi"}), stop(0), *ended(reason)))
    assert answer.choices[0].finish == ir.FinishReason(kind, reason)  # type: ignore[arg-type]


def test_the_stop_sequence_is_told_where_the_model_does() -> None:
    answer = whole({"text": "Hi"}, additionalModelResponseFields={"stop_sequence": "END"})
    assert answer.choices[0].finish.stop_sequence == "END"
    stopped: JSONObject = {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "END"}}
    told = ir.accumulate(streamed(BEGIN, delta(0, {"text": "Hi"}), ("messageStop", stopped)))
    assert told.choices[0].finish == ir.FinishReason("stop", "stop_sequence", "END")
    assert whole({"text": "Hi"}, stopReason=None).choices[0].finish == ir.FinishReason("stop")


def test_cached_tokens_are_part_of_the_prompt() -> None:
    usage: JSONObject = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 135,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 20,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 15}, {"ttl": "5m", "inputTokens": 5}],
    }
    answer = whole({"text": "Hi"}, usage=usage, serviceTier={"type": "priority"})
    assert answer.usage == ir.Usage(
        input_tokens=130,
        output_tokens=5,
        cache_read_tokens=100,
        cache_write_tokens=20,
        cache_write_1h_tokens=15,
        raw=usage,
    )
    assert answer.usage.total_tokens == usage["totalTokens"]
    assert answer.service_tier == "priority"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"output":{"message":{"content":7}}}', b'{"output":{"message":{"content":[7]}}}'],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        CODEC.decode_response(body)


def test_an_error_with_a_good_status_is_an_error() -> None:
    with pytest.raises(UpstreamError, match="slow down") as caught:
        CODEC.decode_response(b'{"__type":"ThrottlingException","message":"slow down"}')
    assert caught.value.failure == "rate_limit"


def test_a_stream_event_by_event() -> None:
    call: JSONObject = {"toolUse": {"toolUseId": "t1", "name": "weather"}}
    frames = (
        BEGIN,
        delta(0, {"reasoningContent": {"text": "hm"}}),
        delta(0, {"reasoningContent": {"signature": "c2"}}),
        delta(0, {"reasoningContent": {"signature": "ln"}}),
        stop(0),
        delta(1, {"text": "I "}),
        delta(1, {"text": "look."}),
        stop(1),
        start(2, call),
        delta(2, {"toolUse": {"input": '{"city":'}}),
        delta(2, {"toolUse": {"input": '"Paris"}'}}),
        stop(2),
        *ended("tool_use"),
    )
    assert streamed(*frames) == [
        ir.ResponseStart(),
        ir.PartStart(0, ir.ReasoningPart()),
        ir.ReasoningDelta(0, "hm"),
        ir.PartEnd(0, ir.Opaque(OWN, "signature", "c2ln")),
        ir.PartStart(1, ir.TextPart("")),
        ir.TextDelta(1, "I "),
        ir.TextDelta(1, "look."),
        ir.PartEnd(1),
        ir.PartStart(2, ir.ToolCallPart("t1", "weather", "")),
        ir.ToolInputDelta(2, '{"city":'),
        ir.ToolInputDelta(2, '"Paris"}'),
        ir.PartEnd(2),
        ir.ChoiceEnd(ir.FinishReason("tool_calls", "tool_use")),
        ir.UsageUpdate(ir.Usage(3, 5, raw=USAGE)),
        ir.ResponseEnd(),
    ]


def test_a_call_without_input_is_an_empty_object() -> None:
    assert told_by(start(0, {"toolUse": {"toolUseId": "t", "name": "n"}}), stop(0)) == (
        ir.ToolCallPart("t", "n", "{}"),
    )


def test_a_call_with_a_name_always_opens_a_block() -> None:
    """S1: two calls in a row, although nobody closed the first."""
    frames = [
        frame
        for number in range(2)
        for frame in (
            start(0, {"toolUse": {"toolUseId": f"t{number}", "name": "n"}}),
            delta(0, {"toolUse": {"input": f'{{"a":{number}}}'}}),
        )
    ]
    assert told_by(*frames) == (ir.ToolCallPart("t0", "n", '{"a":0}'), ir.ToolCallPart("t1", "n", '{"a":1}'))


def test_a_hidden_thought_may_come_in_pieces() -> None:
    one = told_by(delta(0, {"reasoningContent": {"redactedContent": "aGlkZGVu"}}), stop(0))
    two = told_by(
        delta(0, {"reasoningContent": {"redactedContent": "aGk="}}),
        delta(0, {"reasoningContent": {"redactedContent": "ZGRlbg=="}}),
        stop(0),
    )
    assert one == two == (ir.ReasoningPart("", ir.Opaque(OWN, "redacted", "aGlkZGVu")),)
    broken = told_by(*(delta(0, {"reasoningContent": {"redactedContent": "%"}}) for _ in range(2)))
    assert broken == (ir.ReasoningPart("", ir.Opaque(OWN, "redacted", "%%")),)


def test_a_delta_of_another_kind_begins_another_block() -> None:
    assert told_by(
        delta(0, {"reasoningContent": {"text": "hm"}}), delta(0, {"text": "Hi"}), delta(0, {"toolUse": {"input": "{}"}})
    ) == (ir.ReasoningPart("hm"), ir.TextPart("Hi"))


@pytest.mark.parametrize(
    ("block", "frames"),
    [
        pytest.param(
            {"citationsContent": {"content": [{"text": "It rained."}], "citations": [CITATION]}},
            (delta(0, {"text": "It rained."}), delta(0, {"citation": {**CITATION, "p": "abc"}})),
            id="a_citation",
        ),
        pytest.param(
            {"image": {"format": "png", "source": {"bytes": "aGk="}}},
            (start(0, {"image": {"format": "png"}}), delta(0, {"image": {"source": {"bytes": "aGk="}}})),
            id="a_picture",
        ),
        pytest.param(
            {"image": {"format": "png", "error": {"message": "no"}}},
            (start(0, {"image": {"format": "png"}}), delta(0, {"image": {"error": {"message": "no"}}})),
            id="a_picture_that_failed",
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use", "input": {"q": 1}}},
            (
                start(0, {"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use"}}),
                delta(0, {"toolUse": {"input": '{"q":'}}),
                delta(0, {"toolUse": {"input": "1}"}}),
            ),
            id="a_call_of_the_vendors_own",
        ),
        pytest.param(
            {"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use", "input": "{"}},
            (
                start(0, {"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use"}}),
                delta(0, {"toolUse": {"input": "{"}}),
            ),
            id="whose_input_is_broken",
        ),
        pytest.param(
            {"toolResult": {"toolUseId": "s", "status": "success", "content": [{"text": "a"}, {"text": "b"}]}},
            (
                start(0, {"toolResult": {"toolUseId": "s", "status": "success"}}),
                delta(0, {"toolResult": [{"text": "a"}]}),
                delta(0, {"toolResult": [{"text": "b"}]}),
            ),
            id="and_its_result",
        ),
    ],
)
def test_what_is_told_in_pieces_is_what_is_told_whole(
    block: JSONObject, frames: tuple[tuple[str, JSONValue], ...]
) -> None:
    """Law 2"""
    assert told_by(*frames, stop(0)) == parts(block)


def test_offsets_of_citations_count_all_text() -> None:
    (first, second, cited) = told_by(
        delta(0, {"text": "Well. "}), stop(0), delta(1, {"text": "Rain."}), delta(1, {"citation": CITATION}), stop(1)
    )
    assert isinstance(cited, ir.CitationPart) and (cited.start, cited.end) == (6, 11)
    assert (first, second) == (ir.TextPart("Well. "), ir.TextPart("Rain."))


def test_an_answer_that_has_stopped_is_whole_without_its_usage() -> None:
    events = streamed(BEGIN, delta(0, {"text": "Hi"}), ended()[0])
    assert isinstance(events[-1], ir.ResponseEnd)
    assert ir.accumulate(events).usage is None


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((), "sent nothing"),
        ((BEGIN,), "ended its stream early"),
        ((BEGIN, delta(0, {"text": "Hi"}), stop(0)), "ended its stream early"),
        ((BEGIN, delta(0, {"text": "Hi"}), stop(0), ended()[1]), "ended its stream early"),
    ],
)
def test_an_answer_that_has_not_stopped_is_a_fault(frames: tuple[tuple[str, JSONValue], ...], message: str) -> None:
    """F148 F149"""
    last = streamed(*frames)[-1]
    assert isinstance(last, ir.StreamFault) and message in last.error.message
    assert last.error.failure == "invalid_response"


def test_nothing_follows_the_end() -> None:
    events = streamed(BEGIN, delta(0, {"text": "Hi"}), *ended(), delta(0, {"text": "more"}), *ended())
    assert isinstance(events[-1], ir.ResponseEnd)
    assert ir.accumulate(events).choices[0].parts == (ir.TextPart("Hi"),)
    late = streamed(BEGIN, ended()[0], delta(0, {"text": "more"}), start(1, {"toolUse": {}}), ended()[0])
    assert ir.accumulate(late).choices[0].parts == ()


@pytest.mark.parametrize(
    ("name", "status", "kind", "failure"),
    [
        ("throttlingException", 429, "rate_limited", "rate_limit"),
        ("modelStreamErrorException", 500, "server_error", "transient"),
        ("internalServerException", 500, "server_error", "transient"),
        ("validationException", 400, "bad_request", "caller_fault"),
        ("serviceUnavailableException", 503, "overloaded", "overloaded"),
        ("modelTimeoutException", 504, "upstream_timeout", "timeout"),
        ("somethingNewException", 500, "server_error", "transient"),
    ],
)
def test_an_exception_in_a_stream_is_its_end(name: str, status: int, kind: str, failure: str) -> None:
    told: tuple[str, JSONValue] = ("exception", {"__type": name, "message": "no luck"})
    events = streamed(BEGIN, delta(0, {"text": "Hi"}), told, *ended())
    last = events[-1]
    assert isinstance(last, ir.StreamFault)
    assert (last.error.message, last.error.status) == ("no luck", status)
    assert (last.error.kind, last.error.failure) == (kind, failure)
    after_the_stop = streamed(BEGIN, delta(0, {"text": "Hi"}), ended()[0], told)[-1]
    assert isinstance(after_the_stop, ir.StreamFault)


def test_a_frame_that_is_no_json_is_a_fault() -> None:
    decoder = CODEC.stream_decoder()
    (fault,) = decoder.feed(ServerSentEvent(b"not json", "messageStart"))
    assert isinstance(fault, ir.StreamFault) and list(decoder.close()) == []


def test_members_nobody_knows_are_passed_over() -> None:
    frames: list[Any] = [("pingEvent", {}), delta(0, {"text": "Hi", "p": "abcd"}), delta(0, {"text": None})]
    assert told_by(*frames, stop(0), stop(7)) == (ir.TextPart("Hi"),)
    assert as_object(parts({"futureContent": {"a": 1}})[0].raw) == {"futureContent": {"a": 1}}  # type: ignore[union-attr]
