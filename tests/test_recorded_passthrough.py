"""Law 6 through the whole gateway: where both sides speak Chat Completions, bytes in are bytes out, both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asgi_llmgw import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import as_bool, loads_object, with_members
from asgi_llmgw.passthrough import ask_for_usage
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope, sse_response
from tests.wire import Recording, needs_wire, recordings

pytestmark = pytest.mark.anyio

CONFIG = parse_config(
    {"providers": {"openai": {"api_key": "upstream-key"}}, "models": {"*": {"targets": ["openai/*"]}}}, environ={}
)
THERE = 37


def answers(found: Recording) -> FakeResponse:
    """What the vendor said, a stream in two pieces."""
    if found.stream is not None:
        middle = len(found.stream) // 2
        return sse_response(found.stream[:middle], found.stream[middle:])
    assert found.response is not None
    return FakeResponse([found.response])


def asked(body: bytes) -> bytes:
    """The same body, or the one exception: usage is asked for where a stream would not tell it."""
    streamed = as_bool(loads_object(body).get("stream")) is True
    also = ask_for_usage("openai_chat", body) if streamed else None
    return with_members(body, also) if also else body


@needs_wire
async def test_every_recorded_exchange_passes_byte_for_byte(report: Callable[[str, int], None]) -> None:
    passed = 0
    for found in recordings("openai_chat"):
        assert found.request is not None
        upstream = FakeUpstream([answers(found)])
        gateway = build_app(CONFIG, upstream=upstream, access_log=None)
        answer = await call(gateway, http_scope(), found.request)
        (sent,) = upstream.requests
        assert sent.body == asked(found.request), found.id
        untouched = sent.body == found.request or found.stream is None
        assert (answer.body == (found.stream or found.response)) or not untouched, found.id
        assert answer.status == 200
        passed += 1
    report("openai_chat exchanges through the gateway byte for byte", passed)
    assert passed >= THERE
