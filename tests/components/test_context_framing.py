"""ContextMiddleware alone: requests that could mean different things to different readers."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.context import ContextMiddleware
from asgi_llmgw.testing import call, http_scope

pytestmark = pytest.mark.anyio


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, 200, b"{}")


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the request should have been refused")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], id="F001-both"),
        pytest.param([(b"content-length", b"5"), (b"content-length", b"6")], id="F002-two_lengths"),
        pytest.param([(b"content-length", b"5, 6")], id="F002-list"),
        pytest.param([(b"content-length", b"-1")], id="F003-negative"),
        pytest.param([(b"content-length", b"+2")], id="F003-plus"),
        pytest.param([(b"content-length", b"1e3")], id="F003-exponent"),
        pytest.param([(b"content-length", b"0x2")], id="F003-hex"),
        pytest.param([(b"content-length", b"1" * 20)], id="F003-20_digits"),
        pytest.param([(b"content-length", b"")], id="F003-empty"),
        pytest.param([(b"content-length", "\u0665".encode())], id="F003-arabic_digit"),
        pytest.param([(b"transfer-encoding", b"xchunked")], id="F006-xchunked"),
        pytest.param([(b"transfer-encoding", b"gzip, chunked")], id="F006-gzip"),
        pytest.param([(b"transfer-encoding", b"identity")], id="F006-identity"),
        pytest.param([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], id="F006-twice"),
    ],
)
async def test_ambiguous_framing_is_refused_and_the_connection_closed(headers: list[tuple[bytes, bytes]]) -> None:
    answer = await call(ContextMiddleware(never), http_scope(headers=headers))
    assert answer.status == 400
    assert answer.headers[b"connection"] == b"close"


async def test_http_2_has_no_connection_header() -> None:
    scope = http_scope(headers=[(b"content-length", b"x")])
    scope["http_version"] = "2"
    answer = await call(ContextMiddleware(never), scope)
    assert answer.status == 400
    assert b"connection" not in answer.headers


@pytest.mark.parametrize("headers", [[(b"content-length", b"2")], [(b"transfer-encoding", b"Chunked")]])
async def test_plain_framing_passes(headers: list[tuple[bytes, bytes]]) -> None:
    answer = await call(ContextMiddleware(fine), http_scope(headers=headers))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        pytest.param(http_scope(headers=[(b"x", b"a" * 200_000)]), 431, id="F015-200KB_header"),
        pytest.param(http_scope(headers=[(b"x%d" % n, b"") for n in range(2000)]), 431, id="F015-2000_headers"),
        pytest.param(http_scope(headers=[(b"x", b"")] * 500), 431, id="F016-one_header_500_times"),
        pytest.param(http_scope(path="/" + "a" * 65_536), 431, id="F015-64KB_path"),
        pytest.param(http_scope(query=b"a" * 65_536), 431, id="F015-64KB_query"),
        pytest.param(http_scope(headers=[(b"x", b"a\r\ny: z")]), 400, id="F100-CRLF"),
        pytest.param(http_scope(headers=[(b"x", b"a\nb")]), 400, id="F010-bare_LF"),
        pytest.param(http_scope(headers=[(b"x", b"a\0")]), 400, id="F100-NUL"),
        pytest.param(http_scope(headers=[(b"x\n", b"a")]), 400, id="F100-name"),
    ],
)
async def test_headers_beyond_the_limits_are_refused(scope: Scope, status: int) -> None:
    answer = await call(ContextMiddleware(never), scope)
    assert answer.status == status
    assert b"error" in answer.body
    assert len(answer.body) <= 4096
