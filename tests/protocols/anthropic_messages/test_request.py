"""Everything in a request but its conversation, its tools and its thinking."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import CacheMark, ChatRequest, Extension, Message, ResponseFormat, Sampling, TextPart, Tool
from asgi_llmgw.json import JSONObject, as_list, as_object
from asgi_llmgw.protocols.anthropic_messages import CODEC

from .samples import OWN, body_of, chat, encode, notes_of, system, turns, user

SCHEMA: JSONObject = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}


def test_a_plain_request_is_written_whole() -> None:
    encoded = body_of(chat(user("Hi"), max_output_tokens=5))
    assert encoded == {
        "model": "claude",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_the_required_limit_comes_from_the_profile() -> None:
    body, notes = encode(chat(), max_output_tokens=777)
    assert body["max_tokens"] == 777
    assert ("max_tokens", "defaulted") in {(n.path, n.code) for n in notes}
    assert ("max_tokens", "defaulted") not in notes_of(chat(max_output_tokens=0))


@pytest.mark.parametrize(("given", "sent"), [(0.7, 0.7), (1.5, 1), (2, 1), (-1, 0)])
def test_temperature_is_clamped(given: float, sent: float) -> None:
    request = chat(sampling=Sampling(temperature=given))
    assert body_of(request)["temperature"] == sent
    assert (("temperature", "clamped") in notes_of(request)) == (given != sent)


def test_sampling_goes_through_where_the_model_takes_it() -> None:
    request = chat(sampling=Sampling(temperature=0.5, top_p=0.9, top_k=4))
    assert {"temperature": 0.5, "top_p": 0.9, "top_k": 4}.items() <= body_of(request).items()
    both = {"temperature", "top_p"}
    assert both & set(body_of(request, temperature_with_top_p=False)) == {"temperature"}
    body, notes = encode(request, sampling=False)
    assert not {"temperature", "top_p", "top_k"} & set(body)
    assert {n.path for n in notes if n.code == "dropped"} == {"temperature", "top_p", "top_k"}


def test_blank_stop_sequences_are_dropped() -> None:
    request = chat(sampling=Sampling(stop=("END", " \n", "")))
    assert body_of(request)["stop_sequences"] == ["END"]
    assert ("stop", "dropped") in notes_of(request)
    assert "stop_sequences" not in body_of(chat(sampling=Sampling(stop=(" ",))))


def test_what_the_vendor_does_not_know_is_dropped_aloud() -> None:
    request = chat(
        sampling=Sampling(
            seed=1, presence_penalty=0, frequency_penalty=1.0, logit_bias={"1": 2}, logprobs=True, top_logprobs=0
        ),
        metadata={"a": "b"},
        verbosity="low",
        prompt_cache_key="k",
        service_tier="flex",
    )
    body, notes = encode(request)
    assert set(body) == {"model", "max_tokens", "messages"}
    assert {n.path for n in notes if n.code == "dropped"} == {
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "metadata",
        "verbosity",
        "prompt_cache_key",
        "service_tier",
    }


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        pytest.param(chat(candidates=2), "n", id="several_answers"),
        pytest.param(chat(modalities=("text", "audio")), "modalities", id="audio"),
        pytest.param(chat(extensions=(Extension("openai_chat", "prompt", 1, "error"),)), "prompt", id="extension"),
    ],
)
def test_refuses_what_cannot_be_left_out(request_: ChatRequest, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(request_)
    assert (caught.value.kind, caught.value.param) == ("unsupported", param)
    assert caught.value.code == "unsupported_parameter"


def test_one_answer_in_text_is_no_problem() -> None:
    assert "n" not in body_of(chat(candidates=1, modalities=("TEXT",)))


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("default", "standard_only"), ("standard_only", "standard_only"), ("priority", "auto"), ("auto", None)],
)
def test_service_tiers(tier: str, sent: str | None) -> None:
    assert body_of(chat(service_tier=tier)).get("service_tier") == sent


@pytest.mark.parametrize(
    ("given", "kept"),
    [("user-17", True), ("ann@example.com", False), ("+49 170 1234567", False), ("x" * 257, False)],
)
def test_the_end_user_stays_anonymous(given: str, kept: bool) -> None:
    sent = as_object(body_of(chat(end_user=given))["metadata"])["user_id"]
    assert (sent == given) == kept
    assert len(str(sent)) <= 256
    assert sent == as_object(body_of(chat(end_user=given))["metadata"])["user_id"]


def test_a_schema_becomes_the_form_of_the_answer() -> None:
    request = chat(response_format=ResponseFormat("json_schema", SCHEMA, name="n", strict=True))
    assert body_of(request)["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}},
                "required": ["a"],
                "additionalProperties": False,
            },
        }
    }
    assert ("response_format.schema", "approximated") in notes_of(request)


@pytest.mark.parametrize(
    ("wanted", "native"),
    [
        pytest.param(ResponseFormat("json_object"), True, id="object"),
        pytest.param(ResponseFormat("json_schema", SCHEMA), False, id="model_without_schemas"),
        pytest.param(
            ResponseFormat("json_schema", {"type": "object", "properties": {"a": {"$ref": "#"}}}), True, id="recursive"
        ),
    ],
)
def test_a_form_the_model_does_not_take_is_asked_for_in_words(wanted: ResponseFormat, native: bool) -> None:
    """J11: no forced tool stands in for it."""
    body, notes = encode(chat(system("Be brief."), user("a"), response_format=wanted), native_structured_output=native)
    first, last = as_list(body["system"])
    assert as_object(first)["text"] == "Be brief."
    assert "JSON" in str(as_object(last)["text"])
    assert "output_config" not in body and "tools" not in body
    assert ("response_format", "approximated") in {(n.path, n.code) for n in notes}


def test_text_is_the_default_form() -> None:
    assert "output_config" not in body_of(chat(response_format=ResponseFormat("text")))


def test_only_the_last_four_cache_marks_are_kept() -> None:
    mark = CacheMark()
    request = chat(
        Message("system", (TextPart("s", cache=mark),)),
        Message("user", tuple(TextPart(str(i), cache=mark) for i in range(4))),
        tools=(Tool("f", cache=mark),),
    )
    body = body_of(request)
    assert "cache_control" not in as_object(as_list(body["tools"])[0])
    assert "cache_control" not in as_object(as_list(body["system"])[0])
    assert all("cache_control" in block for block in turns(body)[0][1])
    assert ("cache_control", "dropped") in notes_of(request)


def test_the_automatic_cache_mark_counts_too() -> None:
    parts = tuple(TextPart(str(i), cache=CacheMark("1h")) for i in range(4))
    body = body_of(chat(Message("user", parts), cache=CacheMark("5m")))
    assert body["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert ["cache_control" in block for block in turns(body)[0][1]] == [False, True, True, True]


def test_own_fields_are_written_again_and_others_dropped() -> None:
    request = chat(
        extensions=(
            Extension(OWN, "container", {"id": "c"}),
            Extension(OWN, "output_config.task_budget", 9),
            Extension("gemini_generate", "safetySettings", [], "info"),
        )
    )
    body, notes = encode(request)
    assert body["container"] == {"id": "c"}
    assert body["output_config"] == {"task_budget": 9}
    assert [(n.path, n.severity) for n in notes if n.code == "dropped"] == [("safetySettings", "info")]


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        body_of(chat(user("\ud800")))


def test_peek_reads_model_and_stream() -> None:
    head = CODEC.peek("/v1/messages?beta=true", b'\xef\xbb\xbf{"model":"m","stream":true,"messages":[]}')
    assert (head.model, head.stream) == ("m", True)
    assert CODEC.peek("/v1/messages", b'{"model":"m"}').stream is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b"{}", "model", id="rejects_missing_model"),
        pytest.param(b'{"model":null}', "model", id="rejects_null_model"),
        pytest.param(b'{"model":"a","model":"b"}', "model", id="rejects_two_models"),
        pytest.param(b'{"model":"a","stream":false,"stream":true}', "stream", id="rejects_two_streams"),
        pytest.param(b'{"model":"a","max_tokens":1,"max_tokens":2}', "max_tokens", id="rejects_two_limits"),
        pytest.param(b"[]", None, id="rejects_an_array"),
        pytest.param(b"{", None, id="rejects_half_a_body"),
    ],
)
def test_peek_refuses(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.peek("/v1/messages", body)
    assert caught.value.status == 400
    assert caught.value.param == param


def test_another_model_changes_one_value_only() -> None:
    body = b'{ "model": "a", "max_tokens":  1.0, "messages": [ {"content" : "\\u00e9"} ] }'
    encoded = CODEC.with_model("/v1/messages?beta=true", body, "b")
    assert encoded.path == "/v1/messages"
    assert encoded.body == body.replace(b'"a"', b'"b"')
    assert CODEC.with_model("/v1/messages", body, "a").body == body
    with pytest.raises(InvalidRequest):
        CODEC.with_model("/v1/messages", b"[", "b")
