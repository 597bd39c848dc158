from __future__ import annotations

import pytest

from asgi_llmgw import StreamTranslator, translate_request, translate_response
from asgi_llmgw.errors import ConfigError, InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import PROTOCOLS
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.translate import translate_error
from tests.samples import (
    CHAT_ERROR,
    DONE,
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_request,
    chat_stream,
    frame,
    gemini_answer,
    messages_answer,
    messages_stream,
    responses_answer,
)
from tests.taps import UsageTap

ANSWERS: dict[Protocol, bytes] = {
    "openai_chat": chat_answer(),
    "anthropic_messages": messages_answer(),
    "gemini_generate": gemini_answer(),
    "openai_responses": responses_answer(),
}


@pytest.mark.parametrize("target", PROTOCOLS)
def test_a_request_becomes_one_for_the_upstream(target: Protocol) -> None:
    translated = translate_request(dumps(chat_request("a-model")), source="openai_chat", target=target)
    assert b"Hello" in translated.body
    assert "a-model" in translated.path or loads_object(translated.body)["model"] == "a-model"


@pytest.mark.parametrize("target", PROTOCOLS)
def test_a_request_can_be_sent_to_another_model(target: Protocol) -> None:
    body = dumps(chat_request("alias"))
    translated = translate_request(body, source="openai_chat", target=target, model="real")
    assert "real" in translated.path or loads_object(translated.body)["model"] == "real"
    assert b"alias" not in translated.body


def test_a_request_in_the_same_protocol_keeps_its_bytes() -> None:
    body = b'{ "model":"m" , "messages": [] , "x": 1.0 }'
    assert translate_request(body, source="openai_chat", target="openai_chat").body == body


def test_what_is_lost_is_said() -> None:
    body = dumps(chat_request(logit_bias={"1": 2}, seed=1))
    translated = translate_request(body, source="openai_chat", target="anthropic_messages")
    assert {item.path for item in translated.diagnostics} >= {"logit_bias", "seed", "max_tokens"}


def test_a_request_that_cannot_be_read_names_the_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate_request(b'{"model":"m","messages":1}', source="openai_chat", target="anthropic_messages")
    assert caught.value.param == "messages"


@pytest.mark.parametrize("source", PROTOCOLS)
def test_an_answer_becomes_one_for_the_client(source: Protocol) -> None:
    translated = translate_response(ANSWERS[source], source=source, target="openai_chat", model="alias")
    answer = loads_object(translated.body)
    assert answer["model"] == "alias"
    assert as_object(as_object(as_list(answer["choices"])[0])["message"])["content"] == "Hi there"
    assert as_object(answer["usage"])["total_tokens"] == 12


def test_an_answer_in_the_same_protocol_keeps_its_bytes() -> None:
    assert translate_response(chat_answer(), source="openai_chat", target="openai_chat").body == chat_answer()


def test_an_answer_that_cannot_be_read_is_the_upstreams_fault() -> None:
    with pytest.raises(InvalidUpstreamResponse):
        translate_response(b"<html>", source="anthropic_messages", target="openai_chat")


@pytest.mark.parametrize("target", PROTOCOLS)
def test_errors_are_translated(target: Protocol) -> None:
    error = translate_error(529, dumps(MESSAGES_OVERLOADED), source="anthropic_messages", target=target)
    assert error.status in (503, 529)
    assert b"Overloaded" in error.body


def translate(chunks: list[bytes], **context: object) -> tuple[bytes, StreamTranslator]:
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat", model="alias", include_usage=True)
    return b"".join([translator.feed(chunk) for chunk in chunks]) + translator.close(), translator


def test_a_stream_is_translated_and_accounted_for() -> None:
    out, translator = translate(messages_stream("Hel", "lo"))
    frames = [event.data for event in SSEDecoder().feed(out)]
    assert frames[-1] == b"[DONE]"
    assert all(loads_object(data)["model"] == "alias" for data in frames[:-1])
    assert translator.usage is not None and translator.usage.total_tokens == 12
    assert translator.finish_reason is not None and translator.finish_reason.kind == "stop"
    assert (translator.fault, translator.diagnostics, translator.ended) == (None, (), True)
    assert translator.text_length == 5


