"""Embeddings from one vendor's words into another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.operations.embeddings.translate import translate_embeddings

OPENAI: Protocol = "openai_chat"
GEMINI: Protocol = "gemini_generate"


def to_gemini(**fields: JSONValue) -> JSONObject:
    call = translate_embeddings(dumps({"model": "m", **fields}), source=OPENAI, target=GEMINI, model="g/1")
    assert call.path == "/v1beta/models/g%2F1:batchEmbedContents"
    return loads_object(call.body)


def codes(**fields: JSONValue) -> list[tuple[str, str, str]]:
    call = translate_embeddings(dumps({"model": "m", **fields}), source=OPENAI, target=GEMINI, model="g")
    return [(item.path, item.code, item.severity) for item in call.diagnostics]


@pytest.mark.parametrize(("given_texts", "count"), [("a", 1), (["a"], 1), (["a", "", "é"], 3)])
def test_each_text_is_one_request_in_order(given_texts: JSONValue, count: int) -> None:
    requests = as_list(to_gemini(input=given_texts)["requests"])
    texts = [as_object(as_list(as_object(as_object(item)["content"])["parts"])[0])["text"] for item in requests]
    assert texts == ([given_texts] if isinstance(given_texts, str) else given_texts) and len(texts) == count


@pytest.mark.parametrize("given_texts", [[1, 2], [[1, 2], [3]], ["a", 1], [["a"]]])
def test_token_ids_are_refused(given_texts: JSONValue) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_gemini(input=given_texts)
    assert caught.value.kind == "unsupported" and caught.value.param == "input"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": []},
        {"input": None},
        {"input": {"a": 1}},
        {"input": ["a"] * 2049},
        {"input": "a", "dimensions": 0},
        {"input": "a", "dimensions": "many"},
        {"input": "a", "encoding_format": "hex"},
    ],
)
def test_what_openai_refuses_is_refused(fields: JSONObject) -> None:
    with pytest.raises(InvalidRequest):
        to_gemini(**fields)


def test_what_is_lost_is_said() -> None:
    assert codes(input="a", user="u") == [("user", "dropped", "info")]
    assert codes(input="a", truncate=True) == [("truncate", "dropped", "warning")]
    assert codes(input="a", task_type="CLUSTERING", title="t", dimensions=3) == []


def from_gemini(data: JSONObject) -> tuple[JSONObject, list[str]]:
    call = translate_embeddings(dumps(data), source=GEMINI, target=OPENAI, model="m")
    assert call.path == "/v1/embeddings"
    return loads_object(call.body), [item.path for item in call.diagnostics if item.severity != "info"]


def content(*texts: str, **more: JSONValue) -> JSONObject:
    return {"content": {"parts": [{"text": text} for text in texts]}, **more}


def test_geminis_requests_become_one_of_openais() -> None:
    batch: JSONObject = {"requests": [content("a", outputDimensionality=3), content("b", output_dimensionality=3)]}
    assert from_gemini(batch) == (
        {"model": "m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 3},
        [],
    )
    single = content("a", "b", taskType="CLUSTERING", title="t", autoTruncate=True)
    assert from_gemini(single) == (
        {"model": "m", "input": ["a\nb"], "encoding_format": "float"},
        ["autoTruncate", "taskType", "title"],
    )


@pytest.mark.parametrize(
    "data",
    [
        {"requests": []},
        {"requests": [content("a", taskType="X"), content("b")]},
        {"requests": [content("a"), {}]},
        {"content": {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}},
        {"content": {"parts": []}},
        {},
    ],
)
def test_what_cannot_be_said_to_openai_is_refused(data: JSONObject) -> None:
    with pytest.raises(InvalidRequest):
        from_gemini(data)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_base64_holds_the_same_numbers(vector: list[float]) -> None:
    """What is written for a client of OpenAI's is read from a vendor of OpenAI's."""
    call = translate_embeddings(b'{"input":"a","encoding_format":"base64"}', source=OPENAI, target=GEMINI, model="g")
    written, _ = call.answer(dumps({"embeddings": [{"values": vector}]}), model="m")
    back = translate_embeddings(dumps(content("a")), source=GEMINI, target=OPENAI, model="m")
    told, usage = back.answer(written, model="g")
    assert as_object(loads_object(told)["embedding"])["values"] == vector
    assert usage is not None and usage.input_tokens == 0


def test_vectors_come_back_in_the_order_of_their_texts() -> None:
    call = translate_embeddings(
        dumps({"requests": [content("a"), content("b")]}), source=GEMINI, target=OPENAI, model="m"
    )
    data: list[JSONValue] = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    told, _ = call.answer(dumps({"data": data}), model="g")
    assert loads_object(told) == {"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"data":[{"index":0,"embedding":[]}]}',
        b'{"data":[{"index":0,"embedding":["a"]}]}',
        b'{"data":[{"index":0,"embedding":"abc"}]}',
        b'{"data":[{"index":0,"embedding":"aGk="}]}',
        b'{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1]}]}',
    ],
)
def test_vectors_that_cannot_be_read_are_not_made_up(body: bytes) -> None:
    call = translate_embeddings(dumps(content("a")), source=GEMINI, target=OPENAI, model="m")
    with pytest.raises(InvalidUpstreamResponse):
        call.answer(body, model="g")
