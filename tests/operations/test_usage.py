"""What answers say they have used, and streams that tell it."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.operations.openai import characters_in, pictures_in, usage_in
from asgi_llmgw.operations.stream import OperationTap

IMAGE = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"aGk=","usage":%b}\n\n'
)
USAGE = b'{"input_tokens":9,"output_tokens":30,"total_tokens":39,"input_tokens_details":{"image_tokens":2}}'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"usage": {"prompt_tokens": 5, "total_tokens": 5}}, (5, 0), id="embeddings"),
        pytest.param({"usage": {"input_tokens": 9, "output_tokens": 30}}, (9, 30), id="images"),
        pytest.param({"usage": {"total_tokens": 4}}, (4, 0), id="rerank of Jina and vLLM"),
        pytest.param({"meta": {"tokens": {"input_tokens": 6}}}, (6, 0), id="rerank of Cohere"),
        pytest.param({"meta": {"billed_units": {"input_tokens": 7, "search_units": 1}}}, (7, 0), id="billed units"),
        pytest.param({"usageMetadata": {"promptTokenCount": 3}}, (3, 0), id="Gemini"),
        pytest.param(
            {"predictions": [{"embeddings": {"statistics": {"token_count": count}}} for count in (2, 3)]},
            (5, 0),
            id="Vertex AI",
        ),
        pytest.param({"usage": {"type": "duration", "seconds": 7}}, (None, None), id="seconds"),
        pytest.param({"usage": {"type": "duration", "seconds": "long"}}, None, id="no seconds"),
        pytest.param({"meta": {"billed_units": {"search_units": 1}}}, None, id="searches"),
        pytest.param({"usage": "many", "meta": [], "predictions": [1, {}]}, None, id="nonsense"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_each_vendor_counts_in_words_of_its_own(answer: JSONObject, expected: tuple[int, int] | None) -> None:
    found = usage_in(dumps(answer))
    assert (None if found is None else (found.input_tokens, found.output_tokens)) == expected


def test_what_was_heard_spoken_and_painted_is_counted_apart() -> None:
    details: JSONObject = {
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 176}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}, {"modality": "IMAGE", "tokenCount": 8}],
    }
    counts: JSONObject = {"promptTokenCount": 180, "candidatesTokenCount": 15, "thoughtsTokenCount": 5, **details}
    found = usage_in(dumps({"usageMetadata": counts}))
    assert found is not None and (found.output_tokens, found.reasoning_tokens) == (20, 5)
    assert (found.audio_input_tokens, found.audio_output_tokens, found.image_output_tokens) == (176, 7, 8)
    told: JSONObject = {"input_tokens": 9, "output_tokens": 30, "input_token_details": {"audio_tokens": 6}}
    found = usage_in(dumps({"usage": {**told, "output_tokens_details": {"image_tokens": 29}}}))
    assert found is not None and (found.audio_input_tokens, found.image_output_tokens) == (6, 29)


def test_what_is_not_counted_in_tokens_is_counted_otherwise() -> None:
    found = usage_in(b'{"usage":{"type":"duration","seconds":7.5}}')
    assert found is not None and found.seconds == 7.5
    assert pictures_in(b'{"data":[{"url":"a"},{"b64_json":"aGk="}]}') == 2
    assert [pictures_in(body) for body in (b"{}", b'{"data":1}', b"no")] == [0, 0, 0]
    assert characters_in('{"input":"für"}'.encode()) == 3
    assert [characters_in(body) for body in (b"{}", b'{"input":1}', b"no")] == [0, 0, 0]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"usage":'])
def test_an_answer_that_is_no_json_object_is_not_passed_on(body: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        usage_in(body)


def test_a_picture_that_comes_in_a_stream_tells_its_usage() -> None:
    tap, stream = OperationTap(), IMAGE % USAGE
    out = b"".join(tap.forward(stream[place : place + 1]) for place in range(len(stream)))
    assert (out, tap.close()) == (stream, b"")
    assert tap.usage is not None and (tap.usage.output_tokens, tap.usage.image_input_tokens) == (30, 2)
    assert tap.fault is None


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"type":"transcript.text.delta","delta":"He"}\n\n',
        b'data: {"type":"image_generation.partial_image","b64_json":"aGk="}\n\n',
        b"",
    ],
)
def test_a_stream_without_its_last_event_is_broken(stream: bytes) -> None:
    tap = OperationTap()
    assert tap.forward(stream) == stream
    tap.close()
    assert isinstance(tap.fault, InvalidUpstreamResponse)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"error","message":"too busy","code":"server_error"}\n\n',
        b'data: {"error":{"message":"too busy","type":"server_error"}}\n\n',
    ],
)
def test_an_error_in_a_stream_is_a_fault(event: bytes) -> None:
    tap = OperationTap()
    tap.forward(event)
    assert tap.fault is not None and tap.fault.retryable and "too busy" in tap.fault.message


def test_an_event_that_was_cut_off_is_kept_back() -> None:
    tap = OperationTap()
    assert (
        tap.forward(b'data: {"type":"speech.audio.delta"}\n\ndata: {"ty') == b'data: {"type":"speech.audio.delta"}\n\n'
    )
    assert tap.close() == b"" and tap.fault is not None


def test_an_endless_event_is_a_fault_and_not_an_exception() -> None:
    """F145."""
    tap = OperationTap()
    assert {tap.forward(b"data: " + b"x" * 1024 * 1024) for _ in range(18)} == {b""}
    assert tap.forward(b"\n\ndata: [DONE]\n\n") == tap.close() == b""
    assert tap.fault is not None
