"""What the transport over an injected client promises beyond the contract of all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest
import respx

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.common import USER_AGENT
from asgi_llmgw.upstream.httpx import HttpxUpstream

pytestmark = pytest.mark.anyio

URL = "https://vendor.test/v1/chat/completions"
REQUEST = UpstreamRequest(url=URL, headers=((b"authorization", b"Bearer sk-1"),), body=b'{"a": 1}')


@respx.mock
async def test_respx_can_stand_in_for_the_vendor() -> None:
    route = respx.post(URL).mock(return_value=httpx.Response(201, headers={"X-A": "b"}, content=b"{}"))
    async with httpx.AsyncClient() as client:
        upstream: Upstream = HttpxUpstream(client)
        async with upstream.open(REQUEST) as answer:
            assert (answer.status, await answer.aread(limit=100)) == (201, b"{}")
            assert (b"x-a", b"b") in answer.headers
    assert route.calls.last.request.content == b'{"a": 1}'


async def test_a_mock_transport_can_stand_in_for_the_vendor() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=pieces()))
    async with httpx2.AsyncClient(transport=transport) as client, HttpxUpstream(client).open(REQUEST) as answer:
        assert [piece async for piece in answer.aiter_raw()] == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_what_the_host_set_on_its_client_is_not_sent() -> None:
    """F097."""
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(307, headers={"location": "https://elsewhere.test"})

    client = httpx2.AsyncClient(
        transport=httpx2.MockTransport(handle),
        headers={"x-host": "secret", "accept": "text/html"},
        cookies={"session": "secret"},
        auth=("host", "secret"),
        follow_redirects=True,
    )
    async with client, HttpxUpstream(client).open(REQUEST) as answer:
        assert answer.status == 307
    assert [dict(request.headers) for request in seen] == [
        {
            "host": "vendor.test",
            "accept-encoding": "identity",
            "authorization": "Bearer sk-1",
            "user-agent": USER_AGENT,
            "content-length": "8",
        }
    ]


@pytest.mark.parametrize(
    ("error", "failure", "kind"),
    [
        (httpx2.ConnectError("vendor.test sk-1"), "unreachable", "upstream_unavailable"),
        (httpx2.ConnectTimeout("vendor.test sk-1"), "timeout", "upstream_timeout"),
        (httpx2.ReadTimeout("vendor.test sk-1"), "timeout", "upstream_timeout"),
        (httpx2.WriteError("vendor.test sk-1"), "unreachable", "upstream_unavailable"),
        (httpx2.PoolTimeout("vendor.test sk-1"), "overloaded", "overloaded"),
        (httpx2.ProxyError("vendor.test sk-1"), "unreachable", "upstream_unavailable"),
        (httpx2.RemoteProtocolError("illegal status line"), "invalid_response", "upstream_invalid_response"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_the_client_s_errors_become_ours(error: Exception, failure: str, kind: str) -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
        with pytest.raises(UpstreamError) as caught:
            async with HttpxUpstream(client).open(REQUEST):
                pass
    assert (caught.value.failure, caught.value.kind) == (failure, kind)
    assert "vendor" not in caught.value.message and "sk-1" not in caught.value.message
    assert caught.value.__cause__ is error


async def test_an_error_of_somebody_else_s_is_left_alone() -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        raise LookupError("a bug in a test double")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
        with pytest.raises(LookupError):
            async with HttpxUpstream(client).open(REQUEST):
                pass


@pytest.mark.parametrize("own", [True, False])
async def test_closes_the_client_only_if_it_is_its_own(own: bool) -> None:
    async with httpx2.AsyncClient() as client:
        await HttpxUpstream(client, own=own).aclose()
        assert client.is_closed is own


async def test_an_error_of_the_consumer_s_is_not_taken_for_the_vendor_s() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"{}"))
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(TimeoutError):
            async with HttpxUpstream(client).open(REQUEST) as answer:
                async for _ in answer.aiter_raw():
                    raise TimeoutError
