"""Clients that stop reading, before the whole gateway: the next one finds everything given back."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import dumps
from asgi_llmgw.testing import FakeUpstream, RecordingSend, ScriptedReceive, http_scope, sse_response
from tests.samples import CHAT_ROLE, chat_request, chat_stream
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

KEY = "the-only-place"
BODY = dumps(chat_request("gpt-4o", stream=True))


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


class Stuck:
    """A server's `send` that takes the head and then nothing more; a deaf one cannot be cancelled either."""

    def __init__(self, *, deaf: bool) -> None:
        self.taken = 0
        self._deaf = deaf
        self.never = asyncio.get_running_loop().create_future()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.taken += 1
            return
        while not self.never.done():
            try:
                await asyncio.shield(self.never)
            except asyncio.CancelledError:
                if not self._deaf:
                    raise


@pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages"], ids=["same", "translated"])
@pytest.mark.parametrize("deaf", [False, True], ids=["cancellable", "deaf"])
async def test_the_place_of_a_client_that_does_not_read_is_free_again(deaf: bool, protocol: str) -> None:
    """F117, F119, L1: connection, reservation and count, also where the `send` never comes back."""
    upstream = FakeUpstream([sse_response(*chat_stream("Hel", "lo", usage=True))])
    config = parse_config(
        {
            "keys": [{"name": "team", "key": KEY, "concurrency": 1, "rpm": 1000, "budget_usd": 100.0}],
            "providers": {"openai": {"protocol": "openai_chat", "base_url": "https://v.example/v1", "api_key": "k"}},
            "models": {"gpt-4o": {"targets": ["openai/gpt-4o"]}},
        },
        environ={},
    )
    log: list[bytes] = []
    app = build_app(config, upstream=upstream, access_log=log.append)
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {KEY}".encode())]
    path = {"openai_chat": "/v1/chat/completions", "anthropic_messages": "/v1/messages"}[protocol]
    body = BODY if protocol == "openai_chat" else dumps(chat_request("gpt-4o", stream=True, max_tokens=9))
    scope = http_scope(path=path, headers=headers)
    stuck = Stuck(deaf=deaf)
    first = asyncio.create_task(app(scope, ScriptedReceive(body), stuck))
    await asyncio.sleep(10)
    refused = RecordingSend()
    await app(scope, ScriptedReceive(body), refused)
    assert (refused.status, stuck.taken, upstream.open_calls) == (429, 1, 1)
    await first
    assert asyncio.get_running_loop().time() < 40
    assert upstream.open_calls == 0
    served = RecordingSend()
    await app(scope, ScriptedReceive(body), served)
    assert served.status == 200
    assert [b'"outcome":"client_disconnected"' in line for line in log] == [False, True, False]
    stuck.never.cancel()
    await app.aclose()


async def test_an_answer_that_is_let_go_late_is_given_up_as_well() -> None:
    """F117: what the commit guard lets through after a while has a task of its own, which ends with the request."""
    upstream = FakeUpstream([sse_response(CHAT_ROLE, anyio.Event())])
    config = parse_config({"providers": {"openai": {"api_key": "k"}}, "server": {"heartbeat_seconds": 0}}, environ={})
    app = build_app(config, upstream=upstream, access_log=None)
    before = asyncio.all_tasks()
    stuck = Stuck(deaf=False)
    await app(http_scope(), ScriptedReceive(BODY), stuck)
    assert stuck.taken == 1
    assert upstream.open_calls == 0
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    await app.aclose()


@pytest.mark.parametrize("deaf", [False, True], ids=["cancellable", "deaf"])
async def test_a_heartbeat_that_nobody_takes_is_given_up_as_well(deaf: bool) -> None:
    """F117, F119: the comment hangs, while nothing of the answer has come yet."""
    upstream = FakeUpstream([sse_response(anyio.Event())])
    config = parse_config({"providers": {"openai": {"api_key": "k"}}}, environ={})
    log: list[bytes] = []
    app = build_app(config, upstream=upstream, access_log=log.append)
    stuck = Stuck(deaf=deaf)
    async with asyncio.timeout(100):
        await app(http_scope(), ScriptedReceive(BODY), stuck)
    assert (stuck.taken, upstream.open_calls) == (1, 0)
    assert b'"outcome":"client_disconnected"' in log[0]
    stuck.never.cancel()
    await app.aclose()
