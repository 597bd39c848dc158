"""The naive clients see what their protocol does not allow."""

from __future__ import annotations

import pytest

from asgi_llmgw.conformance.cases import CASES
from asgi_llmgw.conformance.readers import read
from asgi_llmgw.conformance.vendors import VENDORS
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import PROTOCOLS

CHUNK = '{{"id":"c","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{},"finish_reason":null}}]}}'
START = 'event: message_start\ndata: {"type":"message_start","message":{"usage":{}}}\n\n'


def chat(*deltas: str) -> bytes:
    return "".join(f"data: {CHUNK.format(delta)}\n\n" for delta in deltas).encode() + b"data: [DONE]\n\n"


def messages(*events: str) -> bytes:
    return (START + "".join(f"event: {event.split(chr(34))[3]}\ndata: {event}\n\n" for event in events)).encode()


def call(index: int, id: str = "", name: str = "", arguments: str = "") -> str:
    named = f'"id":"{id}",' if id else ""
    return f'{{"tool_calls":[{{"index":{index},{named}"function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}'


TEXT = '{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}'
STOP = '{"type":"content_block_stop","index":%d}'
DELTA = '{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":"a"}}'
THINKING = '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(chat('{"content":"a"}', '{"role":"assistant","content":"b"}'), "the role again", id="role"),
        pytest.param(chat(call(0, "a", "f"), call(0, "a", "f")), "again", id="id"),
        pytest.param(chat(call(0, "a", "f"), call(0, "b", "f")), "two tool calls at the index 0", id="P2"),
        pytest.param(chat(call(1, "a", "f")), "a tool call at the index 1, where 0 is next", id="S4-gap"),
        pytest.param(chat(call(0, "a")), "without a name", id="S9-name"),
        pytest.param(chat("{}") + b'data: {"choices":[]}\n\n', "after [DONE]", id="T10"),
        pytest.param(b"data: {\n\n", "no JSON object", id="junk"),
        pytest.param(b'data: {"error":{"message":"x"}}\n\n', "without message or type", id="error"),
        pytest.param(
            b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{}}],'
            b'"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n',
            "usage on a chunk that has choices",
            id="U1",
        ),
        pytest.param("data: \ufffd\n\n".encode(), "replacement character", id="F1"),
    ],
)
def test_a_chat_client_sees_it(body: bytes, problem: str) -> None:
    assert any(problem in found for found in read("openai_chat", body, stream=True).problems)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(messages(TEXT % 0, TEXT % 0), "a block starts at the index 0, where 1 is next", id="P0"),
        pytest.param(messages(TEXT % 1), "a block starts at the index 1, where 0 is next", id="gap"),
        pytest.param(messages(TEXT % 0, STOP % 0, DELTA % 0), "where no block is open", id="S2-delta-after-stop"),
        pytest.param(messages(TEXT % 0, STOP % 0, STOP % 0), "where no block is open", id="two-stops"),
        pytest.param(messages(THINKING), "without the field signature", id="P6"),
        pytest.param(messages(THINKING[:-2] + ',"signature":""}}', DELTA % 0), "text_delta for a block", id="T12"),
        pytest.param(messages('{"type":"message_stop"}', '{"type":"ping"}'), "after message_stop", id="end"),
        pytest.param(b'data: {"type":"message_stop"}\n\n', "events without their names", id="no-name"),
        pytest.param(messages('{"type":"error","error":{}}'), "an error without", id="F18"),
        pytest.param(messages(TEXT % 0, '{"type":"message_delta","delta":{}}'), "while a block is open", id="open"),
    ],
)
def test_a_messages_client_sees_it(body: bytes, problem: str) -> None:
    assert any(problem in found for found in read("anthropic_messages", body, stream=True).problems)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"data: [DONE]\n\n", "[DONE]", id="T20"),
        pytest.param(b'event: x\ndata: {"candidates":[]}\n\n', "an event with the name", id="name"),
        pytest.param(
            b'data: {"candidates":[{"finishReason":"STOP"}]}\n\n'
            b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\n\n',
            "content after the finish reason",
            id="T3",
        ),
        pytest.param(b'data: {"error":{"message":"x"}}\n\n', "an error without code", id="error"),
    ],
)
def test_a_gemini_client_sees_it(body: bytes, problem: str) -> None:
    assert any(problem in found for found in read("gemini_generate", body, stream=True).problems)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(b'"sequence_number":5', b'"sequence_number":1', "sequence_number", id="numbers"),
        pytest.param(b'"delta":"Hello"', b'"delta":"Hallo"', "is not what its deltas said", id="deltas"),
        pytest.param(b"event: response.completed", b"event: completed", "events whose name", id="name"),
        pytest.param(b"response.output_item.added", b"response.other", "which is not open", id="no-item"),
        pytest.param(b"response.output_item.done", b"response.other", "while an item is open", id="open-item"),
        pytest.param(b'"item_id":"msg_0"', b'"item_id":"msg_9"', "whose item_id", id="item-ids"),
    ],
)
def test_a_responses_client_sees_it(old: bytes, new: bytes, problem: str) -> None:
    script = VENDORS["openai_responses"].script("text", stream=True)
    assert script is not None and old in script.body
    assert any(
        problem in found for found in read("openai_responses", script.body.replace(old, new), stream=True).problems
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_that_is_asked_to_read_what_vendors_send_sees_no_problem(protocol: Protocol) -> None:
    odd = {case.name for case in CASES if case.odd}
    for name, script in VENDORS[protocol].streams.items():
        if script.status == 200 and script.body and name not in odd:
            assert (name, read(protocol, script.body, stream=True).problems) == (name, [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refusal_in_another_protocols_words_is_seen(protocol: Protocol) -> None:
    """F18"""
    assert read(protocol, b'{"detail":"Not Found"}', status=404).problems
    assert read(protocol, b"<html>", status=502).problems
