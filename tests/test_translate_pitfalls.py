"""What other gateways got wrong in streams between two protocols."""

from __future__ import annotations

import pytest

from asgi_llmgw import StreamTranslator, translate_response
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol, Usage
from asgi_llmgw.json import JSONObject, as_list, as_object, loads_object
from asgi_llmgw.passthrough import PassThrough
from asgi_llmgw.sse import SSEDecoder
from tests.samples import (
    CHAT_ROLE,
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_chunk,
    chat_stream,
    frame,
    gemini_answer,
    messages_answer,
    messages_stream,
)
from tests.taps import UsageTap

GEMINI_STREAM = frame(loads_object(gemini_answer()))
WHOLE: dict[Protocol, bytes] = {
    "openai_chat": chat_answer(),
    "anthropic_messages": messages_answer(),
    "gemini_generate": gemini_answer(),
}
STREAMS: dict[Protocol, bytes] = {
    "openai_chat": b"".join(chat_stream("Hi there", usage=True)),
    "anthropic_messages": b"".join(messages_stream("Hi there")),
    "gemini_generate": GEMINI_STREAM,
}


def translated(stream: bytes, source: Protocol, target: Protocol) -> tuple[bytes, StreamTranslator]:
    translator = StreamTranslator(source=source, target=target, include_usage=True)
    return translator.feed(stream) + translator.close(), translator


def counts(usage: Usage | None) -> tuple[int | None, int | None]:
    assert usage is not None
    return usage.input_tokens, usage.output_tokens


@pytest.mark.parametrize("source", STREAMS)
@pytest.mark.parametrize("target", STREAMS)
def test_usage_is_known_whatever_is_spoken(source: Protocol, target: Protocol) -> None:
    """U8: streamed and whole, passed through and translated."""
    tap = UsageTap(source)
    tap.feed(STREAMS[source])
    tap.close()
    answer = translate_response(WHOLE[source], source=source, target=target).answer
    assert answer is not None
    assert counts(tap.usage) == counts(answer.usage) == (9, 3)
    assert counts(translated(STREAMS[source], source, target)[1].usage) == (9, 3)


@pytest.mark.parametrize("source", STREAMS)
def test_every_frame_of_a_stream_has_its_own_data(source: Protocol) -> None:
    """T25: also where the vendor's last frames come in one piece."""
    out, _ = translated(STREAMS[source], source, "openai_chat")
    *blocks, end = out.split(b"\n\n")
    told = [block for block in blocks if not block.startswith(b":")]
    assert end == b""
    assert all(each.startswith(b"data: ") and each.count(b"data: ") == 1 for each in told)
    last = loads_object(told[-2].removeprefix(b"data: "))
    assert last["choices"] == [] and as_object(last["usage"])["total_tokens"] == 12


def test_frames_that_come_in_one_piece_keep_their_data_when_usage_is_taken_out() -> None:
    """T25"""
    passing = PassThrough("openai_chat", without_usage=True)
    out = passing.forward(STREAMS["openai_chat"]) + passing.end()
    assert out == b"".join(chat_stream("Hi there"))


def test_a_messages_client_learns_the_input_at_the_end() -> None:
    """U4: Chat Completions tells usage last, so `message_start` cannot."""
    out, _ = translated(STREAMS["openai_chat"], "openai_chat", "anthropic_messages")
    deltas = [loads_object(event.data) for event in SSEDecoder().feed(out) if event.event == "message_delta"]
    assert len(deltas) == 1
    usage = as_object(deltas[0]["usage"])
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 3)


@pytest.mark.parametrize("source", ["openai_chat", "gemini_generate"])
def test_a_messages_client_is_told_of_a_broken_stream_in_its_own_words(source: Protocol) -> None:
    """F15: `event: error`, and never `message_stop`."""
    begun = CHAT_ROLE + chat_chunk({"content": "Hel"}) if source == "openai_chat" else frame({"candidates": [{}]})
    translator = StreamTranslator(source=source, target="anthropic_messages")
    out = translator.feed(begun) + translator.close(UpstreamError("Reset.", failure="unreachable"))
    last = SSEDecoder().feed(out)
    *_, event = last
    assert event.event == "error"
    assert loads_object(event.data)["type"] == "error"
    assert b"message_stop" not in out


@pytest.mark.parametrize("source", ["openai_chat", "anthropic_messages"])
def test_a_gemini_client_gets_no_sentinel(source: Protocol) -> None:
    """T20"""
    out, _ = translated(STREAMS[source], source, "gemini_generate")
    assert b"[DONE]" not in out
    told = [loads_object(event.data) for event in SSEDecoder().feed(out)]
    assert as_object(as_list(told[-1]["candidates"])[0])["finishReason"] == "STOP"


