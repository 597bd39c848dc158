"""Errors of Amazon's: what they mean, by the name, the status and the words."""

from __future__ import annotations

import pytest

from asgi_llmgw.envelopes.converse import BedrockConverse, ConverseStream
from asgi_llmgw.errors import STATUS, ErrorKind, GatewayError, InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.json import JSONObject, dumps, loads_object
from asgi_llmgw.protocols import whole_frames
from asgi_llmgw.protocols.bedrock_converse import CODEC
from asgi_llmgw.protocols.bedrock_converse.wire import ERROR_IN
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from tests.amazon import message
from tests.protocols.bedrock_converse.shapes import operation, read_answer
from tests.protocols.bedrock_converse.written import event, exception

ENVELOPE = BedrockConverse()


def refused(status: int, name: str, text: str) -> GatewayError:
    headers = ((b"x-amzn-errortype", f"{name}:http://internal.amazon.com/".encode()),)
    return CODEC.decode_error(status, ENVELOPE.error(status, headers, dumps({"message": text})))


@pytest.mark.parametrize(
    ("status", "name", "text", "kind", "failure"),
    [
        (400, "ValidationException", "max_tokens: no", "bad_request", "caller_fault"),
        (400, "ValidationException", "Input is too long for requested model.", "context_too_long", "caller_fault"),
        (400, "ValidationException", "The provided model identifier is invalid.", "model_not_found", "model_access"),
        (
            400,
            "ValidationException",
            "Invocation of model ID x with on-demand throughput isn't supported.",
            "model_not_found",
            "model_access",
        ),
        (403, "AccessDeniedException", "User is not authorized", "upstream_unavailable", "credential"),
        (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
            "model_not_found",
            "model_access",
        ),
        (403, "ExpiredTokenException", "expired", "upstream_unavailable", "credential"),
        (403, "UnrecognizedClientException", "invalid token", "upstream_unavailable", "credential"),
        (404, "ResourceNotFoundException", "no such model", "model_not_found", "model_access"),
        (408, "ModelTimeoutException", "too slow", "upstream_timeout", "timeout"),
        (424, "ModelErrorException", "broken", "server_error", "transient"),
        (429, "ThrottlingException", "too many", "rate_limited", "rate_limit"),
        (429, "ModelNotReadyException", "soon", "overloaded", "overloaded"),
        (400, "ServiceQuotaExceededException", "too many", "rate_limited", "rate_limit"),
        (500, "InternalServerException", "oops", "server_error", "transient"),
        (503, "ServiceUnavailableException", "full", "overloaded", "overloaded"),
    ],
)
def test_what_an_exception_means(status: int, name: str, text: str, kind: str, failure: str) -> None:
    error = refused(status, name, text)
    assert (error.kind, getattr(error, "failure", None)) == (kind, failure)
    assert error.message == (text if failure != "credential" else "The upstream refused the gateway's credentials.")
    # whoever makes the name a member instead of a header says the same
    body = dumps({"__type": f"com.amazon.coral.service#{name}", "Message": text})
    again = CODEC.decode_error(status, ENVELOPE.error(status, (), body))
    assert (again.kind, again.failure, again.message) == (kind, failure, error.message)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, "caller_fault"),
        (401, "credential"),
        (403, "credential"),
        (404, "model_access"),
        (408, "timeout"),
        (418, "caller_fault"),
        (424, "transient"),
        (429, "rate_limit"),
        (500, "transient"),
        (503, "overloaded"),
        (504, "timeout"),
    ],
)
def test_a_status_alone_has_a_meaning(status: int, failure: str) -> None:
    error = CODEC.decode_error(status, ENVELOPE.error(status, (), b"<html>"))
    assert error.failure == failure and "html" not in error.message
    assert error.upstream_status == status


def test_every_error_that_amazon_documents_has_a_meaning() -> None:
    documented = {shape.name for name in ("Converse", "ConverseStream") for shape in operation(name).error_shapes}
    documented |= {name for name in operation("ConverseStream").output_shape.members["stream"].members if "Exc" in name}
    assert {name.lower().removesuffix("exception") for name in documented} <= set(ERROR_IN)
    assert len(documented) >= 10


