"""Streams of Chat Completions, read: the service's own and those of its imitators."""

from __future__ import annotations

import pytest

from asgi_llmgw.ir import (
    Base64Source,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    StreamFault,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    UsageUpdate,
)
from asgi_llmgw.json import JSONValue
from asgi_llmgw.protocols.openai_chat import CODEC
from asgi_llmgw.sse import ServerSentEvent

from .samples import DONE, answer, chunk, events, fault, frame


def call(
    arguments: JSONValue = None, *, index: int | None = 0, id: str | None = None, name: str | None = None
) -> JSONValue:
    entry: dict[str, JSONValue] = {"function": {"arguments": arguments, "name": name}, "id": id}
    return entry if index is None else {"index": index, **entry}


def calls_of(*entries: list[JSONValue]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that chunks with these entries tell."""
    frames = [chunk({"tool_calls": group}) for group in entries]
    parts = answer(*frames, chunk({}, finish="tool_calls"), DONE).choices[0].parts
    return [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolCallPart)]


def test_text_is_told_piece_by_piece() -> None:
    response = answer(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, finish="stop"),
        DONE,
    )
    assert response.choices[0].parts == (TextPart("Hello"),)
    assert response.choices[0].finish == FinishReason("stop", "stop")
    assert (response.id, response.model, response.created) == ("chatcmpl-1", "m", 1)


def test_interleaved_arguments_of_parallel_calls_stay_apart() -> None:
    """P1, S2, F155."""
    assert calls_of(
        [call("", id="a", name="f"), call("", index=1, id="b", name="g")],
        [call('{"x"')],
        [call('{"y"', index=1)],
        [call(":1}")],
        [call(":2}", index=1)],
    ) == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


def test_new_id_at_a_used_index_is_a_new_call() -> None:
    """P2, S3."""
    assert calls_of([call('{"x":1}', id="a", name="f")], [call('{"y":', id="b", name="g")], [call("2}")]) == [
        ("a", "f", '{"x":1}'),
        ("b", "g", '{"y":2}'),
    ]


def test_known_id_at_a_shared_index_continues_its_call() -> None:
    """S3: some servers say index 0 for every call and repeat the ids."""
    assert calls_of(
        [call("1", id="a", name="f")], [call("2", id="b", name="g")], [call("3", id="a")], [call("4", id="b")]
    ) == [("a", "f", "13"), ("b", "g", "24")]


def test_missing_index_goes_by_id_then_by_position() -> None:
    """S3, S14."""
    assert calls_of(
        [call("{", index=None, id="a", name="f"), call("{", index=None, id="b", name="g")],
        [call("}", index=None), call("}", index=None)],
    ) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_calls_without_ids_at_one_index_are_told_apart_by_their_names() -> None:
    """S1, S5: Google's layer gives neither ids nor indexes of their own."""
    assert calls_of([call('{"c":1}', id="", name="f")], [call('{"c":2}', id="", name="f")], [call("{}", name="g")]) == [
        ("", "f", '{"c":1}'),
        ("", "f", '{"c":2}'),
        ("", "g", "{}"),
    ]


def test_repeated_name_with_each_fragment_is_one_call() -> None:
    """S1, the other way round."""
    assert calls_of([call('{"a"', name="f")], [call(":1}", name="f")]) == [("", "f", '{"a":1}')]


def test_late_name_holds_the_call_back() -> None:
    """S9."""
    assert calls_of([call('{"a":', id="x")], [call("1}", name="f")]) == [("x", "f", '{"a":1}')]


def test_call_whose_name_never_comes_is_not_lost() -> None:
    """S9."""
    assert calls_of([call('{"a":1}', id="x")]) == [("x", "unknown_tool", '{"a":1}')]


def test_arguments_as_an_object_become_text() -> None:
    assert calls_of([call({"a": [1]}, id="x", name="f")]) == [("x", "f", '{"a":[1]}')]


def test_empty_arguments_stay_empty() -> None:
    """S15."""
    assert calls_of([call("", id="x", name="f")]) == [("x", "f", "")]


def test_empty_content_between_fragments_says_nothing() -> None:
    """S8, S7."""
    response = answer(
        chunk({"content": "Hi", "tool_calls": [call("{", id="x", name="f")]}),
        chunk({"content": ""}),
        chunk({"content": "", "tool_calls": [call("}")]}),
        chunk({}, finish="tool_calls"),
        DONE,
    )
    assert response.choices[0].parts == (TextPart("Hi"), ToolCallPart("x", "f", "{}"))


def test_custom_tool_call_has_free_text() -> None:
    response = answer(
        chunk({"tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "run", "input": "ls"}}]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": " -l"}}]}),
        chunk({}, finish="tool_calls"),
        DONE,
    )
    assert response.choices[0].parts == (ToolCallPart("x", "run", "ls -l", "custom"),)


