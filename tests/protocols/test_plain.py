"""The short ways: what they take, and that they leave everything else to the general ones."""

from __future__ import annotations

import pytest

from asgi_llmgw.json import Document, JSONObject, JSONValue, dumps
from asgi_llmgw.limiting.estimate import estimate
from asgi_llmgw.protocols.plain import is_large_and_plain
from asgi_llmgw.reasoning.bodies import carries_state
from asgi_llmgw.reasoning.envelope import MARK

LONG = "The quick brown fox jumps over the lazy dog. " * 500
WORDS: JSONObject = {"type": "text", "text": LONG}
CALL: JSONObject = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": LONG}}
PLAIN: JSONObject = {"model": "m", "messages": [{"role": "user", "content": LONG}], "tools": [{"name": "f"}]}


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN,
        {"model": "m", "input": LONG},
        {"model": "m", "input": [{"role": "user", "content": LONG}]},
        {"model": "m", "messages": [{"role": "user", "content": [{**WORDS, "cache_control": {"type": "ephemeral"}}]}]},
        {
            "model": "m",
            "messages": [
                {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": LONG},
            ],
        },
        {"model": "m", "system": "Be brief.", "messages": [{"role": "user", "content": LONG}]},
    ],
)
def test_a_long_conversation_of_texts_and_calls_is_plain(request_: JSONObject) -> None:
    assert is_large_and_plain(Document(dumps(request_)))
    assert not is_large_and_plain(dumps(request_)), "nothing is remembered about mere bytes"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [WORDS, {"type": "image_url", "image_url": {"url": LONG}}]},
        {"role": "user", "content": [{**WORDS, "citations": []}]},
        {"role": "assistant", "content": [{"type": "thinking", "text": LONG}]},
        {"role": "user", "content": LONG, "reasoning_details": []},
        {"role": "assistant", "content": None, "tool_calls": [{"arguments": LONG}]},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "extra_content": {}}]},
        {"type": "reasoning", "encrypted_content": LONG},
        LONG,
    ],
)
def test_whatever_else_is_in_a_conversation_makes_it_another(message: JSONValue) -> None:
    for name in ("messages", "input"):
        assert not is_large_and_plain(Document(dumps({"model": "m", name: [message]})))
    assert not is_large_and_plain(Document(b"{" + LONG.encode()))
    assert not is_large_and_plain(Document(dumps({"contents": LONG})))


def test_state_is_found_wherever_it_can_be() -> None:
    """A text that only speaks of it is none; a body that is not plain is searched."""
    sealed: JSONObject = {"role": "assistant", "content": "x", "reasoning_details": [{"data": MARK + LONG}]}
    assert carries_state(Document(dumps({"model": "m", "messages": [sealed]})))
    assert not carries_state(Document(dumps({"model": "m", "messages": [{"role": "user", "content": MARK + LONG}]})))


def test_a_document_is_estimated_as_its_bytes_are() -> None:
    body = dumps(PLAIN)
    assert estimate(Document(body), "openai_chat") == estimate(body, "openai_chat")
