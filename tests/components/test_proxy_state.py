from __future__ import annotations

import pytest

from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Opaque
from asgi_llmgw.json import dumps, loads_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.reasoning.envelope import PROCESS_KEY, seal
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from tests.samples import messages_answer

pytestmark = pytest.mark.anyio

SEALED = seal(Opaque("gemini_generate", "thought_signature", "CiwB=="), PROCESS_KEY)
PROVIDER = Provider(
    name="anthropic", base_url="https://api.example", protocols=("anthropic_messages",), api_keys=("sk",)
)


async def forwarded(body: bytes, exchange: Exchange | None = None) -> bytes:
    upstream = FakeUpstream([FakeResponse([messages_answer()])])
    scope = {**http_scope(), SCOPE_KEY: exchange or Exchange("r")}
    await call(ProxyApp(PROVIDER, upstream=upstream), scope, body)
    (request,) = upstream.requests
    return request.body


async def test_a_body_without_sealed_state_keeps_its_bytes() -> None:
    body = b'{ "model":"m",  "max_tokens":9, "messages":[{"role":"user","content":"hi"}] }'
    assert await forwarded(body) == body


async def test_state_of_another_vendor_stays_here() -> None:
    """R3, R12."""
    turns = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "", "signature": SEALED}, {"type": "text", "text": "Hello"}],
        },
    ]
    exchange = Exchange("r")
    body = await forwarded(dumps({"model": "m", "max_tokens": 9, "messages": turns}), exchange)
    assert [(item.code, item.severity) for item in exchange.diagnostics] == [("dropped", "info")]
    assert loads_object(body)["messages"] == [
        turns[0],
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
    ]
