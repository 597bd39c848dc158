"""How much a request may use at most."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.limiting.estimate import estimate
from asgi_llmgw.pricing import MAX_TOKENS
from asgi_llmgw.tokens import estimate_tokens

TEXT: JSONObject = {"role": "user", "content": "Hello there"}


@pytest.mark.parametrize(
    ("protocol", "fields", "most"),
    [
        ("openai_chat", {"max_tokens": 50}, 50),
        ("openai_chat", {"max_completion_tokens": 60, "max_tokens": 50}, 60),
        ("openai_chat", {"max_tokens": 50, "n": 3}, 150),
        ("openai_chat", {}, 1024),
        ("openai_chat", {"max_tokens": None}, 1024),
        ("openai_chat", {"max_tokens": -4}, 1024),
        ("openai_chat", {"max_tokens": "many"}, 1024),
        ("openai_chat", {"max_tokens": 10**18}, MAX_TOKENS),
        ("openai_chat", {"max_tokens": 10, "n": 10**9}, 1280),
        ("openai_responses", {"max_output_tokens": 70}, 70),
        ("anthropic_messages", {"max_tokens": 80}, 80),
        ("gemini_generate", {"generationConfig": {"maxOutputTokens": 90}}, 90),
        ("gemini_generate", {"generation_config": {"max_output_tokens": 90, "candidate_count": 2}}, 180),
        ("gemini_generate", {"generationConfig": "large"}, 1024),
    ],
)
def test_the_output_is_what_the_request_allows(protocol: Protocol, fields: JSONObject, most: int) -> None:
    """L4 F189"""
    assert estimate(dumps({"model": "m", "messages": [TEXT], **fields}), protocol).output_tokens == most


def test_the_default_can_be_set() -> None:
    assert estimate(b"{}", "openai_chat", default_output=7).output_tokens == 7


def test_the_input_grows_with_the_text() -> None:
    short = estimate(dumps({"messages": [TEXT]}), "openai_chat")
    long = estimate(dumps({"messages": [{"role": "user", "content": "word " * 1000}]}), "openai_chat")
    assert 3 < short.input_tokens < 40
    assert 1000 < long.input_tokens < 2000
    assert long.tokens == long.input_tokens + 1024


LONG: JSONObject = {"role": "user", "content": "Schöne große Wörter und a few plain ones. " * 5000}


@pytest.mark.parametrize(
    ("protocol", "fields", "most"),
    [
        ("openai_chat", {"messages": [LONG], "max_tokens": 50, "n": 3}, 150),
        ("openai_responses", {"input": [LONG], "max_output_tokens": 70, "background": True}, 70),
        ("anthropic_messages", {"messages": [LONG], "max_tokens": 80}, 80),
        ("gemini_generate", {"contents": [LONG], "generationConfig": {"maxOutputTokens": 90}}, 90),
    ],
)
def test_a_long_body_is_estimated_alike_without_decoding_it(protocol: Protocol, fields: JSONObject, most: int) -> None:
    found = estimate(dumps({"model": "m", **fields}), protocol)
    exactly = estimate_tokens(fields)
    assert exactly <= found.input_tokens + 20 and found.input_tokens < 1.05 * exactly
    assert (found.output_tokens, found.model, found.later) == (most, "m", "background" in fields)


def test_a_long_picture_costs_less_than_its_length() -> None:
    url = "data:image/png;base64," + "QUJD" * 50_000
    content: JSONObject = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    assert estimate(dumps({"model": "m", "messages": [content]}), "openai_chat").input_tokens < 3000


def test_a_long_body_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        estimate(b'{"messages": "' + b"x" * 100_000, "openai_chat")


def test_a_response_in_the_background_tells_its_usage_later() -> None:
    body = dumps({"model": "m", "input": "Hello", "background": True})
    assert estimate(body, "openai_responses").later
    assert not estimate(body, "openai_chat").later


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        estimate(b"[1", "openai_chat")
