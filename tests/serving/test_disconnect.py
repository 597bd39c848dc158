"""A client that leaves, under real servers: the vendor's connection is closed at once and the request is counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.faultup import CHUNKED, Act, Step, chunk, response
from tests.samples import CHAT_ROLE, chat_answer, chat_chunk, chat_request, chat_stream, messages_stream
from tests.serving.conftest import KEY, House, OpenHouse
from tests.serving.raw import connect, request, until

pytestmark = pytest.mark.anyio

CHAT_BEGUN: list[Step] = [CHUNKED + chunk(CHAT_ROLE) + chunk(chat_chunk({"content": "Hel"})), Act.STALL]
MESSAGES_BEGUN: list[Step] = [CHUNKED + chunk(b"".join(messages_stream("Hel")[:4])), Act.STALL]
ENOUGH = 0.1


async def gone_within(house: House, leave: Any) -> float:
    """Seconds from the client's leaving to the end of the vendor's connection."""
    started = time.monotonic()
    leave()
    async with asyncio.timeout(5):
        await house.vendor.connections_ended()
    return time.monotonic() - started


async def settled(house: House) -> dict[str, Any]:
    """The access log's line of the request."""
    await until(lambda: bool(house.log))
    return house.log[0]


@pytest.mark.parametrize("how", ["leave", "reset"])
@pytest.mark.parametrize(
    ("kind", "steps"), [pytest.param("openai", CHAT_BEGUN, id="same"), pytest.param("anthropic", MESSAGES_BEGUN)]
)
async def test_leaving_mid_stream_closes_the_vendors_connection(
    house: OpenHouse, how: str, kind: str, steps: list[Step]
) -> None:
    """F110: within 100 ms, after FIN and after RST, passed through and translated."""
    async with house(steps, kind=kind) as running, connect(running.port) as client:
        client.send(request(chat_request(stream=True), key=KEY))
        await client.until(b"Hel")
        assert await gone_within(running, getattr(client, how)) < ENOUGH
        line = await settled(running)
        assert (line["outcome"], line["status"], line["provider"]) == ("client_disconnected", 200, "vendor")
        assert running.counted("llm_request_outcomes_total", outcome="client_disconnected") == 1
        labels = {"api_key": "team", "provider": "vendor", "model": "smart"}
        assert running.counted("llm_requests_total", endpoint="/v1/chat/completions", **labels) == 1
        assert running.counted("llm_errors_total", error_type="client_disconnected", **labels) == 1
        assert running.counted("llm_streams_in_flight") == 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_leaving_before_the_first_byte_closes_the_vendors_connection(house: OpenHouse, stream: bool) -> None:
    """F109, F111."""
    async with house([Act.STALL]) as running, connect(running.port) as client:
        client.send(request(chat_request(stream=stream), key=KEY))
        await running.vendor.requests_seen(1)
        assert await gone_within(running, client.leave) < ENOUGH
        assert (await settled(running))["outcome"] == "client_disconnected"


async def test_half_closing_counts_as_leaving(house: OpenHouse) -> None:
    """F123: every server takes it so."""
    async with house(CHAT_BEGUN) as running, connect(running.port) as client:
        client.send(request(chat_request(stream=True), key=KEY))
        await client.until(b"Hel")
        assert await gone_within(running, client.writer.write_eof) < ENOUGH


async def test_many_leaving_clients_leave_nothing_behind(house: OpenHouse) -> None:
    """F116, F112: at whatever point they go."""
    async with house(CHAT_BEGUN) as running:
        before = len(asyncio.all_tasks())

        async def come_and_go(number: int) -> None:
            async with connect(running.port) as client:
                client.send(request(chat_request(stream=True), key=KEY)[: 40 + number * 9])
                if number % 2:
                    await asyncio.wait({asyncio.ensure_future(client.reader.read(1))}, timeout=0.01)
                client.reset() if number % 3 else client.leave()

        for _ in range(3):
            await asyncio.gather(*(come_and_go(number) for number in range(40)))
        await until(lambda: len(asyncio.all_tasks()) <= before + 1 and not running.counted("llm_streams_in_flight"))
        assert running.counted("llm_streams_in_flight") == 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_got_everything_has_not_left(house: OpenHouse, stream: bool) -> None:
    """F112: servers say "disconnect" once the answer is complete, too."""
    whole = response(chat_answer(), headers=(b"content-type: application/json",))
    streamed: list[Step] = [CHUNKED + chunk(b"".join(chat_stream("Hi", usage=True))) + chunk(b"")]
    async with house(streamed if stream else [whole]) as running:
        for _ in range(20):
            async with connect(running.port) as client:
                client.send(request(chat_request(stream=stream), key=KEY))
                assert (await client.answer()).status == 200
        await until(lambda: len(running.log) == 20)
        assert {line["outcome"] for line in running.log} == {"completed"}
        assert running.counted("llm_request_outcomes_total", outcome="completed") == 20
