"""Streams of Responses, written."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    Base64Source,
    ChatRequest,
    ChatResponse,
    Choice,
    ChoiceEnd,
    CitationPart,
    Extension,
    FinishKind,
    FinishReason,
    MediaPart,
    Message,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    Reasoning,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    Sampling,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolInputDelta,
    UnknownPart,
    Usage,
    UsageUpdate,
    explode,
)
from asgi_llmgw.json import JSONObject, as_list, as_object, loads_object
from asgi_llmgw.protocols.openai_responses import CODEC
from tests.protocols.openai_responses.samples import counting, encode_answer, encode_stream, kinds, streamed

USAGE = Usage(input_tokens=7, output_tokens=5, cache_read_tokens=2, reasoning_tokens=3)


def answer(*parts: OutputPart, kind: FinishKind = "stop", detail: str | None = None) -> ChatResponse:
    finish = FinishReason(kind, detail=detail)
    return ChatResponse((Choice(parts, finish),), id="resp_1", model="m", created=5, usage=USAGE)


def items(events: list[JSONObject]) -> list[JSONObject]:
    """The output of the last response object."""
    return [as_object(item) for item in as_list(as_object(events[-1]["response"])["output"])]


def only(events: list[JSONObject], kind: str) -> list[JSONObject]:
    return [event for event in events if event["type"] == f"response.{kind}"]


def test_thoughts_text_and_a_call_are_told_in_full() -> None:
    """T16 T17 C9: every event of the sequence, one id for each item, places counted by item (T18)."""
    thought = ReasoningPart("Hm.", Opaque("openai_responses", "encrypted", "state"))
    call = ToolCallPart("call_1", "look_up", '{"a":1}')
    events = streamed(answer(thought, TextPart("Let me see."), call, kind="tool_calls"))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    inner = [(event["output_index"], event.get("item_id") or as_object(event["item"])["id"]) for event in events[2:-1]]
    assert inner == [(0, "rs_1")] * 6 + [(1, "msg_2")] * 6 + [(2, "fc_3")] * 4
    assert items(events) == [event["item"] for event in only(events, "output_item.done")]
    assert items(events) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "state",
        },
        {
            "type": "message",
            "id": "msg_2",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}],
        },
        {
            "type": "function_call",
            "id": "fc_3",
            "call_id": "call_1",
            "name": "look_up",
            "arguments": '{"a":1}',
            "status": "completed",
        },
    ]


def test_items_begin_empty() -> None:
    call = ToolCallPart("call_1", "look_up", "{}")
    added = only(streamed(answer(ReasoningPart("Hm."), TextPart("a"), call)), "output_item.added")
    begun = [as_object(event["item"]) for event in added]
    assert [item.get("status") for item in begun] == [None, "in_progress", "in_progress"]
    assert (begun[0]["summary"], begun[1]["content"], begun[2]["arguments"]) == ([], [], "")


def test_the_response_object_repeats_the_request() -> None:
    request = ChatRequest(
        "m",
        (Message("system", (TextPart("Be brief."),)),),
        max_output_tokens=50,
        sampling=Sampling(temperature=0.5),
        tools=(Tool("look_up", None, {"type": "object"}),),
        tool_choice=ToolChoice("required", ("look_up",)),
        parallel_tool_calls=False,
        reasoning=Reasoning("low", visible=True),
        verbosity="low",
        metadata={"a": "b"},
    )
    first, *_, last = streamed(answer(TextPart("a")), counting(model="alias", request=request))
    begun, ended = as_object(first["response"]), as_object(last["response"])
    expected: JSONObject = {
        "id": "resp_1",
        "model": "alias",
        "created_at": 5,
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 1.0,
        "tools": [{"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}],
        "tool_choice": {"type": "function", "name": "look_up"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "metadata": {"a": "b"},
        "store": False,
        "previous_response_id": None,
    }
    assert {key: begun[key] for key in expected} == expected
    assert begun.keys() == ended.keys()
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert (ended["status"], ended["completed_at"]) == ("completed", 1_700_000_000)
    assert ended["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 12,
    }


def test_usage_that_nobody_told_is_zero_and_said() -> None:
    """T22: the object is mandatory for strict clients."""
    encoder = CODEC.stream_encoder(counting())
    events: list[StreamEvent] = [ResponseStart(), ChoiceEnd(FinishReason("stop")), ResponseEnd()]
    frames = [frame for event in events for frame in encoder.feed(event)]
    assert as_object(loads_object(frames[-1].data)["response"])["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    assert [item.path for item in encoder.diagnostics] == ["usage"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
@pytest.mark.parametrize("part", [TextPart("a"), ToolCallPart("call_1", "look_up", '{"a":')])
def test_an_answer_that_was_cut_is_incomplete_and_so_is_its_last_item(
    kind: FinishKind, reason: str, part: OutputPart
) -> None:
    """S10 S11"""
    events = streamed(answer(ReasoningPart("Hm."), part, kind=kind))
    response = as_object(events[-1]["response"])
    assert events[-1]["type"] == "response.incomplete"
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert (items(events)[-1]["status"], response["completed_at"]) == ("incomplete", None)


def test_the_words_of_a_filter_are_a_refusal() -> None:
    """T7"""
    events = streamed(answer(TextPart("I"), kind="content_filter", detail="Not that."))
    assert as_list(items(events)[0]["content"])[1:] == [{"type": "refusal", "refusal": "Not that."}]


def test_a_refusal_has_events_of_its_own() -> None:
    events = streamed(answer(RefusalPart("No.")))
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]
    assert events[3]["part"] == {"type": "refusal", "refusal": ""}
    assert events[-1]["type"] == "response.completed"


def test_the_text_of_an_answer_is_one_message_however_many_parts_it_came_in() -> None:
    """T24: joined verbatim; the SDKs read each content part of a structured answer as JSON of its own."""
    (item,) = items(streamed(answer(TextPart('{"a":'), TextPart("1}"))))
    assert [as_object(part)["text"] for part in as_list(item["content"])] == ['{"a":1}']


def test_phases_are_messages_of_their_own() -> None:
    found = items(streamed(answer(TextPart("a", phase="commentary"), TextPart("b", phase="final_answer"))))
    assert [item["phase"] for item in found] == ["commentary", "final_answer"]


def test_text_after_thoughts_after_text_keeps_its_order() -> None:
    """T23"""
    found = items(streamed(answer(TextPart("a"), ReasoningPart("b"), TextPart("c"))))
    assert [item["type"] for item in found] == ["message", "reasoning", "message"]


def test_empty_parts_are_nothing() -> None:
    """S8"""
    assert items(streamed(answer(TextPart(""), ReasoningPart("")))) == []
    assert kinds(streamed(answer())) == ["created", "in_progress", "completed"]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """I8 S15"""
    events = streamed(answer(ToolCallPart("", "look_up", "")))
    assert items(events)[0]["arguments"] == "{}"
    assert items(events)[0]["call_id"] == "call_1"
    assert [event["delta"] for event in only(events, "function_call_arguments.delta")] == ["{}"]


def test_a_custom_call_has_input() -> None:
    events = streamed(answer(ToolCallPart("call_1", "patch", "*** Begin", "custom")))
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    expected = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "patch", "input": "*** Begin"}
    assert items(events) == [expected]


def test_a_call_of_a_namespaced_tool_is_told_as_the_client_knows_it() -> None:
    """clients 13"""
    names: JSONObject = {"mail__send": {"namespace": "mail", "name": "send"}}
    request = ChatRequest("m", (), extensions=(Extension("openai_responses", "namespaces", names, "info"),))
    (item,) = items(streamed(answer(ToolCallPart("call_1", "mail__send", "{}")), counting(request=request)))
    assert (item["namespace"], item["name"]) == ("mail", "send")


def test_interleaved_calls_come_one_after_the_other() -> None:
    """P1 S2: the second waits until the first is complete."""
    first, second = ToolCallPart("call_1", "a", ""), ToolCallPart("call_2", "b", "")
    events = encode_stream(
        [
            ResponseStart(),
            PartStart(0, first),
            PartStart(1, second),
            ToolInputDelta(1, '{"y"'),
            ToolInputDelta(0, '{"x"'),
            ToolInputDelta(1, ":1}"),
            ToolInputDelta(0, ":2}"),
            PartEnd(1),
            PartEnd(0),
            ChoiceEnd(FinishReason("tool_calls")),
            ResponseEnd(),
        ]
    )
    assert [event["output_index"] for event in events[2:-1]] == [0] * 5 + [1] * 5
    assert [item["arguments"] for item in items(events)] == ['{"x":2}', '{"y":1}']


def test_sources_stand_in_the_text_they_belong_to() -> None:
    """Offsets of a source count from the beginning of the whole answer, here from the beginning of the text."""
    source = CitationPart("https://example.com", "Example", start=5, end=7)
    events = streamed(answer(TextPart("one"), ReasoningPart("Hm."), TextPart("two three"), source, TextPart(".")))
    (note,) = only(events, "output_text.annotation.added")
    expected = {
        "type": "url_citation",
        "url": "https://example.com",
        "title": "Example",
        "start_index": 2,
        "end_index": 4,
    }
    assert (note["annotation"], note["annotation_index"], note["content_index"]) == (expected, 0, 0)
    (content,) = as_list(items(events)[-1]["content"])
    assert as_object(content) == {
        "type": "output_text",
        "text": "two three.",
        "annotations": [expected],
        "logprobs": [],
    }


def test_log_probabilities_are_told_with_the_text() -> None:
    token = TokenLogprob("a", -0.5, (97,), (TokenLogprob("b", -1.0, (98,)),))
    told = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": [98]}],
    }
    response = ChatResponse((Choice((TextPart("a"),), FinishReason("stop"), logprobs=(token,)),))
    events = streamed(response)
    assert [event["logprobs"] for event in only(events, "output_text.delta")] == [[told]]
    assert [event["logprobs"] for event in only(events, "output_text.done")] == [[told]]


def test_a_picture_is_an_image_generation_call() -> None:
    (item,) = items(streamed(answer(MediaPart("image", Base64Source("aGk="), "image/webp"))))
    expected = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "aGk=",
        "output_format": "webp",
    }
    assert item == expected


def test_what_responses_cannot_say_is_said_to_be_lost() -> None:
    encoder = CODEC.stream_encoder(counting())
    parts = (
        MediaPart("audio", Base64Source("aGk=")),
        UnknownPart("anthropic_messages", {"type": "x"}, "x"),
        CitationPart("https://example.com"),
    )
    for event in explode(answer(*parts)):
        list(encoder.feed(event))
    assert [item.path for item in encoder.diagnostics] == ["parts[0]", "parts[1]", "parts[2]"]


def test_items_of_openais_own_are_told_as_they_were() -> None:
    raw: JSONObject = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert items(streamed(answer(UnknownPart("openai_responses", raw, "web_search_call")))) == [raw]


@pytest.mark.parametrize("late", [False, True])
def test_openais_own_state_is_told_when_the_thought_is_whole(late: bool) -> None:
    opaque = Opaque("openai_responses", "encrypted", "state")
    events = encode_stream(
        [
            ResponseStart(),
            PartStart(0, ReasoningPart("", None if late else opaque)),
            ReasoningDelta(0, "Hm."),
            PartEnd(0, opaque if late else None),
            ChoiceEnd(FinishReason("stop")),
            ResponseEnd(),
        ]
    )
    assert items(events)[0]["encrypted_content"] == "state"
    assert "encrypted_content" not in as_object(only(events, "output_item.added")[0]["item"])


def test_another_vendors_state_is_never_taken_for_openais() -> None:
    """R12: it is left out, and said to be."""
    signature = Opaque("gemini_generate", "thought_signature", "x")
    parts = (
        ReasoningPart("Hm.", Opaque("anthropic_messages", "signature", "sig")),
        ReasoningPart("", Opaque("anthropic_messages", "redacted", "data")),
        TextPart("a", signature=signature),
        ToolCallPart("call_1", "b", "{}", signature=signature),
    )
    encoder = CODEC.stream_encoder(counting())
    frames = [frame for event in explode(answer(*parts)) for frame in encoder.feed(event)]
    assert not [frame for frame in frames if b"encrypted_content" in frame.data]
    assert {(item.code, item.severity) for item in encoder.diagnostics} == {("dropped", "info")}


def test_thoughts_nobody_wants_are_not_shown_but_their_state_is_kept() -> None:
    opaque = Opaque("openai_responses", "encrypted", "state", "rs_own")
    parts = (ReasoningPart("Hm."), ReasoningPart("Aha.", opaque), TextPart("a"))
    found = items(streamed(answer(*parts), counting(include_thoughts=False)))
    assert found[0] == {"type": "reasoning", "id": "rs_own", "summary": [], "encrypted_content": "state"}
    assert [item["type"] for item in found] == ["reasoning", "message"]


def test_a_stream_that_breaks_says_so_twice() -> None:
    """T9 T19 F14 trap 14: the nested error makes the SDKs raise; what was said stays in the failed response."""
    error = UpstreamError("Slow down.", failure="rate_limit", kind="rate_limited")
    events = encode_stream(
        [ResponseStart("resp_1"), PartStart(0, TextPart("")), TextDelta(0, "Hel"), StreamFault(error)]
    )
    assert kinds(events)[-2:] == ["error", "failed"]
    told = as_object(events[-2]["error"])
    assert told == {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    response = as_object(events[-1]["response"])
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "rate_limit_exceeded", "message": "Slow down."},
    )
    assert (items(events)[0]["status"], as_list(items(events)[0]["content"])) == (
        "incomplete",
        [{"type": "output_text", "text": "Hel", "annotations": [], "logprobs": []}],
    )


def test_a_call_that_broke_is_not_told_again() -> None:
    """A client must not run it."""
    events = encode_stream([ResponseStart(), PartStart(0, ToolCallPart("c", "a", "")), ToolInputDelta(0, '{"x')])
    assert kinds(events)[-2:] == ["error", "failed"]
    assert items(events) == []
    assert "output_item.done" not in kinds(events)


def test_a_stream_that_just_stops_is_not_made_to_look_whole() -> None:
    assert kinds(encode_stream([])) == ["error", "failed"]
    assert kinds(encode_stream([ResponseStart()]))[-2:] == ["error", "failed"]


def test_an_answer_that_ended_in_an_error_is_failed() -> None:
    events = streamed(answer(TextPart("a"), kind="error", detail="The call was malformed."))
    assert as_object(events[-1]["response"])["error"] == {"code": "server_error", "message": "The call was malformed."}


def test_nothing_follows_the_end() -> None:
    """T10"""
    events = [*explode(answer(TextPart("a"))), UsageUpdate(Usage()), PartStart(9, TextPart("b"))]
    assert kinds(encode_stream(events))[-1] == "completed"


def test_only_the_first_of_several_choices_is_told() -> None:
    choices = tuple(Choice((TextPart(text),), FinishReason("stop"), index) for index, text in enumerate("ab"))
    encoder = CODEC.stream_encoder(counting())
    frames = [frame for event in explode(ChatResponse(choices, usage=USAGE)) for frame in encoder.feed(event)]
    (item,) = as_list(as_object(loads_object(frames[-1].data)["response"])["output"])
    assert [as_object(part)["text"] for part in as_list(as_object(item)["content"])] == ["a"]
    assert [item.path for item in encoder.diagnostics] == ["choices[1]"]


def test_a_whole_answer_is_what_its_stream_ends_with() -> None:
    """Law 2"""
    response = answer(ReasoningPart("Hm."), TextPart("a"), ToolCallPart("call_1", "b", "{}"), kind="tool_calls")
    assert encode_answer(response) == streamed(response)[-1]["response"]
