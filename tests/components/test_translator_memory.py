"""Clients of Chat Completions that send back the standard fields and no others."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Principal
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import Profile
from asgi_llmgw.store.memory import MemorySideTable
from asgi_llmgw.testing import call, http_scope
from tests.reasoning.cases import SIGNING, UPSTREAMS, Upstream, as_stream, turn_of
from tests.replaying import next_request, without_conventions
from tests.samples import chat_request

pytestmark = pytest.mark.anyio

THINKING = Profile(thought_signatures=True, tool_call_ids=True)
CALLING = [
    pytest.param(protocol, upstream, streamed, id=f"{name}-{'stream' if streamed else 'whole'}")
    for name, (protocol, upstream) in UPSTREAMS.items()
    if protocol in SIGNING and b"weather" in upstream.answer
    for streamed in (False, True)
]


class Vendor:
    """Answers the first request with a turn that holds state, and keeps what it is asked."""

    def __init__(self, answer: bytes, *, streamed: bool) -> None:
        self.answer = answer
        self.kind = b"text/event-stream" if streamed else b"application/json"
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
        await send({"type": "http.response.body", "body": self.answer, "more_body": False})


def asked_by(name: str) -> Scope:
    return {**http_scope(), SCOPE_KEY: Exchange("r", principal=Principal(name))}


async def second_request(
    protocol: Protocol, upstream: Upstream, *, streamed: bool, table: MemorySideTable | None, other: str = "team-a"
) -> bytes:
    """What the vendor gets when the client comes back, as `other`, with nothing but the standard fields."""
    vendor = Vendor(as_stream(protocol, upstream.answer) if streamed else upstream.answer, streamed=streamed)
    app = TranslatorMiddleware(vendor, over=protocol, profile_for=lambda model: THINKING, side_table=table)
    answer = await call(app, asked_by("team-a"), chat_request("m", stream=streamed))
    body = without_conventions(next_request("openai_chat", answer.body, streamed=streamed))
    assert not [secret for secret in upstream.secrets if secret.encode() in body]
    await call(app, asked_by(other), body)
    return vendor.body


@pytest.mark.parametrize(("protocol", "upstream", "streamed"), CALLING)
async def test_state_is_remembered(protocol: Protocol, upstream: Upstream, streamed: bool) -> None:
    """R5, R6."""
    body = await second_request(protocol, upstream, streamed=streamed, table=MemorySideTable())
    assert turn_of(body, protocol) == upstream.replayed


@pytest.mark.parametrize(("protocol", "upstream", "streamed"), CALLING)
async def test_nobody_gets_the_state_of_another_client(protocol: Protocol, upstream: Upstream, streamed: bool) -> None:
    body = await second_request(protocol, upstream, streamed=streamed, table=MemorySideTable(), other="team-b")
    assert not [secret for secret in upstream.secrets if secret.encode() in body]


@pytest.mark.parametrize(("protocol", "upstream", "streamed"), CALLING)
async def test_without_a_table_nothing_is_made_up(protocol: Protocol, upstream: Upstream, streamed: bool) -> None:
    """R3."""
    body = await second_request(protocol, upstream, streamed=streamed, table=None)
    assert not [secret for secret in upstream.secrets if secret.encode() in body]


@pytest.mark.parametrize("protocol", SIGNING)
async def test_remembered_state_goes_to_no_other_vendor(protocol: Protocol) -> None:
    """R12: the turn was another vendor's."""
    table = MemorySideTable()
    for number, (origin, upstream) in enumerate(UPSTREAMS.values()):
        if origin in (protocol, "openai_chat") or b"weather" not in upstream.answer:
            continue
        first = TranslatorMiddleware(Vendor(upstream.answer, streamed=False), over=origin, side_table=table)
        client = f"team-{number}"
        answer = await call(first, asked_by(client), chat_request("m"))
        body = without_conventions(next_request("openai_chat", answer.body, streamed=False))
        vendor = Vendor(b"{}", streamed=False)
        await call(TranslatorMiddleware(vendor, over=protocol, side_table=table), asked_by(client), body)
        assert b"weather" in vendor.body
        assert not [secret for secret in upstream.secrets if secret.encode() in vendor.body]


async def test_a_client_that_keeps_its_state_is_believed() -> None:
    """What a client brings is what it was given last; the table is for those that bring nothing."""
    protocol, upstream = UPSTREAMS["gemini_signs_a_call"]
    table, vendor = MemorySideTable(), Vendor(upstream.answer, streamed=False)
    app = TranslatorMiddleware(vendor, over=protocol, side_table=table)
    answer = await call(app, asked_by("team-a"), chat_request("m"))
    data = loads_object(next_request("openai_chat", answer.body, streamed=False))
    for turn in map(as_object, as_list(data["messages"])):
        for tool_call in map(as_object, as_list(turn.get("tool_calls"))):
            if "extra_content" in tool_call:
                tool_call["extra_content"] = {"google": {"thought_signature": "bmV3ZXI="}}
    await call(app, asked_by("team-a"), dumps(data))
    assert b'"thoughtSignature":"bmV3ZXI="' in vendor.body
