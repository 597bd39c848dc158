"""Answers a component gives by itself."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import LimitError, RequestError
from asgi_llmgw.json import as_object, as_str
from asgi_llmgw.render import request_id_headers, send_error
from asgi_llmgw.testing import RecordingSend

pytestmark = pytest.mark.anyio


async def test_an_error_is_written_for_openais_clients_where_the_protocol_is_unknown() -> None:
    send = RecordingSend()
    error = RequestError("No such thing.", kind="not_found", code="unknown_url")
    await send_error(send, error, None, request_id="req_1", extra_headers=[(b"allow", b"GET")])
    assert send.status == 404
    assert as_object(as_object(send.json)["error"])["message"] == "No such thing."
    assert send.headers[b"allow"] == b"GET"
    assert send.headers[b"x-request-id"] == b"req_1"
    assert send.headers[b"cache-control"] == b"private, no-store"
    assert send.headers[b"content-length"] == str(len(send.body)).encode()


@pytest.mark.parametrize(("seconds", "header"), [(0.0, b"0"), (1.2, b"2"), (30.0, b"30")])
async def test_a_client_is_told_when_to_come_back(seconds: float, header: bytes) -> None:
    send = RecordingSend()
    await send_error(send, LimitError("Slow down.", retry_after=seconds), "openai_chat", request_id="req_1")
    found = [value for name, value in send.messages[0]["headers"] if name == b"retry-after"]
    assert found == [header]


async def test_a_long_text_of_the_clients_is_cut() -> None:
    """F220"""
    send = RecordingSend()
    await send_error(send, RequestError("m" * 10_000, param="p" * 10_000), None, request_id="req_1")
    error = as_object(as_object(send.json)["error"])
    assert len(send.body) <= 4096
    assert len(as_str(error["message"]) or "") == len(as_str(error["param"]) or "") == 1000


def test_anthropics_clients_look_for_another_header() -> None:
    assert request_id_headers("openai_chat", "a") == [(b"x-request-id", b"a")]
    assert request_id_headers("anthropic_messages", "a") == [(b"x-request-id", b"a"), (b"request-id", b"a")]