def test_a_large_signature_passes_through_in_whatever_pieces() -> None:
    """F6: bytes are forwarded, never lines that were read and written again."""
    part: JSONObject = {"text": "Hi", "thoughtSignature": "c2ln" * 100_000}
    stream = frame({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})
    passing = PassThrough("gemini_generate")
    out = b"".join(passing.forward(stream[at : at + 1400]) for at in range(0, len(stream), 1400)) + passing.end()
    assert out == stream
    assert passing.fault is None


def test_an_error_is_never_put_inside_a_frame() -> None:
    """F10: whatever we add stands between two events, here after half a one."""
    half = chat_chunk({"content": "lo"})[:20]
    passing = PassThrough("openai_chat")
    out = passing.forward(CHAT_ROLE + half) + passing.end(UpstreamError("Reset.", failure="unreachable"))
    *_, last = SSEDecoder().feed(out)
    assert "error" in loads_object(last.data)


def test_an_error_event_reaches_a_chat_client_as_a_chunk_of_its_own() -> None:
    """F15, F18: the other way round."""
    out, _ = translated(
        b"".join(messages_stream("Hel")[:4]) + frame(MESSAGES_OVERLOADED, "error"), "anthropic_messages", "openai_chat"
    )
    *_, last = SSEDecoder().feed(out)
    assert as_object(loads_object(last.data)["error"])["message"] == "Overloaded"
    assert last.event is None or last.event in ("", "message")


def test_a_vendors_ping_keeps_a_chat_client_waiting_with_a_comment() -> None:
    """F8, F9, F10: a comment and no data, between two events, and never before the first output."""
    ping = frame({"type": "ping"}, "ping")
    start, opened, _, word, *rest = messages_stream("Hi")
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    assert translator.feed(start[:9]) == translator.feed(start[9:]) == b""
    begun = translator.feed(opened + ping + word)
    assert begun.count(b": keep-alive\n\n") <= 1
    assert translator.feed(ping) == b": keep-alive\n\n"
    assert translator.feed(ping[:7]) == b""
    assert translator.feed(ping[7:]) == b": keep-alive\n\n"
    end = translator.feed(b"".join(rest)) + translator.close()
    assert end.endswith(b"data: [DONE]\n\n")
    assert translator.feed(ping) == b""


def test_a_ping_before_the_answer_says_nothing() -> None:
    """F8, F16: the answer may still become an error with a status."""
    ping = frame({"type": "ping"}, "ping")
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    assert translator.feed(ping) == b""


def test_a_gemini_client_gets_no_comments() -> None:
    """F9: its SDK takes every line that is no data for JSON."""
    ping = frame({"type": "ping"}, "ping")
    translator = StreamTranslator(source="anthropic_messages", target="gemini_generate")
    translator.feed(b"".join(messages_stream("Hi")[:4]))
    assert translator.feed(ping) == b""


def test_every_change_of_kind_is_a_block_of_its_own_for_a_messages_client() -> None:
    """T12, T13, T14, S7: thinking first, no empty text before it, and no delta in a block of another kind."""
    call: JSONObject = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    stream = b"".join(
        [
            CHAT_ROLE,
            chat_chunk({"reasoning_content": "Hm"}),
            chat_chunk({"content": "a"}),
            chat_chunk({"reasoning_content": "Wait"}),
            chat_chunk({"content": "b", "tool_calls": [call]}),
            chat_chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )
    out, _ = translated(stream, "openai_chat", "anthropic_messages")
    told = [loads_object(event.data) for event in SSEDecoder().feed(out)]
    opened = [(each["index"], as_object(each["content_block"])["type"]) for each in told if "content_block" in each]
    assert opened == [(0, "thinking"), (1, "text"), (2, "thinking"), (3, "text"), (4, "tool_use")]
    kinds = dict(opened)
    allowed = {
        "thinking": {"thinking_delta", "signature_delta"},
        "text": {"text_delta"},
        "tool_use": {"input_json_delta"},
    }
    deltas = [each for each in told if each["type"] == "content_block_delta"]
    assert all(as_object(each["delta"])["type"] in allowed[str(kinds[each["index"]])] for each in deltas)
    texts = [as_object(each["delta"]).get("text") for each in deltas if as_object(each["delta"]).get("text")]
    assert texts == ["a", "b"]
