"""Streams for clients of this protocol."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    ChoiceEnd,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    StreamFault,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from tests.samples import CHAT_ROLE, CHAT_USAGE, DONE, chat_chunk

from .samples import OWN
from .serving import CONTEXT, check, data_of, from_chat, kinds, sdk_stream, told

START = ResponseStart(id="msg_7", model="m")
STOPPED = FinishReason("stop")
USAGE = UsageUpdate(Usage(input_tokens=9, output_tokens=3))


def stream(*events: ir.StreamEvent, finish: FinishReason = STOPPED) -> bytes:
    end: list[ir.StreamEvent] = [ChoiceEnd(finish), USAGE, ResponseEnd()]
    raw = told([START, *events, *end])
    check(raw)
    return raw


def part(
    index: int, opened: ir.OutputPart, *inside: ir.StreamEvent, opaque: Opaque | None = None
) -> list[ir.StreamEvent]:
    return [PartStart(index, opened), *inside, PartEnd(index, opaque)]


def text(index: int, *words: str) -> list[ir.StreamEvent]:
    return part(index, TextPart(""), *(TextDelta(index, word) for word in words))


def call(index: int, *fragments: str, name: str = "look", kind: str = "function") -> list[ir.StreamEvent]:
    opened = msgspec.structs.replace(ToolCallPart(f"call_{index}", name, ""), kind=kind)
    return part(index, opened, *(ToolInputDelta(index, fragment) for fragment in fragments))


def chat_call(index: int, id: str | None, name: str | None, arguments: str) -> bytes:
    function: JSONObject = {"arguments": arguments, **({"name": name} if name else {})}
    entry: JSONObject = {"index": index, "function": function, **({"id": id, "type": "function"} if id else {})}
    return chat_chunk({"tool_calls": [entry]})


def blocks(raw: bytes) -> list[JSONObject]:
    return [as_object(block) for block in as_list(sdk_stream(raw)["content"])]


def inputs(raw: bytes) -> list[tuple[JSONValue, JSONValue]]:
    return [(block["name"], block["input"]) for block in blocks(raw) if block["type"] == "tool_use"]


def last(raw: bytes) -> JSONObject:
    return next(event for event in data_of(raw) if event["type"] == "message_delta")


def reason(raw: bytes) -> JSONValue:
    return as_object(last(raw)["delta"])["stop_reason"]


def notes(events: Iterable[ir.StreamEvent]) -> list[tuple[str, str, str]]:
    encoder = CODEC.stream_encoder(CONTEXT)
    for event in events:
        for _ in encoder.feed(event):
            pass
    return [(note.path, note.code, note.severity) for note in encoder.diagnostics]


def test_a_stream_of_text_is_told_event_by_event() -> None:
    """§4.4, trap 6"""
    raw = stream(*text(0, "Hel", "lo"))
    assert raw == (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"id":"msg_7","type":"message","role":"assistant","model":"smart",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,'
        b'"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"output_tokens":1}}}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":9,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,'
        b'"output_tokens":3}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_parallel_calls_are_blocks_of_their_own() -> None:
    """P0 S1 S4"""
    raw = from_chat(
        CHAT_ROLE,
        chat_call(0, "call_a", "f", ""),
        chat_call(0, None, None, '{"x":1}'),
        chat_call(1, "call_b", "g", ""),
        chat_call(1, None, None, '{"y":2}'),
        chat_chunk({}, "tool_calls"),
        DONE,
    )
    check(raw)
    assert inputs(raw) == [("f", {"x": 1}), ("g", {"y": 2})]
    assert reason(raw) == "tool_use"


def test_interleaved_arguments_are_put_in_a_row() -> None:
    """P1 S2"""
    raw = from_chat(
        CHAT_ROLE,
        chat_call(0, "call_a", "f", '{"x"'),
        chat_call(1, "call_b", "g", '{"y"'),
        chat_call(0, None, None, ":1}"),
        chat_call(1, None, None, ":2}"),
        chat_chunk({}, "tool_calls"),
        DONE,
    )
    check(raw)
    assert inputs(raw) == [("f", {"x": 1}), ("g", {"y": 2})]


def test_a_new_id_at_the_same_index_is_a_new_call() -> None:
    """P2 S3"""
    raw = from_chat(
        CHAT_ROLE,
        chat_call(0, "call_a", "f", '{"x":1}'),
        chat_call(0, "call_b", "g", '{"y":2}'),
        chat_chunk({}, "tool_calls"),
        DONE,
    )
    check(raw)
    assert inputs(raw) == [("f", {"x": 1}), ("g", {"y": 2})]


def test_a_call_ends_in_tool_use_whatever_the_vendor_calls_it() -> None:
    """P3 T5, trap 18"""
    raw = from_chat(CHAT_ROLE, chat_call(0, "call_a", "f", "{}"), chat_chunk({}, "stop"), DONE)
    assert reason(raw) == "tool_use"


def test_a_body_without_an_end_is_an_error() -> None:
    """P4 T9: told in our words, without class names."""
    raw = from_chat(CHAT_ROLE, chat_chunk({"content": "Hel"}))
    check(raw)
    *_, error = data_of(raw)
    assert as_object(error["error"])["type"] == "api_error"
    assert "Error" not in str(as_object(error["error"])["message"])


@pytest.mark.parametrize("finish", ["length", "tool_calls"])
def test_a_call_that_was_cut_is_never_claimed_to_be_whole(finish: str) -> None:
    """P5 S10 S13"""
    raw = from_chat(CHAT_ROLE, chat_call(0, "call_a", "f", '{"x": {"y": 1'), chat_chunk({}, finish), DONE)
    check(raw)
    assert reason(raw) == "max_tokens"
    assert inputs(raw) == [("f", {"x": {"y": 1}})]


def test_text_around_thinking_keeps_its_place() -> None:
    """P6 T14 T23"""
    raw = from_chat(
        CHAT_ROLE,
        chat_chunk({"content": "a"}),
        chat_chunk({"reasoning_content": "b"}),
        chat_chunk({"content": "c"}),
        chat_chunk({}, "stop"),
        DONE,
    )
    check(raw)
    assert blocks(raw) == [
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "b", "signature": ""},
        {"type": "text", "text": "c"},
    ]


def test_thinking_first_is_block_zero() -> None:
    """T12 T13: nothing empty is opened, and nothing is lost where the kind changes."""
    raw = from_chat(
        CHAT_ROLE,
        chat_chunk({"reasoning_content": "Hm"}),
        chat_chunk({"content": "", "reasoning_content": None}),
        chat_chunk({"content": "Yes"}),
        chat_chunk({}, "stop"),
        DONE,
    )
    assert [word for word in kinds(raw) if "start" in word][1:] == [
        "content_block_start:0:thinking",
        "content_block_start:1:text",
    ]
    assert [block.get("text", block.get("thinking")) for block in blocks(raw)] == ["Hm", "Yes"]


def test_usage_that_comes_after_the_finish_is_told_at_the_end() -> None:
    """U4 U5 U6"""
    raw = from_chat(CHAT_ROLE, chat_chunk({"content": "a"}), chat_chunk({}, "stop"), CHAT_USAGE, DONE)
    assert as_object(last(raw)["usage"]) == {
        "input_tokens": 9,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
        "output_tokens": 3,
    }
    assert as_object(sdk_stream(raw)["usage"])["input_tokens"] == 9


def test_usage_that_comes_first_is_told_at_the_start() -> None:
    """§4.4, U11"""
    early = UsageUpdate(Usage(input_tokens=9, cache_read_tokens=4))
    raw = told([START, early, *text(0, "a"), ChoiceEnd(FinishReason("stop")), ResponseEnd()])
    check(raw)
    first = as_object(as_object(data_of(raw)[0]["message"])["usage"])
    assert first["input_tokens"] == 5


def test_usage_nobody_told_is_zero_and_said_to_be() -> None:
    """§3.17"""
    events = [START, *text(0, "a"), ChoiceEnd(FinishReason("stop")), ResponseEnd()]
    assert as_object(last(told(events))["usage"])["output_tokens"] == 0
    assert notes(events) == [("usage.input_tokens", "defaulted", "info"), ("usage.output_tokens", "defaulted", "info")]


def test_a_signature_comes_after_the_thought() -> None:
    """R9, §4.4"""
    thought = part(
        0, ReasoningPart(), ReasoningDelta(0, "H"), ReasoningDelta(0, "m"), opaque=Opaque(OWN, "signature", "c2ln")
    )
    raw = stream(*thought, *text(1, "Yes"))
    assert kinds(raw)[1:7] == [
        "content_block_start:0:thinking",
        "ping",
        "content_block_delta:0:thinking_delta",
        "content_block_delta:0:thinking_delta",
        "content_block_delta:0:signature_delta",
        "content_block_stop:0",
    ]
    assert blocks(raw)[0] == {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}


def test_a_signed_thought_without_text_is_told() -> None:
    """trap 21"""
    raw = stream(*part(0, ReasoningPart("", Opaque(OWN, "signature", "c2ln"))))
    assert blocks(raw) == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


def test_a_redacted_thought_is_whole_at_its_start() -> None:
    """§2.3, R8"""
    raw = stream(*part(0, ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ=="))))
    assert kinds(raw)[1:4] == ["content_block_start:0:redacted_thinking", "ping", "content_block_stop:0"]
    assert blocks(raw) == [{"type": "redacted_thinking", "data": "ZGF0YQ=="}]


def test_state_of_another_vendor_is_no_signature() -> None:
    """R3: the thought is shown, its signature is empty, and that is said."""
    thought = part(
        0, ReasoningPart(), ReasoningDelta(0, "Hm"), opaque=Opaque("gemini_generate", "thought_signature", "secret")
    )
    raw = stream(*thought)
    assert blocks(raw) == [{"type": "thinking", "thinking": "Hm", "signature": ""}]
    assert b"secret" not in raw
    assert notes([START, *thought]) == [("parts[0].signature", "dropped", "info")]


def test_a_foreign_thought_without_text_is_nothing() -> None:
    """§3.10"""
    raw = stream(*part(0, ReasoningPart("", Opaque("openai_responses", "encrypted", "x"))), *text(1, "Yes"))
    assert [block["type"] for block in blocks(raw)] == ["text"]


def test_a_client_that_wants_no_thoughts_gets_none_but_their_signatures() -> None:
    """clients 8: `display: omitted`"""
    context = msgspec.structs.replace(CONTEXT, include_thoughts=False)
    events = [
        START,
        *part(0, ReasoningPart(), ReasoningDelta(0, "Hm")),
        *part(1, ReasoningPart(), ReasoningDelta(1, "Hm"), opaque=Opaque(OWN, "signature", "c2ln")),
        ChoiceEnd(FinishReason("stop")),
        ResponseEnd(),
    ]
    raw = told(events, context)
    check(raw)
    assert blocks(raw) == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


def test_a_call_begins_with_an_empty_object_and_an_empty_fragment() -> None:
    """§2.3"""
    raw = stream(*call(0, '{"a"', ":1}"), finish=FinishReason("tool_calls"))
    assert data_of(raw)[1]["content_block"] == {"type": "tool_use", "id": "call_0", "name": "look", "input": {}}
    fragments = [as_object(event["delta"]).get("partial_json") for event in data_of(raw) if "delta" in event]
    assert fragments == ["", '{"a"', ":1}", None]


@pytest.mark.parametrize(
    ("fragments", "given", "ending"),
    [
        pytest.param((), {}, "tool_use", id="S15 nothing is an empty object"),
        pytest.param((" ",), {}, "tool_use", id="I8 blanks are nothing"),
        pytest.param((" ", ' {"a": 1}'), {"a": 1}, "tool_use", id="blanks before the object"),
        pytest.param(("[1,", "2]"), {"input": [1, 2]}, "tool_use", id="I8 an array is wrapped"),
        pytest.param(('"x"',), {"input": "x"}, "tool_use", id="I8 a string is wrapped"),
        pytest.param(("look ", "up"), {"input": "look up"}, "max_tokens", id="S10 what is not JSON is not whole"),
    ],
)
def test_the_input_of_a_call_is_always_an_object(fragments: tuple[str, ...], given: JSONValue, ending: str) -> None:
    raw = stream(*call(0, *fragments), finish=FinishReason("tool_calls"))
    assert inputs(raw) == [("look", given)]
    assert reason(raw) == ending


def test_the_text_of_a_free_form_tool_is_wrapped() -> None:
    """§3.5"""
    raw = stream(*call(0, '{"not": ', "json", kind="custom"), finish=FinishReason("tool_calls"))
    assert inputs(raw) == [("look", {"input": '{"not": json'})]
    assert reason(raw) == "tool_use"


def test_ids_fit_the_alphabet_and_are_made_where_there_are_none() -> None:
    """I1, trap 25"""
    raw = stream(*part(0, ToolCallPart("functions.f:0|x", "f", "{}")), *part(1, ToolCallPart("", "g", "{}")))
    ids = [str(block["id"]) for block in blocks(raw)]
    assert ids[1] == "toolu_1"
    assert ids[0].startswith("call_") and ids[0].replace("_", "").isalnum()


def test_text_after_a_call_is_a_new_block() -> None:
    """§4.4: never reopen"""
    raw = stream(*text(0, "a"), *call(1, "{}"), *text(2, "b"))
    assert [block["type"] for block in blocks(raw)] == ["text", "tool_use", "text"]


def test_empty_deltas_do_nothing() -> None:
    """S8"""
    raw = stream(*text(0, "", "a", ""), *call(1, "{", "", "}"))
    assert inputs(raw) == [("look", {})]


def test_citations_of_our_own_come_after_their_text() -> None:
    """§4.4, §3.13"""
    cited: JSONObject = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    raw = stream(*text(0, "a"), *part(1, CitationPart(protocol=OWN, raw=cited)), *text(2, "b"))
    first, second = blocks(raw)
    assert [as_object(citation)["cited_text"] for citation in as_list(first["citations"])] == ["x"]
    assert "citations" not in second


def test_citations_of_others_are_said_to_be_lost() -> None:
    """§3.13"""
    events = [START, *text(0, "a"), *part(1, CitationPart(url="https://example.com", protocol="openai_chat", raw={}))]
    assert notes(events) == [("parts[1]", "dropped", "warning")]


def test_blocks_of_our_own_pass_whole_and_those_of_others_do_not() -> None:
    """§3.14, C7"""
    own: JSONObject = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    raw = stream(*part(0, UnknownPart(OWN, own, "server_tool_use")), *part(1, UnknownPart("openai_chat", {"a": 1})))
    assert [event["content_block"] for event in data_of(raw) if "content_block" in event] == [own]


def test_a_picture_becomes_a_note_in_its_place() -> None:
    """§3.4"""
    picture = MediaPart("image", ir.Base64Source("aGk="), "image/png")
    raw = stream(*part(0, picture))
    assert blocks(raw) == [{"type": "text", "text": "[image]"}]
    assert notes([START, *part(0, picture)]) == [("parts[0]", "dropped", "warning")]


def test_other_choices_are_left_out_and_said_to_be() -> None:
    """§3.2"""
    events: list[ir.StreamEvent] = [
        START,
        PartStart(0, TextPart(""), 1),
        PartStart(1, TextPart(""), 0),
        TextDelta(1, "no"),
        TextDelta(0, "yes"),
        PartEnd(1),
        PartEnd(0),
        ChoiceEnd(FinishReason("stop"), 1),
        ChoiceEnd(FinishReason("length"), 0),
        USAGE,
        ResponseEnd(),
    ]
    raw = told(events)
    check(raw)
    assert blocks(raw) == [{"type": "text", "text": "yes"}]
    assert reason(raw) == "end_turn"
    assert notes(events) == [("choices[0]", "dropped", "warning")]


def test_a_refusal_is_told_and_ends_as_one() -> None:
    """§3.16"""
    raw = stream(*part(0, RefusalPart(""), TextDelta(0, "No.")))
    assert as_object(last(raw)["delta"]) == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "No."},
    }
    assert blocks(raw) == [{"type": "text", "text": "No."}]


def test_an_answer_without_a_word_has_no_blocks() -> None:
    """trap 30"""
    raw = stream(finish=FinishReason("content_filter", detail="Blocked."))
    assert kinds(raw) == ["message_start", "message_delta", "message_stop"]
    assert as_object(sdk_stream(raw)["stop_details"])["explanation"] == "Blocked."


def test_a_fault_is_the_last_event() -> None:
    """§4.4, F14 F15"""
    fault = StreamFault(UpstreamError("Too busy.", failure="overloaded", kind="overloaded"))
    encoder = CODEC.stream_encoder(CONTEXT)
    frames = [frame for event in (START, *text(0, "a")[:2], fault, *text(1, "b")) for frame in encoder.feed(event)]
    assert frames[-1].event == "error"
    assert frames[-1].data == b'{"type":"error","error":{"type":"overloaded_error","message":"Too busy."}}'
    assert list(encoder.close()) == []


def test_nothing_follows_the_end() -> None:
    """T10"""
    encoder = CODEC.stream_encoder(CONTEXT)
    for event in (START, *text(0, "a"), ChoiceEnd(FinishReason("stop")), ResponseEnd()):
        assert encoder.feed(event) is not None
    assert list(encoder.feed(StreamFault(UpstreamError("late", failure="transient")))) == []
    assert list(encoder.close()) == []


def test_the_vendors_id_and_model_are_told_where_the_client_named_none() -> None:
    context = msgspec.structs.replace(CONTEXT, model=None)
    message = as_object(data_of(told([START, ChoiceEnd(FinishReason("stop")), ResponseEnd()], context))[0]["message"])
    assert (message["id"], message["model"]) == ("msg_7", "m")
    other = data_of(told([ResponseStart(id="chatcmpl-7"), ChoiceEnd(FinishReason("stop")), ResponseEnd()]))
    assert as_object(other[0]["message"])["id"] == "msg_1"