def test_legacy_function_call_is_a_call() -> None:
    response = answer(
        chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk({}, finish="function_call"),
        DONE,
    )
    assert response.choices[0].parts == (ToolCallPart("", "f", "{}"),)
    assert response.choices[0].finish.kind == "tool_calls"
    assert response.legacy_functions


@pytest.mark.parametrize(
    ("finish", "kind"),
    [("stop", "tool_calls"), ("length", "length"), ("tool_calls", "tool_calls"), ("odd", "tool_calls")],
)
def test_turn_with_a_call_asks_for_its_result_unless_cut(finish: str, kind: str) -> None:
    """P3, T1, S10, trap 18."""
    response = answer(chunk({"tool_calls": [call("{}", id="x", name="f")]}), chunk({}, finish=finish), DONE)
    assert response.choices[0].finish == FinishReason(kind, finish)  # type: ignore[arg-type]


def test_unknown_finish_reason_is_other() -> None:
    response = answer(chunk({"content": "a"}, finish="bored"), DONE)
    assert response.choices[0].finish == FinishReason("other", "bored")


def test_empty_finish_reason_is_none() -> None:
    """T4."""
    assert answer(chunk({"content": "a"}, finish=""), chunk({"content": "b"}, finish="stop"), DONE).choices[
        0
    ].parts == (TextPart("ab"),)


def test_done_without_a_finish_is_whole() -> None:
    """T8."""
    assert answer(chunk({"content": "a"}), DONE).choices[0].finish == FinishReason("stop", None)


def test_finish_without_done_is_whole() -> None:
    """F148."""
    told = events([chunk({"content": "a"}), chunk({}, finish="stop")])
    assert isinstance(told[-1], ResponseEnd)


def test_bytes_that_end_early_are_a_fault() -> None:
    """P4, T9, F149."""
    error = fault(chunk({"content": "a"})).error
    assert error.failure == "invalid_response"


def test_one_of_two_choices_unfinished_is_a_fault() -> None:
    """T9."""
    assert fault(chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}, index=1))


@pytest.mark.parametrize("frames", [(), (DONE,), (frame({"choices": [], "id": "x"}), DONE)])
def test_stream_without_an_answer_is_a_fault(frames: tuple[ServerSentEvent, ...]) -> None:
    """F150."""
    assert fault(*frames).error.kind == "upstream_invalid_response"


def test_what_follows_done_is_ignored() -> None:
    """T10, F151."""
    decoder = CODEC.stream_decoder()
    list(decoder.feed(chunk({"content": "a"}, finish="stop")))
    assert list(decoder.feed(DONE))
    assert not list(decoder.feed(chunk({"content": "b"})))
    assert not list(decoder.feed(DONE))
    assert not list(decoder.close())


def test_content_after_the_finish_counts_and_the_finish_is_told_once() -> None:
    """F152, T3."""
    response = answer(chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}, finish="length"), DONE)
    assert response.choices[0].parts == (TextPart("ab"),)
    assert response.choices[0].finish.kind == "length"


def test_last_usage_wins_wherever_it_stands() -> None:
    """F153, U2, U6."""
    response = answer(
        chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}),
        chunk({}, finish="stop", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        frame({"choices": [], "usage": None}),
        DONE,
    )
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


def test_usage_in_a_chunk_of_its_own_is_read() -> None:
    """U2."""
    told = events([chunk({"content": "a"}, finish="stop"), frame({"choices": [], "usage": {"prompt_tokens": 1}}), DONE])
    assert [event.usage.input_tokens for event in told if isinstance(event, UsageUpdate)] == [1]


@pytest.mark.parametrize(
    ("error", "kind", "failure"),
    [
        ({"message": "slow down", "type": "tokens", "code": "rate_limit_exceeded"}, "rate_limited", "rate_limit"),
        ({"message": "broken", "type": "server_error"}, "server_error", "transient"),
        ({"message": "no", "code": 429}, "rate_limited", "rate_limit"),
        ({"message": "bad", "type": "invalid_request_error"}, "bad_request", "caller_fault"),
    ],
)
def test_error_frame_is_a_fault_with_its_meaning(error: JSONValue, kind: str, failure: str) -> None:
    """F146, F147."""
    got = fault(chunk({"content": "a"}), frame({"error": error})).error
    assert (got.kind, got.failure) == (kind, failure)
    assert got.retryable == (failure != "caller_fault")


