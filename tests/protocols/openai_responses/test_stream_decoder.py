"""Streams of Responses, read."""

from __future__ import annotations

import pytest

from asgi_llmgw.ir import (
    Base64Source,
    ChoiceEnd,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    PartEnd,
    PartStart,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    StreamFault,
    TextDelta,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    UnknownPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.openai_responses.stream_decoder import ResponsesStreamDecoder
from asgi_llmgw.sse import ServerSentEvent
from tests.protocols.openai_responses.samples import CREATED, call, completed, fault, frame, heard, message, told

TEXT: JSONObject = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE = message("assistant", TEXT, id="msg_1")


def added(item: JSONObject, place: int = 0) -> ServerSentEvent:
    return frame("response.output_item.added", output_index=place, item=item)


def done(item: JSONObject, place: int = 0) -> ServerSentEvent:
    return frame("response.output_item.done", output_index=place, item=item)


def delta(text: str, place: int = 0, content: int = 0, **fields: JSONValue) -> ServerSentEvent:
    return frame("response.output_text.delta", output_index=place, content_index=content, delta=text, **fields)


def test_a_text_is_told_from_its_beginning_to_its_end() -> None:
    usage: JSONObject = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    }
    events = told(
        [CREATED, added(message("assistant")), delta("Hel"), delta("lo"), done(MESSAGE), completed(usage=usage)]
    )
    assert events == [
        ResponseStart("resp_1", "m", 5),
        PartStart(0, TextPart("")),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        PartEnd(0),
        ChoiceEnd(FinishReason("stop", "completed")),
        UsageUpdate(Usage(9, 5, 2, 1, reasoning_tokens=3, raw=usage)),
        ResponseEnd(),
    ]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((delta("Hel"), delta("lo"), completed()), id="no_item_was_announced"),
        pytest.param((frame("response.output_text.done", text="Hello"), completed()), id="done_without_deltas"),
        pytest.param((frame("response.content_part.done", part=TEXT), completed()), id="part_alone"),
        pytest.param((added(message("assistant")), done(MESSAGE), completed()), id="item_alone"),
        pytest.param((completed(MESSAGE),), id="response_alone"),
        pytest.param((added(MESSAGE), delta("Hello"), completed(MESSAGE)), id="item_never_done"),
        pytest.param((delta("Hello"), done(MESSAGE), completed(MESSAGE, MESSAGE)), id="item_told_again"),
        pytest.param((delta("Hello"), done(MESSAGE), done(MESSAGE), delta("!"), completed()), id="words_after_the_end"),
        pytest.param((delta(""), delta("Hello"), frame("keepalive"), frame("response.odd"), completed()), id="noise"),
    ],
)
def test_the_text_is_heard_once_however_it_is_told(frames: tuple[ServerSentEvent, ...]) -> None:
    """S12 C9: deltas count; without them the `done` events and the response object are believed."""
    assert heard(CREATED, *frames).parts == (TextPart("Hello"),)


def test_a_call_is_told_with_its_arguments() -> None:
    events = [
        added(call("call_1", arguments="", id="fc_1")),
        frame("response.function_call_arguments.delta", output_index=0, delta='{"a"'),
        frame("response.function_call_arguments.delta", output_index=0, delta=":1}"),
        frame("response.function_call_arguments.done", output_index=0, arguments='{"a":1}'),
        done(call("call_1", arguments='{"a":1}', id="fc_1")),
    ]
    choice = heard(CREATED, *events, completed())
    assert choice.parts == (ToolCallPart("call_1", "look_up", '{"a":1}'),)
    assert choice.finish == FinishReason("tool_calls", "completed")


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(
            (frame("response.function_call_arguments.done", output_index=0, arguments='{"a":1}'),), id="arguments_done"
        ),
        pytest.param((done(call("call_1", arguments='{"a":1}')),), id="item_done"),
        pytest.param((completed(call("call_1", arguments='{"a":1}')),), id="response"),
    ],
)
def test_arguments_without_deltas_are_not_lost(frames: tuple[ServerSentEvent, ...]) -> None:
    """S12: `arguments` became `{}` when a server sent the `done` event alone."""
    assert heard(CREATED, added(call("call_1", arguments="")), *frames, completed()).parts == (
        ToolCallPart("call_1", "look_up", '{"a":1}'),
    )


def test_calls_that_interleave_keep_apart() -> None:
    """S2"""
    frames = [added(call("a"), 0), added(call("b"), 1)]
    for place, text in ((1, "[1"), (0, "[0"), (1, "]"), (0, "]")):
        frames.append(frame("response.function_call_arguments.delta", output_index=place, delta=text))
    parts = heard(CREATED, *frames, done(call("b"), 1), done(call("a"), 0), completed()).parts
    assert parts == (ToolCallPart("a", "look_up", "[0]"), ToolCallPart("b", "look_up", "[1]"))


def test_a_custom_call_is_told_with_its_input() -> None:
    item: JSONObject = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": ""}
    frames = (added(item), frame("response.custom_tool_call_input.delta", output_index=0, delta="***"), done(item))
    assert heard(CREATED, *frames, completed()).parts == (ToolCallPart("c", "patch", "***", "custom"),)


def test_thoughts_are_one_part_with_their_state_at_the_end() -> None:
    def summary(place: int, text: str) -> ServerSentEvent:
        return frame("response.reasoning_summary_text.delta", output_index=0, summary_index=place, delta=text)

    final: JSONObject = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "state"}
    frames = (
        added({"type": "reasoning", "id": "rs_1"}),
        summary(0, "On"),
        summary(0, "e"),
        summary(1, "Two"),
        done(final),
    )
    assert heard(CREATED, *frames, completed()).parts == (
        ReasoningPart("One\n\nTwo", Opaque("openai_responses", "encrypted", "state", "rs_1")),
    )


