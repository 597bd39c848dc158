"""Whole answers of Responses, read and written."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Choice,
    CitationPart,
    Extension,
    FinishReason,
    Opaque,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_responses import CODEC
from asgi_llmgw.translate import translate_request, translate_response
from tests.protocols.openai_responses.samples import body, call, counting, encode_answer, message


def decode(*items: JSONValue, **fields: JSONValue) -> ChatResponse:
    return CODEC.decode_response(dumps({"id": "resp_1", "status": "completed", "output": [*items], **fields}))


def test_every_kind_of_item_is_read() -> None:
    note: JSONObject = {"type": "url_citation", "url": "u", "title": "t", "start_index": 1, "end_index": 2}
    search: JSONObject = {"type": "web_search_call", "id": "ws_1"}
    token: JSONObject = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    response = decode(
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "e",
        },
        search,
        message(
            "assistant", {"type": "output_text", "text": "abc", "annotations": [note], "logprobs": [token]}, phase="p"
        ),
        message("assistant", {"type": "refusal", "refusal": "No."}, {"type": "odd"}),
        call("call_1", "send", namespace="mail"),
        model="m",
        created_at=5.0,
        service_tier="flex",
    )
    (choice,) = response.choices
    assert choice.parts == (
        ReasoningPart("Hm.", Opaque("openai_responses", "encrypted", "e", "rs_1")),
        UnknownPart("openai_responses", search, "web_search_call"),
        TextPart("abc", phase="p"),
        CitationPart("u", "t", 1, 2, protocol="openai_responses", raw=note),
        RefusalPart("No."),
        UnknownPart("openai_responses", {"type": "odd"}, "odd"),
        ToolCallPart("call_1", "mail__send", "{}"),
    )
    assert choice.finish == FinishReason("tool_calls", "completed")
    assert choice.logprobs == (TokenLogprob("a", -0.5, (97,)),)
    assert (response.id, response.model, response.created, response.service_tier) == ("resp_1", "m", 5, "flex")


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, FinishReason("stop", "completed")),
        ({"status": "queued"}, FinishReason("other", "queued")),
        ({"status": "incomplete", "incomplete_details": None}, FinishReason("other", "incomplete")),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            FinishReason("length", "max_output_tokens"),
        ),
    ],
)
def test_the_status_is_the_ending(fields: JSONObject, finish: FinishReason) -> None:
    assert decode(**fields).choices[0].finish == finish


def test_counts_nobody_can_believe_are_not_reported() -> None:
    raw: JSONObject = {"input_tokens": -1, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": True}}
    assert decode(usage=raw).usage == Usage(output_tokens=4, raw=raw)
    assert decode(usage=None).usage is None


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (b"<html>", "invalid_response"),
        (b"{}", "invalid_response"),
        (b'{"status":"failed","error":{"code":"rate_limit_exceeded","message":"Slow."}}', "rate_limit"),
        (b'{"status":"failed","error":null}', "transient"),
        (b'{"status":"failed","error":{"code":"bio_policy","message":"No."}}', "filtered"),
        (b'{"error":{"code":"invalid_prompt","message":"No."}}', "caller_fault"),
    ],
)
def test_what_is_no_answer_is_an_error(text: bytes, failure: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        CODEC.decode_response(text)
    assert caught.value.failure == failure
    assert isinstance(caught.value, InvalidUpstreamResponse) or failure != "invalid_response"


def test_an_answer_from_elsewhere_gets_ids_of_our_own() -> None:
    written = encode_answer(ChatResponse((Choice((TextPart("a"),), FinishReason("stop")),)))
    assert (written["id"], written["object"], written["created_at"]) == ("resp_1", "response", 1_700_000_000)


def test_the_form_of_the_answer_is_repeated() -> None:
    form = ResponseFormat("json_schema", {"type": "object"}, "n", "d", True)
    request = ChatRequest(
        "m", (), response_format=form, extensions=(Extension("openai_responses", "max_tool_calls", 3),)
    )
    written = encode_answer(ChatResponse(()), counting(request=request))
    schema: JSONObject = {
        "type": "json_schema",
        "name": "n",
        "schema": {"type": "object"},
        "description": "d",
        "strict": True,
    }
    assert (as_object(written["text"])["format"], written["max_tool_calls"]) == (schema, 3)


def test_the_translator_hands_the_request_on_so_that_the_answer_repeats_it() -> None:
    tools: list[JSONValue] = [{"type": "function", "name": "look_up", "parameters": {}, "strict": False}]
    asked = translate_request(
        body(tools=tools, metadata={"a": "b"}, instructions="Be brief."),
        source="openai_responses",
        target="openai_chat",
        profile=Profile(),
    )
    chat = b'{"id":"x","model":"gpt","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    given = translate_response(
        chat, source="openai_chat", target="openai_responses", model="m", context=asked.stream_context
    )
    again = CODEC.decode_response(given.body)
    assert again.choices[0].parts == (TextPart("Hi"),)
    echo = asked.stream_context
    assert echo is not None
    assert echo.request is not None
    assert echo.request.tools == (Tool("look_up", None, {}),)
    assert b'"metadata":{"a":"b"}' in given.body
    assert b'"instructions":"Be brief."' in given.body
