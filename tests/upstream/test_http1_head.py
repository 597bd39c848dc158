"""Heads of requests: what is written, and what never is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import RequestError, UpstreamError
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import USER_AGENT
from asgi_llmgw.upstream.http1_head import Known, Origin, request_head


class NoPieces:
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def head(url: str = "https://vendor.example/v1", headers: Headers = (), *, method: str = "POST") -> list[str]:
    """The lines of a head."""
    written = request_head(UpstreamRequest(method=method, url=url, headers=headers, body=b"{}"), {})[1].decode()
    lines, end, nothing = written.partition("\r\n\r\n")
    assert (end, nothing) == ("\r\n\r\n", "")
    return lines.split("\r\n")


def test_a_head_is_what_was_given_and_what_http_needs() -> None:
    assert head(headers=((b"authorization", b"Bearer k"), (b"x-name", "né".encode()), (b"x-name", b""))) == [
        "POST /v1 HTTP/1.1",
        "host: vendor.example",
        "accept-encoding: identity",
        "authorization: Bearer k",
        "x-name: né",
        "x-name: ",
        f"user-agent: {USER_AGENT}",
        "content-length: 2",
    ]


def test_who_names_himself_is_not_named_again() -> None:
    lines = head(headers=((b"user-agent", b"me"),))
    assert [line for line in lines if line.startswith("user-agent")] == ["user-agent: me"]


@pytest.mark.parametrize(
    ("url", "origin", "target", "host"),
    [
        ("https://a.example", Origin(True, "a.example", 443), "/", "a.example"),
        ("HTTPS://A.Example:443/X", Origin(True, "a.example", 443), "/X", "a.example"),
        ("http://a.example:443?q=1", Origin(False, "a.example", 443), "/?q=1", "a.example:443"),
        ("http://a.example:/x?", Origin(False, "a.example", 80), "/x?", "a.example"),
        ("https://a.example:80/x#part", Origin(True, "a.example", 80), "/x", "a.example:80"),
        ("http://[::1]:8080/x/../y//%2e", Origin(False, "::1", 8080), "/x/../y//%2e", "[::1]:8080"),
        ("https://bücher.example/x", Origin(True, "xn--bcher-kva.example", 443), "/x", "xn--bcher-kva.example"),
    ],
)
def test_an_address_is_taken_apart_and_not_written_anew(url: str, origin: Origin, target: str, host: str) -> None:
    assert request_head(UpstreamRequest(url=url), {})[0] == origin
    assert head(url)[:2] == [f"POST {target} HTTP/1.1", f"host: {host}"]


@pytest.mark.parametrize("user", ["me:secret@", "me@", "@", "a@b:secret@"])
def test_a_user_in_an_address_is_never_sent(user: str) -> None:
    assert head(f"https://{user}vendor.example/v1") == head()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1",
        "ftp://a.example/x",
        "http://",
        "http:///x",
        "http://:80/x",
        "http://a b/x",
        "http://a.example/a b",
        "http://a.example/a\r\nx-evil: 1",
        "http://a.example/a\nb",
        "http://a.example/é",
        "http://a.example\r\nx-evil: 1/",
        "http://a.example\\@b.example/",
        "http://a.example:99999/",
        "http://a.example:8o/",
        "http://[::1/",
        "http://::1/",
        "http://é..example/",
        "http://\ud800.example/",
        "httpſ://a.example/",
    ],
)
def test_an_address_that_leads_nowhere_is_refused(url: str) -> None:
    """F100."""
    with pytest.raises(UpstreamError) as caught:
        request_head(UpstreamRequest(url=url), {})
    assert caught.value.failure == "unreachable"


@pytest.mark.parametrize("method", ["", "GET /evil HTTP/1.1\r\n", "GE T", "GÉT", "\ud800"])
def test_a_method_that_breaks_out_is_refused(method: str) -> None:
    """F100."""
    with pytest.raises(RequestError):
        request_head(UpstreamRequest(method=method, url="http://a.example"), {})


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\r", b"\nb", b"\0", b"\xff", b"\xed\xa0\x80"])
def test_a_value_that_breaks_out_is_refused_wherever_it_stands(value: bytes) -> None:
    """F100."""
    for headers in (((b"a", value), (b"b", b"x")), ((b"b", b"x"), (b"a", value)), ((b"user-agent", value),)):
        with pytest.raises(RequestError):
            request_head(UpstreamRequest(url="http://a.example", headers=headers), {})


@pytest.mark.parametrize(("method", "told"), [("POST", True), ("PUT", True), ("GET", False), ("DELETE", False)])
def test_the_length_of_nothing_is_told_where_a_body_is_expected(method: str, told: bool) -> None:
    written = request_head(UpstreamRequest(method=method, url="http://a.example"), {})[1]
    assert (b"\r\ncontent-length: 0\r\n" in written) is told


@pytest.mark.parametrize(
    ("length", "line"), [(None, b"transfer-encoding: chunked"), (0, b"content-length: 0"), (7, b"content-length: 7")]
)
def test_a_body_in_pieces_has_its_length_told_or_comes_in_chunks(length: int | None, line: bytes) -> None:
    request = UpstreamRequest(url="http://a.example", pieces=NoPieces(), length=length)
    assert request_head(request, {})[1].endswith(b"\r\n" + line + b"\r\n\r\n")


def test_headers_that_come_again_are_written_alike_and_others_are_not_taken_for_them() -> None:
    known: Known = {}
    key, other = ((b"x-key", b"1"),), ((b"x-key", b"2"),)
    for headers in ((), key, key, other, (), key):
        for url in ("http://a.example", "http://b.example"):
            request = UpstreamRequest(url=url, headers=headers)
            assert request_head(request, known) == request_head(request, {})