def test_raw_thoughts_are_thoughts_unless_a_summary_says_the_same() -> None:
    raw = frame("response.reasoning_text.delta", output_index=0, content_index=0, delta="Hm.")
    again = frame("response.reasoning_summary_text.delta", output_index=0, summary_index=0, delta="Hm.")
    final: JSONObject = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert heard(CREATED, added(final), raw, again, done(final), completed()).parts == (ReasoningPart("Hm."),)


def test_a_refusal_is_told() -> None:
    frames = (
        frame("response.refusal.delta", output_index=0, content_index=0, delta="N"),
        frame("response.refusal.delta", output_index=0, content_index=0, delta="o."),
        frame("response.refusal.done", output_index=0, content_index=0, refusal="No."),
    )
    assert heard(CREATED, *frames, completed()).parts == (RefusalPart("No."),)


def test_sources_are_placed_in_the_whole_answer_and_told_once() -> None:
    note: JSONObject = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}
    content: JSONObject = {"type": "output_text", "text": "bb", "annotations": [note, note], "logprobs": []}
    frames = (
        delta("aaa", 0),
        done(message("assistant", {"type": "output_text", "text": "aaa"}), 0),
        delta("bb", 1),
        frame("response.output_text.annotation.added", output_index=1, content_index=0, annotation=note),
        frame("response.content_part.done", output_index=1, content_index=0, part=content),
        done(message("assistant", content), 1),
    )
    source = CitationPart("u", "t", 3, 5, protocol="openai_responses", raw=note)
    assert heard(CREATED, *frames, completed()).parts == (TextPart("aaa"), TextPart("bb"), source, source)


def test_the_words_of_one_part_count_for_the_places_of_sources_in_the_next() -> None:
    cited = frame(
        "response.output_text.annotation.added",
        output_index=0,
        content_index=1,
        annotation={"type": "url_citation", "url": "u", "start_index": 0, "end_index": 1},
    )
    decoder = ResponsesStreamDecoder()
    for one in (CREATED, added(message("assistant")), delta("one "), delta("two ")):
        decoder.feed(one)
    assert decoder.plain
    decoder.more(TextDelta(0, "three "))
    events = [event for one in (delta("x", content=1), cited) for event in decoder.feed(one)]
    (citation,) = [event.part for event in events if isinstance(event, PartStart) and event.index == 2]
    assert isinstance(citation, CitationPart)
    assert citation.start == len("one two three ")


def test_log_probabilities_are_heard() -> None:
    tokens: list[JSONValue] = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
    assert heard(CREATED, delta("a", logprobs=tokens), completed()).logprobs == (TokenLogprob("a", -0.5, (97,)),)


def test_pictures_and_items_of_openais_own_come_whole() -> None:
    picture: JSONObject = {"type": "image_generation_call", "id": "ig", "result": "aGk=", "output_format": "webp"}
    search: JSONObject = {"type": "web_search_call", "id": "ws", "status": "completed"}
    frames = (added({"type": "image_generation_call"}), done(picture), added(search, 1), done(search, 1))
    assert heard(CREATED, *frames, completed()).parts == (
        MediaPart("image", Base64Source("aGk="), "image/webp"),
        UnknownPart("openai_responses", search, "web_search_call"),
    )


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "other")],
)
def test_an_incomplete_answer_says_why(reason: str, kind: str) -> None:
    """S13 T19: the limit is not hidden behind the call it cut."""
    response: JSONObject = {"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}
    choice = heard(CREATED, added(call("c")), frame("response.incomplete", response=response))
    assert (choice.finish.kind, choice.finish.raw) == (kind, reason)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Slow."}}, id="nested"),
        pytest.param({"code": "rate_limit_exceeded", "message": "Slow.", "param": None}, id="flat"),
    ],
)
def test_both_shapes_of_an_error_break_the_stream(event: JSONObject) -> None:
    """Trap 14"""
    broken = fault(CREATED, delta("Hel"), frame("error", **event), completed())
    assert (broken.error.message, broken.error.failure) == ("Slow.", "rate_limit")


def test_a_failed_response_breaks_the_stream_and_its_tokens_count() -> None:
    """U10"""
    response: JSONObject = {
        "status": "failed",
        "error": {"code": "server_error", "message": "Oops."},
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    *_, usage, last = told([CREATED, frame("response.failed", response=response)])
    assert isinstance(usage, UsageUpdate)
    assert (usage.usage.input_tokens, usage.usage.output_tokens) == (3, 4)
    assert isinstance(last, StreamFault)
    assert (last.error.message, last.error.failure) == ("Oops.", "transient")


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((), id="nothing"),
        pytest.param((CREATED,), id="only_created"),
        pytest.param((CREATED, delta("Hel")), id="open_text"),
        pytest.param((CREATED, delta("Hello"), done(MESSAGE)), id="no_response_object"),
        pytest.param((CREATED, delta("Hel"), ServerSentEvent(b"[DONE]")), id="done_is_no_end_here"),
        pytest.param((CREATED, ServerSentEvent(b"{broken")), id="not_json"),
        pytest.param((CREATED, ServerSentEvent(b"[1]")), id="not_an_object"),
        pytest.param((ServerSentEvent(b'{"error":{"message":"no"}}'),), id="an_error_without_a_type"),
    ],
)
def test_a_stream_that_was_cut_is_a_fault(frames: tuple[ServerSentEvent, ...]) -> None:
    """T9 F149"""
    assert fault(*frames).error.message


def test_nothing_follows_the_end() -> None:
    """T10"""
    assert heard(CREATED, delta("Hello"), completed(), delta("!"), ServerSentEvent(b"[DONE]")).parts == (
        TextPart("Hello"),
    )
