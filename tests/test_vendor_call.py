"""What every call to a vendor has in common."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse, RequestError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.testing import FakeResponse, FakeUpstream, RecordingSend
from asgi_llmgw.upstream.base import UpstreamRequest, UpstreamResponse
from asgi_llmgw.vendor_call import VendorCall

pytestmark = pytest.mark.anyio

REQUEST = UpstreamRequest(url="https://vendor.example/v1/things", body=b"{}")


class Passing(VendorCall):
    """Passes on what comes, in two pieces."""

    def __init__(self, send: RecordingSend, error: Exception | None = None) -> None:
        super().__init__(Exchange("req_1"), send, protocol="openai_chat", clock=lambda: 7.0)
        self._error = error

    async def answered(self, response: UpstreamResponse) -> None:
        if self._error is not None:
            raise self._error
        if response.status != 200:
            raise (await self.refusal(response, "openai_chat"))[0]
        await self.pass_on(await response.aread(limit=100), ((b"content-type", b"text/plain"),), more=True)
        self.complete = True
        await self.pass_on(b"", (), more=False)


async def test_the_head_goes_out_once_and_before_the_first_piece() -> None:
    send = RecordingSend()
    call = Passing(send)
    await call.run(FakeUpstream([FakeResponse([b"abc"])]), REQUEST)
    assert [message["type"] for message in send.messages] == ["http.response.start"] + 2 * ["http.response.body"]
    assert call.exchange.first_token == 7.0
    assert send.finished


@pytest.mark.parametrize("error", [RequestError("No."), InvalidUpstreamResponse("that is no answer")])
async def test_a_failure_is_told_in_the_clients_protocol(error: GatewayError) -> None:
    send = RecordingSend()
    call = Passing(send, error)
    await call.run(FakeUpstream([FakeResponse([b""])]), REQUEST)
    assert send.messages[0]["status"] == error.status
    assert b'"error"' in send.messages[1]["body"]
    assert call.exchange.failure is error and call.complete


@pytest.mark.parametrize("error", [OSError("the transport is closed"), RequestError("No.")])
async def test_nothing_is_said_to_a_client_that_has_gone(error: Exception) -> None:
    send = RecordingSend()
    call = Passing(send, error)
    call.leave()
    await call.run(FakeUpstream([FakeResponse([b""])]), REQUEST)
    assert send.messages == []
    assert call.exchange.outcome == "client_disconnected"


async def test_a_client_that_leaves_after_the_end_has_not_left() -> None:
    call = Passing(RecordingSend())
    await call.run(FakeUpstream([FakeResponse([b"abc"])]), REQUEST)
    assert call.left() is None
    assert not call.gone and call.exchange.outcome is None


async def test_a_client_that_leaves_before_the_end_is_gone_at_once() -> None:
    call = Passing(RecordingSend())
    assert call.left() == 0.0
    assert call.gone and call.exchange.outcome == "client_disconnected"


async def test_a_refusal_says_when_to_come_back_where_the_vendor_does() -> None:
    send = RecordingSend()
    call = Passing(send)
    refused = FakeResponse([b'{"error": {"message": "slow down"}}'], status=429, headers=((b"retry-after", b"3"),))
    await call.run(FakeUpstream([refused]), REQUEST)
    assert send.messages[0]["status"] == 429
    assert dict(send.messages[0]["headers"])[b"retry-after"] == b"3"


async def test_a_redirection_is_no_answer() -> None:
    send = RecordingSend()
    call = Passing(send)
    await call.run(FakeUpstream([FakeResponse([b""], status=302)]), REQUEST)
    assert send.messages[0]["status"] == 502
    assert isinstance(call.exchange.failure, InvalidUpstreamResponse)