def test_a_stream_that_is_cut_is_a_fault_and_has_no_terminator() -> None:
    out, translator = translate(messages_stream("Hel", "lo")[:4])
    assert DONE not in out and b'"error"' in out
    assert translator.fault is not None


def test_nothing_follows_a_fault() -> None:
    out, translator = translate([frame(MESSAGES_OVERLOADED, "error"), *messages_stream("late")])
    assert b"late" not in out
    assert translator.fault is not None and translator.fault.failure == "overloaded"


def test_nothing_follows_the_end_however_it_came() -> None:
    """F151 F166: not even a sign of life, when a heartbeat comes in one piece with the end."""
    stream = b"".join(messages_stream("Hi")) + frame({"type": "ping"}, "ping")
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    out = translator.feed(stream) + translator.feed(frame({"type": "ping"}, "ping")) + translator.close()
    assert out.endswith(b"data: [DONE]\n\n")


def test_the_reason_a_transport_broke_is_told() -> None:
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    begun = translator.feed(b"".join(messages_stream("Hel")[:4]))
    out = translator.close(UpstreamError("The vendor fell silent.", failure="timeout", kind="upstream_timeout"))
    assert b"Hel" in begun
    assert b"The vendor fell silent." in out and DONE not in out


def test_a_transport_that_breaks_after_the_end_does_not_matter() -> None:
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    begun = translator.feed(b"".join(messages_stream("Hello")))
    out = begun + translator.close(UpstreamError("Reset.", failure="unreachable"))
    assert out.endswith(DONE) and translator.fault is None


def test_an_endless_event_is_a_fault_and_not_an_exception() -> None:
    """F145."""
    translator = StreamTranslator(source="anthropic_messages", target="openai_chat")
    out = b"".join(translator.feed(b"data: " + b"x" * 1024 * 1024) for _ in range(18)) + translator.close()
    assert translator.fault is not None and b'"error"' in out


def test_a_tap_reads_and_never_raises() -> None:
    tap = UsageTap("openai_chat")
    for chunk in (b"\xff\xfe", *chat_stream("Hi", usage=True)):
        tap.feed(chunk)
    tap.close()
    assert tap.usage is not None and tap.usage.output_tokens == 3
    broken = UsageTap("openai_chat")
    broken.feed(b"data: {\n\n")
    broken.close()
    assert broken.fault is not None


def test_a_tap_sees_errors_in_the_stream() -> None:
    tap = UsageTap("openai_chat")
    tap.feed(frame(CHAT_ERROR))
    assert tap.fault is not None and not tap.content


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ConfigError, match="telepathy"):
        StreamTranslator(source="telepathy", target="openai_chat")  # type: ignore[arg-type]


SEARCH: JSONObject = {"type": "web_search_20250305", "name": "web_search"}
LOOK_UP: JSONObject = {"name": "look_up", "input_schema": {"type": "object"}}


def messages_request(**fields: JSONValue) -> bytes:
    return dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields})


@pytest.mark.parametrize("target", [name for name in PROTOCOLS if name != "anthropic_messages"])
def test_a_tool_of_another_vendors_is_left_out_and_said(target: Protocol) -> None:
    """I9: agents offer web search by default, and most tasks never need it."""
    body = messages_request(tools=[LOOK_UP, SEARCH])
    translated = translate_request(body, source="anthropic_messages", target=target)
    assert b"look_up" in translated.body and b"web_search" not in translated.body
    (dropped,) = [item for item in translated.diagnostics if item.path == "tools[1]"]
    assert (dropped.code, dropped.severity) == ("dropped", "warning")


@pytest.mark.parametrize("target", [name for name in PROTOCOLS if name != "anthropic_messages"])
def test_a_tool_of_another_vendors_that_must_be_called_is_refused(target: Protocol) -> None:
    body = messages_request(tools=[SEARCH], tool_choice={"type": "any"})
    with pytest.raises(InvalidRequest) as caught:
        translate_request(body, source="anthropic_messages", target=target)
    assert caught.value.param is not None and caught.value.param.startswith("tools")
