"""RealtimeApp alone, between a client and a vendor that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.realtime import HandshakeMiddleware, RealtimeApp
from asgi_llmgw.components.realtime.usage import together, usage_in
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Hedge, Target
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import as_object, dumps_text, loads
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import call, http_scope
from asgi_llmgw.upstream.websocket import Closed, Frame, Refusal, SocketRequest, UpstreamSocket
from tests.realtime.client import Client, websocket_scope
from tests.realtime.vendor import CREATED, response_done

pytestmark = pytest.mark.anyio

OPENAI = Provider(name="openai", base_url="https://vendor.example/v1", protocols=("openai_chat",), api_keys=("k",))


@dataclass
class Vendor:
    """Both an upstream and the one connection it makes: says what is queued, and keeps what it hears."""

    subprotocol: str | None = None
    refusal: Refusal | UpstreamError | None = None
    requests: list[SocketRequest] = field(default_factory=list)
    heard: list[Frame] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)
    words: asyncio.Queue[Frame | Closed | UpstreamError] = field(default_factory=asyncio.Queue)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    took: asyncio.Event = field(default_factory=asyncio.Event)
    stands: asyncio.Event | None = None
    takes: asyncio.Event | None = None
    breaks: bool = False

    @asynccontextmanager
    async def connect(self, request: SocketRequest, /) -> AsyncIterator[UpstreamSocket | Refusal]:
        self.requests.append(request)
        self.connected.set()
        try:
            if self.stands is not None:
                await self.stands.wait()
            if isinstance(self.refusal, UpstreamError):
                raise self.refusal
            yield self if self.refusal is None else self.refusal
        finally:
            await self.close()

    def says(self, *words: Frame | Closed | UpstreamError) -> Vendor:
        for word in words:
            self.words.put_nowait(word)
        return self

    async def receive(self) -> Frame | Closed:
        word = await self.words.get()
        if isinstance(word, UpstreamError):
            raise word
        return word

    async def send(self, frame: Frame) -> None:
        if self.takes is not None:
            await self.takes.wait()
        if self.breaks:
            raise broken()
        self.heard.append(frame)
        self.took.set()

    async def close(self, code: int = 1001, reason: str = "") -> None:
        self.closed.append((code, reason))


def broken() -> UpstreamError:
    return UpstreamError("it broke", failure="unreachable")


def client_of(app: ASGIApp, exchange: Exchange, **scope: object) -> Client:
    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, SCOPE_KEY: exchange}, receive, send)

    return Client(HandshakeMiddleware(told), {**websocket_scope(), **scope})


def exchange_of() -> Exchange:
    return Exchange(request_id="req_1", model="gpt-realtime", client_protocol="openai_chat")


async def test_the_client_is_accepted_with_the_vendors_first_word() -> None:
    vendor, exchange = Vendor(subprotocol="realtime"), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange, subprotocols=["other", "realtime"])
    running = asyncio.create_task(client.run())
    await vendor.connected.wait()
    assert client.sent == []
    vendor.says(CREATED)
    await client.hears(2)
    assert client.sent[0] == {"type": "websocket.accept", "subprotocol": "realtime", "headers": []}
    assert client.frames == [CREATED]
    client.leaves(4001, "done")
    await running
    assert vendor.closed[0] == (4001, "done")
    assert vendor.requests[0].url == "https://vendor.example/v1/realtime?model=gpt-realtime"
    assert vendor.requests[0].subprotocols == ("realtime",)
    assert vendor.requests[0].headers == ((b"authorization", b"Bearer k"),)
    assert (exchange.provider, exchange.outcome) == ("openai", "completed")


async def test_a_vendor_that_waits_for_the_client_is_not_waited_for() -> None:
    vendor = Vendor()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor, first_word=0.01), exchange_of())
    running = asyncio.create_task(client.run())
    await client.hears(1)
    client.says("hello")
    vendor.says("hello to you", Closed(1000))
    await running
    assert client.frames == ["hello to you"]


async def test_a_client_that_waits_for_nothing_loses_nothing() -> None:
    """What it says before it is accepted, and before anybody reads it."""
    vendor = Vendor(stands=asyncio.Event())
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange_of())
    running = asyncio.create_task(client.run())
    await vendor.connected.wait()
    assert vendor.stands is not None
    vendor.stands.set()
    vendor.says(CREATED)
    await client.hears(2)
    for word in ("one", "two", b"three"):
        client.says(word)
    client.leaves()
    await running
    assert vendor.heard == ["one", "two", b"three"]


async def test_a_client_that_leaves_early_ends_the_handshake_with_the_vendor() -> None:
    """F109"""
    vendor, exchange = Vendor(stands=asyncio.Event()), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange)
    running = asyncio.create_task(client.run())
    await vendor.connected.wait()
    client.leaves(1006)
    await running
    assert client.sent == []
    assert exchange.outcome == "client_disconnected"
    assert vendor.closed == [(1001, "")]


@pytest.mark.parametrize(
    ("closed", "outcome"),
    [
        (Closed(1000), "completed"),
        (Closed(1008, "too long"), "completed"),
        (Closed(3000, "session.expired"), "completed"),
        (Closed(1011), "upstream_error"),
        (Closed(1012), "upstream_error"),
        (Closed(1013), "upstream_error"),
    ],
)
async def test_a_vendor_says_goodbye_in_its_own_words(closed: Closed, outcome: str) -> None:
    vendor, exchange = Vendor().says(CREATED, closed), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange)
    await client.run()
    assert client.sent[-1] == {"type": "websocket.close", "code": closed.code, "reason": closed.reason}
    assert (exchange.outcome, exchange.finish_reason) == (outcome, str(closed.code))


async def test_a_vendor_that_breaks_off_is_1011() -> None:
    vendor, exchange = Vendor().says(CREATED, response_done(10, 2), broken()), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange)
    await client.run()
    assert client.sent[-1]["code"] == 1011
    assert exchange.outcome == "upstream_error"
    assert exchange.usage is not None and exchange.usage.total_tokens == 12


@pytest.mark.parametrize("frame", ["x" * 11, b"x" * 11])
async def test_a_client_that_says_too_much_at_once_is_1009(frame: Frame) -> None:
    vendor, exchange = Vendor().says(CREATED), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor, max_frame=10), exchange)
    client.says("x" * 10)
    client.says(frame)
    await client.run()
    assert client.sent[-1]["code"] == 1009
    assert vendor.closed[0][0] == 1009
    assert exchange.outcome == "rejected"
    assert vendor.heard in ([], ["x" * 10])


async def test_a_vendor_that_takes_nothing_is_not_waited_for_long() -> None:
    vendor, exchange = Vendor(takes=asyncio.Event()).says(CREATED), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor, send_stall=0.01), exchange)
    client.says("hello")
    await client.run()
    assert client.sent[-1]["code"] == 1011
    assert isinstance(exchange.failure, UpstreamError) and exchange.failure.failure == "timeout"


async def test_a_client_that_takes_nothing_is_gone() -> None:
    vendor, exchange = Vendor().says(CREATED, "more"), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor, send_stall=0.01), exchange)
    plain = client._send

    async def stuck(message: Message) -> None:
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()
        await plain(message)

    client._send = stuck  # type: ignore[method-assign]
    await client.run()
    assert exchange.outcome == "client_disconnected"
    assert vendor.closed == [(1001, "")]


async def test_a_vendor_that_takes_nothing_more_may_still_say_why() -> None:
    vendor, exchange = Vendor(breaks=True).says(CREATED), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange)
    running = asyncio.create_task(client.run())
    await client.hears(2)
    client.says("hello")
    await asyncio.sleep(0)
    vendor.says(Closed(4000, "that is why"))
    await running
    assert client.sent[-1]["code"] == 4000


async def test_who_is_cut_off_is_told_to_come_again() -> None:
    vendor, exchange = Vendor().says(CREATED), exchange_of()
    client = client_of(RealtimeApp(OPENAI, upstream=vendor), exchange)
    running = asyncio.create_task(client.run())
    await client.hears(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert client.sent[-1]["code"] == 1012
    assert vendor.closed == [(1001, "")]


@pytest.mark.parametrize(
    ("provider", "status", "code"),
    [
        pytest.param({"operations": frozenset({"count_tokens"})}, 400, "unsupported_operation", id="not_its_operation"),
        pytest.param({"protocols": ("anthropic_messages",)}, 400, "unsupported_operation", id="not_its_protocol"),
        pytest.param({"api_keys": ()}, 503, "provider_not_configured", id="no_key"),
    ],
)
async def test_who_cannot_hold_a_session_is_not_asked(provider: dict[str, object], status: int, code: str) -> None:
    vendor = Vendor()
    fields = {"name": "v", "base_url": "https://v.example", "protocols": ("openai_chat",), "api_keys": ("k",)}
    app = RealtimeApp(Provider(**{**fields, **provider}), upstream=vendor)  # type: ignore[arg-type]
    client = client_of(app, exchange_of())
    await client.run()
    assert client.sent[0]["status"] == status
    error = as_object(as_object(loads(client.sent[1]["body"]))["error"])
    assert error["code"] == code
    assert vendor.requests == []


async def test_a_request_without_a_socket_is_refused() -> None:
    answer = await call(RealtimeApp(OPENAI, upstream=Vendor()), http_scope("GET", "/v1/realtime"))
    assert answer.status == 405


async def test_the_next_target_takes_over_from_one_that_has_no_sessions() -> None:
    other = Provider(name="other", base_url="https://o.example", protocols=("anthropic_messages",), api_keys=("k",))
    vendor, exchange = Vendor().says(CREATED, Closed(1000)), exchange_of()
    exchange.targets = (Target("other", "m"), Target("openai", "m"))
    apps: dict[str, ASGIApp] = {
        "other": RealtimeApp(other, upstream=Vendor()),
        "openai": RealtimeApp(OPENAI, upstream=vendor),
    }
    client = client_of(DispatchApp(providers=apps), exchange)
    await client.run()
    assert client.frames == [CREATED]
    assert [tried.failure for tried in exchange.tried] == ["unsupported", None]


async def test_of_two_hedged_sessions_the_client_gets_one_whole() -> None:
    slow, quick, exchange = Vendor(), Vendor(), exchange_of()
    exchange.targets, exchange.hedge = (Target("slow", "m"), Target("quick", "m")), Hedge(after=0.01, share=1.0)
    apps: dict[str, ASGIApp] = {
        "slow": RealtimeApp(OPENAI, upstream=slow),
        "quick": RealtimeApp(OPENAI, upstream=quick),
    }
    client = client_of(DispatchApp(providers=apps), exchange)
    running = asyncio.create_task(client.run())
    await quick.connected.wait()
    quick.says(CREATED)
    await client.hears(2)
    client.says("hello")
    await quick.took.wait()
    quick.says("hello to you", Closed(1000))
    await running
    assert client.frames == [CREATED, "hello to you"]
    assert (slow.heard, quick.heard) == ([], ["hello"])
    assert slow.closed == [(1001, "")]
    assert exchange.outcome == "completed"


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"response.done"}',
        "response.done",
        '{"type":"other","text":"response.done","response":{"usage":{"input_tokens":1}}}',
        '{"type":"response.done"}',
        '{"type":"response.done","response":[]}',
        '{"type":"response.done","response":{"usage":null}}',
        '["response.done"]',
    ],
)
def test_other_messages_tell_no_usage(frame: Frame) -> None:
    assert usage_in(frame) is None


def test_a_response_tells_its_usage() -> None:
    usage = usage_in(response_done(20, 5, 8))
    assert usage == Usage(
        input_tokens=20, output_tokens=5, cache_read_tokens=8, audio_input_tokens=3, audio_output_tokens=2
    )
    assert usage is not None
    both = together(usage, together(usage, Usage(input_tokens=1)))
    assert (both.input_tokens, both.output_tokens, both.cache_read_tokens) == (41, 10, 16)


@pytest.mark.parametrize("odd", [None, -1, True, 1.5, 10**18, "3", [], [[1]], {}, {"usage": 1}], ids=repr)
def test_no_usage_is_so_odd_that_it_breaks_a_session(odd: object) -> None:
    counts = {"input_tokens": odd, "output_tokens": odd, "input_token_details": odd}
    for response in (odd, {"usage": odd}, {"usage": counts}):
        usage = usage_in(dumps_text({"type": "response.done", "response": response}))
        assert usage is None or (usage.input_tokens or 0) >= 0