def test_error_of_one_choice_is_a_fault() -> None:
    """F147."""
    bad: JSONValue = {"index": 0, "error": {"code": 503, "message": "full"}, "finish_reason": "error"}
    assert fault(frame({"id": "1", "choices": [bad]})).error.kind == "overloaded"


@pytest.mark.parametrize("data", [b"{", b"[]", b"<html>", b"null"])
def test_frame_that_is_no_chunk_is_a_fault(data: bytes) -> None:
    """F156."""
    assert isinstance(events([ServerSentEvent(data)])[-1], StreamFault)


def test_choices_may_interleave() -> None:
    """F154."""
    response = answer(
        chunk({"content": "a"}),
        chunk({"content": "x"}, index=1),
        chunk({"content": "b"}),
        chunk({}, index=1, finish="length"),
        chunk({}, finish="stop"),
        DONE,
    )
    assert [(c.index, c.parts, c.finish.kind) for c in response.choices] == [
        (0, (TextPart("ab"),), "stop"),
        (1, (TextPart("x"),), "length"),
    ]


@pytest.mark.parametrize("delta", [None, {}, {"role": "assistant"}, {"content": None, "tool_calls": None}])
def test_empty_deltas_say_nothing(delta: JSONValue) -> None:
    """F154."""
    assert answer(chunk(delta), chunk({"content": "a"}, finish="stop"), DONE).choices[0].parts == (TextPart("a"),)


def test_first_chunk_without_choices_does_not_start_the_answer() -> None:
    """F154: Azure begins with the prompt's filter results."""
    azure = frame({"choices": [], "id": "", "model": "", "prompt_filter_results": []})
    assert answer(azure, chunk({"content": "a"}, finish="stop"), DONE).id == "chatcmpl-1"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_text_is_a_part_before_the_text(field: str) -> None:
    """T12, T13."""
    response = answer(
        chunk({field: "hm"}), chunk({field: "m"}), chunk({"content": "a", field: None}), chunk({}, finish="stop"), DONE
    )
    assert response.choices[0].parts == (ReasoningPart("hmm"), TextPart("a"))


def test_order_of_text_and_reasoning_is_kept() -> None:
    """T14, T23."""
    response = answer(
        chunk({"content": "a"}), chunk({"reasoning_content": "b"}), chunk({"content": "c"}, finish="stop"), DONE
    )
    assert response.choices[0].parts == (TextPart("a"), ReasoningPart("b"), TextPart("c"))


def test_signature_in_reasoning_details_closes_the_thought() -> None:
    """Both fields tell the same text, which counts once."""
    form = "anthropic-claude-v1"
    response = answer(
        chunk({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "format": form}]}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "sig", "format": form}]}),
        chunk({"content": "a"}, finish="stop"),
        DONE,
    )
    assert response.choices[0].parts == (
        ReasoningPart("hm", Opaque("anthropic_messages", "signature", "sig")),
        TextPart("a"),
    )


def test_google_signature_on_a_call_is_kept() -> None:
    entry: JSONValue = {
        "index": 0,
        "id": "x",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "sig"}},
    }
    response = answer(chunk({"tool_calls": [entry]}, finish="tool_calls"), DONE)
    signature = Opaque("gemini_generate", "thought_signature", "sig")
    assert response.choices[0].parts == (ToolCallPart("x", "f", "{}", signature=signature),)


def test_refusal_annotations_logprobs_audio_and_images_are_read() -> None:
    note: JSONValue = {"type": "url_citation", "url_citation": {"url": "http://a", "title": "A"}}
    token: JSONValue = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    choice: JSONValue = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}}
    response = answer(
        frame({"id": "1", "choices": [choice]}),
        chunk({"refusal": "no"}),
        chunk({"annotations": [note]}),
        chunk({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}),
        chunk({"audio": {"id": "1", "data": "AA=="}}),
        chunk({"audio": {"data": "AQ==", "transcript": "hm"}}, finish="stop"),
        DONE,
    )
    parts = response.choices[0].parts
    assert parts[:2] == (TextPart("a"), RefusalPart("no"))
    assert isinstance(parts[2], CitationPart)
    assert parts[2].url == "http://a"
    assert parts[3] == MediaPart("image", Base64Source("AAAA"), "image/png")
    assert parts[4] == MediaPart("audio", Base64Source("AAE="), transcript="hm")
    assert response.choices[0].logprobs == (TokenLogprob("a", -0.5, (97,)),)
