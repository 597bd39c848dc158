"""Requests that are forwarded as they are: only what was sealed for other vendors is taken out."""

from __future__ import annotations

import base64

import pytest

from asgi_llmgw.ir import Opaque, Protocol
from asgi_llmgw.json import JSONObject, dumps, loads_object
from asgi_llmgw.reasoning.bodies import carries_state, without_foreign_state
from asgi_llmgw.reasoning.envelope import MARK, seal
from asgi_llmgw.translate import translate_request

KEY = b"a key of the gateway's"
SEALED = seal(Opaque("gemini_generate", "thought_signature", "CiwBjz1rX=="), KEY)
BARE = "EqQBCgIYAhIMH+4/aA=="
SKIP = "skip_thought_signature_validator"


def cleaned(protocol: Protocol, body: JSONObject, *, signed_calls: bool = False) -> JSONObject:
    raw = dumps(body)
    assert carries_state(raw)
    return loads_object(without_foreign_state(raw, protocol, KEY, signed_calls=signed_calls))


@pytest.mark.parametrize(
    ("protocol", "path", "body"),
    [
        ("openai_chat", "", b'{ "model":"m" , "messages": [] , "x": 1.0, "y": "LLMGWstate" }'),
        ("anthropic_messages", "", b'{ "model":"m" , "messages": [{"role":"user","content":"caf\\u00e9"}] }'),
        ("openai_responses", "", b'{ "input" : "hi",  "model":"m"}'),
        ("gemini_generate", "/v1beta/models/m:generateContent", b'{ "contents" : [ ] ,"x":1e2}'),
    ],
)
def test_a_body_without_the_mark_keeps_its_bytes(protocol: Protocol, path: str, body: bytes) -> None:
    assert not carries_state(body)
    assert translate_request(body, source=protocol, target=protocol, path=path, carriers_key=KEY).body == body


@pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages", "openai_responses", "gemini_generate"])
def test_a_mark_that_is_not_ours_changes_no_byte(protocol: Protocol) -> None:
    """What another gateway sealed belongs to it, and what a user writes about it to the user."""
    other = seal(Opaque("gemini_generate", "thought_signature", "x"), b"another key")
    body = b'{ "messages": [ {"content":[{"type":"thinking","signature":"%b"}]} ], "x":1.0}' % other.encode()
    assert without_foreign_state(body, protocol, KEY) == body
    assert without_foreign_state(MARK.encode(), protocol, KEY) == MARK.encode()


def test_blocks_of_other_vendors_thoughts_are_taken_out() -> None:
    """R3, R12."""
    own: JSONObject = {"type": "thinking", "thinking": "mine", "signature": BARE}
    text: JSONObject = {"type": "text", "text": "Hello"}
    blocks: list[JSONObject] = [
        own,
        {"type": "thinking", "thinking": "theirs", "signature": SEALED},
        {"type": "redacted_thinking", "data": SEALED},
        text,
    ]
    body: JSONObject = {"x": 1.5, "messages": [{"role": "assistant", "content": [*blocks]}]}
    assert cleaned("anthropic_messages", body) == {
        "x": 1.5,
        "messages": [{"role": "assistant", "content": [own, text]}],
    }


def test_a_turn_of_nothing_else_is_left_out() -> None:
    question: JSONObject = {"role": "user", "content": "hi"}
    turn: JSONObject = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": SEALED}]}
    assert cleaned("anthropic_messages", {"messages": [question, turn]}) == {"messages": [question]}


def test_a_running_call_without_its_thought_turns_thinking_off() -> None:
    """R4: the vendor refuses it otherwise."""
    call: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    turn: JSONObject = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": SEALED}, call]}
    body: JSONObject = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [turn]}
    assert cleaned("anthropic_messages", body)["thinking"] == {"type": "disabled"}
    adaptive: JSONObject = {**body, "thinking": {"type": "adaptive"}}
    assert cleaned("anthropic_messages", adaptive)["thinking"] == {"type": "adaptive"}


def test_reasoning_items_of_other_vendors_are_taken_out() -> None:
    """R8, R12."""
    own: JSONObject = {"type": "reasoning", "summary": [], "encrypted_content": BARE}
    theirs: JSONObject = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALED}
    call: JSONObject = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    assert cleaned("openai_responses", {"input": [own, theirs, call]}) == {"input": [own, call]}


def test_signatures_of_gemini_parts_are_taken_out() -> None:
    """R5, R12: a call keeps its place, with the substitute that Google documents where the model insists on one."""
    packed = base64.urlsafe_b64encode(b'asgi-llmgw/1 [{"opaque":{"payload":"%b"}}]' % SEALED.encode()).decode()
    call: JSONObject = {"functionCall": {"name": "look", "args": {}}}
    parts: list[JSONObject] = [
        {"text": "Hm", "thought_signature": packed},
        {**call, "thoughtSignature": packed},
        {**call},
        {"text": "", "thoughtSignature": packed},
    ]
    body: JSONObject = {"contents": [{"role": "model", "parts": [*parts]}]}
    plain: JSONObject = {"contents": [{"role": "model", "parts": [{"text": "Hm"}, call, call]}]}
    assert cleaned("gemini_generate", body) == plain
    signed: list[JSONObject] = [{"text": "Hm"}, {**call, "thoughtSignature": SKIP}, call]
    expected: JSONObject = {"contents": [{"role": "model", "parts": [*signed]}]}
    assert cleaned("gemini_generate", body, signed_calls=True) == expected


def test_conventions_of_chat_completions_lose_what_is_not_theirs() -> None:
    own: JSONObject = {"type": "reasoning.text", "text": "mine", "signature": BARE, "index": 0}
    theirs: JSONObject = {"type": "reasoning.encrypted", "data": SEALED, "index": 1}
    call: JSONObject = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    signed: JSONObject = {**call, "extra_content": {"google": {"thought_signature": SEALED}}}
    message: JSONObject = {
        "role": "assistant",
        "content": None,
        "reasoning_details": [own, theirs],
        "tool_calls": [signed],
    }
    expected: JSONObject = {"role": "assistant", "content": None, "reasoning_details": [own], "tool_calls": [call]}
    assert cleaned("openai_chat", {"messages": [message]}) == {"messages": [expected]}
    alone: JSONObject = {"role": "assistant", "content": "x", "thinking_blocks": [{"signature": SEALED}]}
    assert cleaned("openai_chat", {"messages": [alone]}) == {"messages": [{"role": "assistant", "content": "x"}]}
