"""Limits under real servers: what a client held that is gone is free, and what it had streamed is counted."""

from __future__ import annotations

import re

import pytest

from tests.faultup import CHUNKED, Act, Step, chunk, response
from tests.samples import CHAT_ROLE, chat_answer, chat_chunk, chat_request
from tests.serving.conftest import KEY, House, OpenHouse
from tests.serving.raw import RawAnswer, connect, request, until

pytestmark = pytest.mark.anyio

TEXT = "x" * 900
BEGUN: list[Step] = [CHUNKED + chunk(CHAT_ROLE) + chunk(chat_chunk({"content": TEXT})), Act.STALL]
WHOLE: list[Step] = [response(chat_answer(), headers=[b"content-type: application/json"])]
ONE_AT_A_TIME: dict[str, object] = {"concurrency": 1, "tpm": 10_000}


async def ask(house: House) -> RawAnswer:
    async with connect(house.port) as client:
        client.send(request(chat_request(max_tokens=100), key=KEY))
        return await client.answer()


def remaining(answer: RawAnswer) -> int:
    found = re.search(rb"x-ratelimit-remaining-tokens: (\d+)", answer.head, re.IGNORECASE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_client_that_leaves_mid_stream_frees_its_place_and_is_counted(house: OpenHouse, how: str) -> None:
    """F109 F110 L1 L8"""
    async with house(BEGUN, WHOLE, limits=ONE_AT_A_TIME) as running, connect(running.port) as client:
        client.send(request(chat_request(stream=True, max_tokens=1000), key=KEY))
        await client.until(TEXT.encode())
        assert (await ask(running)).status == 429
        getattr(client, how)()
        await until(lambda: any(line["outcome"] == "client_disconnected" for line in running.log))
        answer = await ask(running)
        assert answer.status == 200
        # 300 tokens of text and the prompt are counted of the first, and 100 and its prompt are held for this one
        assert 9400 < remaining(answer) < 9600
        assert running.counted("llm_limited_total", api_key="team", limit="key_concurrency") == 1


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_client_that_leaves_before_the_first_byte_frees_its_place(house: OpenHouse, how: str) -> None:
    """F109 L1: its prompt was sent, and is counted."""
    async with house([Act.STALL], WHOLE, limits=ONE_AT_A_TIME) as running, connect(running.port) as client:
        client.send(request(chat_request(max_tokens=1000), key=KEY))
        await running.vendor.requests_seen(1)
        getattr(client, how)()
        await until(lambda: bool(running.log))
        answer = await ask(running)
        assert answer.status == 200
        assert 9800 < remaining(answer) < 9895


async def test_a_vendor_that_resets_the_connection_frees_the_place(house: OpenHouse) -> None:
    """L1"""
    scenarios: list[list[Step]] = [[*BEGUN[:1], Act.RESET], WHOLE]
    async with house(*scenarios, limits=ONE_AT_A_TIME) as running, connect(running.port) as client:
        client.send(request(chat_request(stream=True, max_tokens=1000), key=KEY))
        await client.until(b"error")
        answer = await ask(running)
        assert answer.status == 200
        assert 9400 < remaining(answer) < 9600


async def test_one_after_the_other_never_meets_itself(house: OpenHouse) -> None:
    """L10: on one connection and on new ones."""
    async with house(WHOLE, limits=ONE_AT_A_TIME) as running:
        assert [(await ask(running)).status for _ in range(20)] == [200] * 20
        async with connect(running.port) as client:
            for _ in range(20):
                client.send(request(chat_request(max_tokens=100), key=KEY))
                assert (await client.answer()).status == 200
