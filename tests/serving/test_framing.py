"""Bytes on the wire that two readers could take for two things, under real servers."""

from __future__ import annotations

import asyncio
import random

import pytest

from asgi_llmgw.json import as_object, dumps
from tests.faultup import response
from tests.samples import chat_answer, chat_request
from tests.serving.conftest import KEY, House, OpenHouse
from tests.serving.raw import RawAnswer, connect, request

pytestmark = pytest.mark.anyio

ANSWER = response(chat_answer("From the vendor"), headers=(b"content-type: application/json",))
BODY = dumps(chat_request())


async def ask(house: House, data: bytes) -> RawAnswer | None:
    """Send these bytes on a connection of their own; None if the server answers with nothing."""
    async with connect(house.port) as client:
        client.send(data)
        try:
            return await client.answer()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


async def still_serves(house: House) -> None:
    answer = await ask(house, request(chat_request(), key=KEY))
    assert answer is not None and answer.status == 200
    assert b"From the vendor" in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(("Content-Length: 5", "Transfer-Encoding: chunked"), id="F001"),
        pytest.param((f"Content-Length: {len(BODY)}", "Content-Length: 5"), id="F002"),
        pytest.param(("Content-Length: -1",), id="F003_negative"),
        pytest.param(("Content-Length: +2",), id="F003_plus"),
        pytest.param(("Content-Length: 1e3",), id="F003_exponent"),
        pytest.param(("Content-Length: 0x2",), id="F003_hex"),
        pytest.param(("Content-Length: 99999999999999999999",), id="F003_digits"),
        pytest.param(("Transfer-Encoding: xchunked",), id="F006_unknown"),
        pytest.param(("Transfer-Encoding: identity",), id="F006_identity"),
        pytest.param(("X-A: b\x00c", f"Content-Length: {len(BODY)}"), id="F010_nul"),
    ],
)
async def test_ambiguous_framing_never_reaches_a_vendor(house: OpenHouse, headers: tuple[str, ...]) -> None:
    async with house([ANSWER]) as running:
        answer = await ask(running, request(BODY, key=KEY, headers=headers))
        assert answer is None or 400 <= answer.status < 502
        if running.vendor.requests:
            # hypercorn drops the length where both are given, and then there is but one way to read the request
            assert running.vendor.requests[0].body == b""
        await still_serves(running)


