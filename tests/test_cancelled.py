"""The whole gateway, cancelled at every single await: whatever was taken is given back, and told of once."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.testing import FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, http_scope, sse_response
from tests.cancelling import How, run, settled
from tests.samples import (
    CHAT_ERROR,
    CHAT_ROLE,
    chat_answer,
    chat_chunk,
    chat_request,
    chat_stream,
    frame,
    messages_answer,
    messages_stream,
)

pytestmark = pytest.mark.anyio

KEY = "the-client's-key"
STREAM: JSONObject = chat_request(stream=True)
BROKEN = UpstreamError("The connection broke.", failure="unreachable")
Answers = list[FakeResponse | BaseException]


class House:
    """A gateway with two vendors, of which the first speaks another protocol or fails."""

    def __init__(self, first: Answers, *, protocol: str) -> None:
        self.upstreams = {
            "first": FakeUpstream(first),
            "second": FakeUpstream([sse_response(*chat_stream("the ", "second", usage=True))]),
        }
        limits = {"rpm": 1_000_000, "concurrency": 5, "tpm": 1_000_000_000}
        config = parse_config(
            {
                "keys": [{"name": "team", "key": KEY, **limits}],
                "providers": {
                    "first": {"protocol": protocol, "base_url": "https://one.example/v1", "api_key": "k"},
                    "second": {"protocol": "openai_chat", "base_url": "https://two.example/v1", "api_key": "k"},
                },
                "models": {"smart": {"targets": ["first/a", "second/b"]}},
            },
            environ={},
        )
        self.registry = CollectorRegistry()
        self.log: list[JSONObject] = []
        self.gateway: Gateway = build_app(
            config,
            upstreams=self.upstreams,
            registry=self.registry,
            access_log=lambda line: self.log.append(json.loads(line)),
        )

    async def ask(self, body: JSONObject) -> RecordingSend:
        send = RecordingSend()
        scope = http_scope(headers=[(b"content-type", b"application/json"), (b"authorization", KEY_HEADER)])
        await self.gateway(scope, ScriptedReceive(dumps(body)), send)
        return send

    @property
    def open_calls(self) -> int:
        return sum(upstream.open_calls for upstream in self.upstreams.values())

    @property
    def streams(self) -> float | None:
        return self.registry.get_sample_value("llm_streams_in_flight")


KEY_HEADER = f"Bearer {KEY}".encode()
CASES: dict[str, tuple[str, JSONObject, list[FakeResponse | BaseException]]] = {
    "passed_through": ("openai_chat", STREAM, [sse_response(*chat_stream("Hel", "lo", usage=True))]),
    "translated": ("anthropic_messages", STREAM, [sse_response(*messages_stream("Hel", "lo"))]),
    "whole": ("openai_chat", chat_request(), [FakeResponse([chat_answer()])]),
    "whole_translated": ("anthropic_messages", chat_request(), [FakeResponse([messages_answer()])]),
    "second_target": ("openai_chat", STREAM, [BROKEN]),
    "error_first": ("anthropic_messages", STREAM, [sse_response(frame(CHAT_ERROR, "error"))]),
    "cut": ("openai_chat", STREAM, [sse_response(CHAT_ROLE, chat_chunk({"content": "Hel"}), BROKEN)]),
}


@pytest.mark.parametrize("how", get_args(How))
@pytest.mark.parametrize("case", CASES)
async def test_a_request_may_be_cancelled_at_any_await(case: str, how: How) -> None:
    """F124, L1, L9: at each of them, alone, twice in a row, and in whichever task it is."""
    protocol, body, answers = CASES[case]
    house = House(answers, protocol=protocol)

    async def scenario() -> None:
        await house.ask(body)

    before = asyncio.all_tasks()
    awaits = await run(scenario, at=0, how=how)
    assert awaits >= 5
    for at in range(1, awaits + 1):
        house.log.clear()
        await run(scenario, at=at, how=how)
        left: set[asyncio.Task[Any]] = await settled(before)
        assert left == set(), (at, left)
        assert house.open_calls == 0, at
        assert house.streams == 0, at
        assert len(house.log) == 1, (at, house.log)
        assert house.log[0]["outcome"] is not None
    # with five at a time allowed, one that was never given back would show by now
    for _ in range(6):
        assert (await house.ask(body)).finished
    await house.gateway.aclose()