@pytest.mark.parametrize("kind", STATUS)
def test_an_error_of_ours_is_one_to_amazons_own_client(kind: ErrorKind) -> None:
    encoded = CODEC.encode_error(GatewayError("no luck", kind=kind), request_id="r1")
    headers = {name.decode(): value.decode() for name, value in encoded.headers}
    read = read_answer(encoded.body, encoded.status, headers)
    assert read["Error"]["Message"] == "no luck" and read["Error"]["Code"].endswith("Exception")
    assert read["ResponseMetadata"]["RequestId"] == "r1"
    assert b"x-amzn-requestid" not in dict(CODEC.encode_error(GatewayError("no luck", kind=kind)).headers)


def test_an_error_in_a_stream_is_read_as_it_was_meant() -> None:
    frame = CODEC.encode_stream_error(GatewayError("full", kind="overloaded"))
    (fault,) = CODEC.stream_decoder().feed(frame)
    assert "overloaded" in repr(getattr(fault, "error", None).failure)  # type: ignore[union-attr]


def test_the_kind_of_the_answer_is_asked_for() -> None:
    for action, accept in (
        ("converse", b"application/json"),
        ("converse-stream", b"application/vnd.amazon.eventstream"),
    ):
        dressed = ENVELOPE.request(f"https://x/model/m/{action}", ((b"accept", b"*/*"), (b"a", b"b")), b"{}")
        assert dressed.url == f"https://x/model/m/{action}" and dressed.body == b"{}"
        assert dressed.headers == ((b"a", b"b"), (b"accept", accept))
    with pytest.raises(InvalidRequest, match="no such operation"):
        ENVELOPE.request("https://x/v1/embeddings", (), b"{}")


FRAMES: list[tuple[bytes, str, JSONObject]] = [
    (event("messageStart", {"role": "assistant"}), "messageStart", {"role": "assistant", "p": "abcdefghijk"}),
    (
        exception("throttlingException", {"message": "x"}),
        "exception",
        {"__type": "throttlingException", "message": "x"},
    ),
    (exception("x", {}), "exception", {"__type": "x"}),
    (
        message(message_type="error", error_code="500", error_message="x"),
        "exception",
        {"__type": "500", "message": "x"},
    ),
    (
        message(b"no json", message_type="exception", exception_type="throttlingException"),
        "exception",
        {"__type": "throttlingException"},
    ),
    (message(b'{\r\n"a":1}', message_type="event", event_type="later"), "later", {"a": 1}),
]


@pytest.mark.parametrize(("raw", "name", "data"), FRAMES, ids=[name for _, name, _ in FRAMES])
def test_a_message_is_an_event_of_its_name(raw: bytes, name: str, data: JSONObject) -> None:
    unwrapped, direct = ConverseStream(), whole_frames("bedrock_converse")
    (frame,) = SSEDecoder().feed(unwrapped.feed(raw))
    assert unwrapped.close() == b""
    assert (frame.event, loads_object(frame.data)) == (name, data)
    assert [(one.event, loads_object(one.data)) for one in SSEDecoder().feed(direct.feed(raw))] == [(name, data)]
    assert direct.close() == b""


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_a_message_without_a_name_is_an_error(name: str) -> None:
    with pytest.raises(InvalidUpstreamResponse, match="without a name"):
        ConverseStream().feed(message(b"{}", message_type="event", event_type=name))


def test_half_a_message_is_an_error() -> None:
    raw = event("messageStart", {})
    for decoder in (ConverseStream(), whole_frames("bedrock_converse")):
        assert decoder.feed(raw[:-1]) == b""
        with pytest.raises(InvalidUpstreamResponse, match="inside a message"):
            decoder.close()


def test_a_stream_that_was_unwrapped_already_is_read_too() -> None:
    decoder = whole_frames("bedrock_converse")
    assert decoder.feed(b"") == b"" and decoder.close() == b""
    assert decoder.feed(b"event: metadata\ndata: {}\n") == b""
    assert SSEDecoder().feed(decoder.feed(b"\n")) == [ServerSentEvent(b"{}", "metadata")]
    assert decoder.close() == b""