async def test_a_coded_transfer_is_refused(house: OpenHouse) -> None:
    """F006: uvicorn hands `gzip, chunked` to the app."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with house([ANSWER]) as running:
        answer = await ask(running, request(chunked, key=KEY, headers=("Transfer-Encoding: gzip, chunked",)))
        assert answer is not None and answer.status in (400, 501)
        assert running.vendor.requests == []


async def test_a_body_that_never_comes_whole_is_not_dispatched(house: OpenHouse) -> None:
    """F004."""
    async with house([ANSWER]) as running:
        async with connect(running.port) as client:
            client.send(request(BODY, key=KEY, headers=(f"Content-Length: {len(BODY) + 10}",)))
            client.writer.write_eof()
            await client.reader.read()
        assert running.vendor.requests == []
        await still_serves(running)


async def test_bytes_after_the_body_are_not_the_body(house: OpenHouse) -> None:
    """F005."""
    async with house([ANSWER]) as running, connect(running.port) as client:
        client.send(request(BODY, key=KEY) + request(b"", method="GET", path="/health"))
        first, second = await client.answer(), await client.answer()
        assert (first.status, second.status) == (200, 200)
        assert second.json == {"status": "ok"}
        assert running.vendor.requests[0].body == BODY.replace(b'"smart"', b'"the-model"')


async def test_a_chunked_body_with_a_broken_chunk_is_not_dispatched(house: OpenHouse) -> None:
    """F007."""
    broken = b"%x\r\n%bXX0\r\n\r\n" % (len(BODY), BODY)
    async with house([ANSWER]) as running:
        await ask(running, request(broken, key=KEY, headers=("Transfer-Encoding: chunked",)))
        assert running.vendor.requests == []
        await still_serves(running)


async def test_a_body_in_tiny_chunks_is_read_whole(house: OpenHouse) -> None:
    """F008, F046."""
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    async with house([ANSWER]) as running:
        answer = await ask(running, request(chunked, key=KEY, headers=("Transfer-Encoding: chunked",)))
        assert answer is not None and answer.status == 200


async def test_trailers_do_not_change_who_asks(house: OpenHouse) -> None:
    """F009: uvicorn appends trailers to the list it gave out as headers."""
    head = request(b"", headers=("Transfer-Encoding: chunked", "Trailer: Authorization"))
    tail = f"0\r\nAuthorization: Bearer {KEY}\r\nX-Api-Key: {KEY}\r\n\r\n".encode()
    chunked = b"%x\r\n%b\r\n" % (len(BODY), BODY)
    async with house([ANSWER]) as running:
        async with connect(running.port) as client:
            client.send(head)
            assert (await client.answer()).status == 401
            client.send(chunked + tail)
        assert running.vendor.requests == []
        async with connect(running.port) as client:
            client.send(request(b"", key=KEY, headers=("Transfer-Encoding: chunked",)))
            client.send(chunked)
            client.send(tail.replace(KEY.encode(), b"another-key-in-a-trailer"))
            await client.answer()
        assert all(b"another-key" not in received.head for received in running.vendor.requests)


@pytest.mark.parametrize("host", ["ok/health?x=", "a#b", None, "x" * 10_000, "evil.example"])
async def test_the_host_header_decides_nothing(house: OpenHouse, host: str | None) -> None:
    """F013: `Host: a/health?x=` must not turn a protected path into a public one."""
    async with house([ANSWER]) as running:
        answer = await ask(running, request(BODY, host=host))
        assert answer is None or answer.status in (400, 401)
        assert running.vendor.requests == []


async def test_an_absolute_target_goes_nowhere_else(house: OpenHouse) -> None:
    """F014."""
    async with house([ANSWER]) as running:
        answer = await ask(running, request(b"", method="GET", path="http://evil.example/v1/models", key=KEY))
        assert answer is None or answer.status in (200, 400, 404)
        assert running.vendor.requests == []


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "X" * 10_000])
async def test_strange_methods_are_refused(house: OpenHouse, method: str) -> None:
    """F012."""
    async with house([ANSWER]) as running:
        answer = await ask(running, request(BODY, method=method, key=KEY))
        assert answer is None or answer.status in (400, 404, 405, 414, 431)
        assert running.vendor.requests == []
        await still_serves(running)


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        pytest.param(("X-Big: " + "x" * 200_000,), "/v1/chat/completions", id="F015_one_large_header"),
        pytest.param(tuple(f"X-{i}: 1" for i in range(2_000)), "/v1/chat/completions", id="F015_many_headers"),
        pytest.param((), "/v1/" + "x" * 60_000, id="F015_long_path"),
        pytest.param((), "/v1/models?" + "x" * 60_000, id="F015_long_query"),
    ],
)
async def test_oversized_heads_are_refused(house: OpenHouse, headers: tuple[str, ...], path: str) -> None:
    async with house([ANSWER]) as running:
        answer = await ask(running, request(BODY, key=KEY, path=path, headers=headers))
        assert answer is None or answer.status in (400, 414, 431)
        assert running.vendor.requests == []
        await still_serves(running)


async def test_a_bad_key_is_refused_before_the_body_is_invited(house: OpenHouse) -> None:
    """F023."""
    async with house([ANSWER]) as running, connect(running.port) as client:
        client.send(request(b"", headers=("Content-Length: 1000000", "Expect: 100-continue")))
        answer = await client.answer()
        if answer.status == 100:
            # hypercorn invites every body by itself
            answer = await client.answer()
        assert answer.status == 401


async def test_pipelined_requests_keep_their_own_identities(house: OpenHouse) -> None:
    """F024."""
    async with house([ANSWER]) as running, connect(running.port) as client:
        pairs = [(KEY, 200) if number % 2 else ("wrong", 401) for number in range(20)]
        client.send(b"".join(request(b"", method="GET", path="/v1/models", key=key) for key, _ in pairs))
        assert [(await client.answer()).status for _ in pairs] == [status for _, status in pairs]


async def test_websockets_are_denied(house: OpenHouse) -> None:
    """F020, F081."""
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with house([ANSWER]) as running:
        answer = await ask(running, request(b"", method="GET", path="/v1/responses", headers=upgrade, key=KEY))
        assert answer is not None and answer.status == 426
        assert b"websockets_not_served" in answer.body
        await still_serves(running)


async def test_chunks_in_http_1_0_leave_nothing_on_the_connection(house: OpenHouse) -> None:
    """F025: whatever is made of the request, what follows it is not another one."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    smuggled = request(b"", method="GET", path="/v1/models", key=KEY)
    old = request(chunked, key=KEY, headers=("Transfer-Encoding: chunked",)).replace(b" HTTP/1.1", b" HTTP/1.0", 1)
    async with house([ANSWER]) as running, connect(running.port) as client:
        client.send(old + smuggled)
        told = await asyncio.wait_for(client.reader.read(), 10)
        assert told.count(b"HTTP/1.") == 1
        await still_serves(running)


async def test_random_bytes_do_not_kill_the_server(house: OpenHouse) -> None:
    """F026."""
    noise = random.Random(26)
    async with house([ANSWER]) as running:
        for _ in range(200):
            async with connect(running.port) as client:
                client.send(noise.randbytes(noise.randrange(1, 400)) + b"\r\n\r\n")
                client.reset()
        await still_serves(running)
        assert len(running.vendor.requests) == 1


async def test_errors_before_routing_are_in_shape(house: OpenHouse) -> None:
    async with house([ANSWER]) as running:
        for data in (
            request(BODY),
            request(BODY, path="/v1/nothing", key=KEY),
            request(b"", method="GET", key=KEY),
            request(b"{", key=KEY),
        ):
            answer = await ask(running, data)
            assert answer is not None
            assert set(as_object(answer.json["error"])) == {"message", "type", "param", "code"}, answer
            assert b"x-request-id" in answer.head.lower()
