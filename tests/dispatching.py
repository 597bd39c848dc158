"""A dispatcher over vendors that answer by the clock, in virtual time (`tests/virtual_time.py`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from asgi_llmgw._types import ASGIApp, Headers
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Hedge, Target, Tried
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.health import BreakerPolicy, Health
from asgi_llmgw.routing.policy import Balancer, Credentials
from asgi_llmgw.routing.retry import Retries, RetryPolicy
from asgi_llmgw.testing import SSE_HEADERS, RecordingSend, ScriptedReceive, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.samples import CHAT_ERROR, chat_answer, chat_request, chat_stream

JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


@dataclass
class Paced:
    """An answer by the clock: a number among the steps is waited for, an exception is raised."""

    steps: Sequence[bytes | float | BaseException]
    status: int = 200
    headers: Headers = JSON_HEADERS
    after: float = 0.0

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for step in self.steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, bytes):
                await anyio.lowlevel.checkpoint()
                yield step
            else:
                await anyio.sleep(step)

    async def aread(self, *, limit: int) -> bytes:
        return b"".join([chunk async for chunk in self.aiter_raw()])


def whole(text: str = "Hello", *, after: float = 0.0) -> Paced:
    """A good answer."""
    return Paced([chat_answer(text)], after=after)


def stream(*words: str, first: float = 0.0, between: float = 0.0) -> Paced:
    """A good stream, whose first word comes after a while."""
    role, *rest = chat_stream(*words)
    steps: list[bytes | float | BaseException] = [role, first]
    for chunk in rest:
        steps += [chunk, between]
    return Paced(steps, headers=SSE_HEADERS)


def refusal(status: int, *, after: float = 0.0, code: str | None = None, **headers: str) -> Paced:
    """An error; underscores in header names stand for hyphens."""
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    text = dumps({"error": {"message": "No.", "type": "x", "code": code}})
    return Paced([text], status=status, headers=(*JSON_HEADERS, *told), after=after)


OVERLOADED = Paced([dumps(CHAT_ERROR)], status=503)


@dataclass
class Vendor:
    """Gives its answers in order, the last one again and again, and notes who asked when and with which key.

    A key in `by_key` has its own answer.
    """

    answers: Sequence[Paced | BaseException]
    by_key: Mapping[str, Paced] = field(default_factory=dict)
    requests: list[UpstreamRequest] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    open_calls: int = 0

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[Paced]:
        self.requests.append(request)
        self.times.append(now())
        answer, *rest = self.answers
        answer, self.answers = self.by_key.get(self.keys[-1], answer), rest or self.answers
        self.open_calls += 1
        try:
            if isinstance(answer, BaseException):
                raise answer
            await anyio.sleep(answer.after)
            yield answer
        finally:
            self.open_calls -= 1

    async def aclose(self) -> None:
        pass

    @property
    def keys(self) -> list[str]:
        """The keys that were used, in order."""
        return [
            dict(request.headers).get(b"authorization", b"").decode().removeprefix("Bearer key-")
            for request in self.requests
        ]


class Stand:
    """A dispatcher, its vendors, and what is known of their health.

    Args:
        vendors: by provider name.
        keys: how many keys they have, where it is not one.
        protocols: what they speak, where it is not Chat Completions.
    """

    def __init__(
        self,
        vendors: Mapping[str, Vendor],
        *,
        keys: Mapping[str, int] | None = None,
        protocols: Mapping[str, Protocol] | None = None,
        policy: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self.vendors = vendors
        self.health = Health(breaker, clock=now, rng=random.Random(1))
        credentials = {name: Credentials(count) for name, count in (keys or {}).items()}
        balancer = Balancer(self.health, credentials=credentials, rng=random.Random(2))
        self.retries = Retries(balancer, policy, rng=random.Random(3))
        apps: dict[str, ASGIApp] = {}
        for name, vendor in vendors.items():
            provider = Provider(
                name=name,
                base_url=f"https://{name}.example/v1",
                protocols=((protocols or {}).get(name, "openai_chat"),),
                api_keys=tuple(f"key-{number}" for number in range((keys or {}).get(name, 1))),
            )
            proxy = ProxyApp(provider, upstream=vendor, clock=now)
            apps[name] = TranslatorMiddleware(proxy, over=provider.protocols, clock=now)
        self.app = DispatchApp(providers=apps, retries=self.retries)

    def exchange(self, *, targets: Sequence[Target] = (), hedge: Hedge | None = None) -> Exchange:
        """A new request, to all vendors in order."""
        everywhere = tuple(Target(name, "m") for name in self.vendors)
        return Exchange(
            "req_1",
            client_protocol="openai_chat",
            targets=tuple(targets) or everywhere,
            started=now(),
            hedge=hedge,
            route="smart",
        )

    async def ask(
        self,
        exchange: Exchange | None = None,
        *,
        body: JSONObject | None = None,
        receive: ScriptedReceive | None = None,
        stream: bool = False,
    ) -> Asked:
        """One request from its beginning to its end."""
        exchange = self.exchange() if exchange is None else exchange
        text = dumps(chat_request(stream=stream) if body is None else body)
        send = RecordingSend()
        receive = ScriptedReceive(text) if receive is None else receive
        before = now()
        await self.app({**http_scope(), SCOPE_KEY: exchange}, receive, send)
        return Asked(send, exchange, now() - before)

    @property
    def idle(self) -> bool:
        """Whether nothing is left of any request."""
        return not any(vendor.open_calls for vendor in self.vendors.values()) and not any(
            view.in_flight for view in self.health.views()
        )


@dataclass
class Asked:
    """A request that is over: what the client got, what is written down about it, and how long it took."""

    send: RecordingSend
    exchange: Exchange
    seconds: float

    @property
    def tried(self) -> list[tuple[str, str | None]]:
        """Whom it went to, and what was wrong with each."""
        return [(tried.provider, tried.failure) for tried in self.exchange.tried]

    @property
    def attempts(self) -> list[Tried]:
        return self.exchange.tried
