"""The gateway inside other people's apps and middleware: streams stay streams, and leaving clients are noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from tests.faultup import CHUNKED, Act, FaultServer, Step, chunk, fault_server, response
from tests.samples import CHAT_ROLE, DONE, chat_answer, chat_chunk, chat_request
from tests.servers import SERVERS, ServerName
from tests.serving.raw import RawClient, connect, request, until

pytestmark = pytest.mark.anyio


class PassingOn(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        answer.headers["x-host"] = "seen"
        return answer


def fastapi(gateway: Gateway) -> ASGIApp:
    app = FastAPI(lifespan=gateway.lifespan)
    app.mount("/llm", gateway)
    return app


def starlette(gateway: Gateway) -> ASGIApp:
    return Starlette(routes=[Mount("/llm", gateway)], lifespan=gateway.lifespan)


def dispatcher(gateway: Gateway) -> ASGIApp:
    """As in a Django project's asgi.py: by the path, which stays whole, and without lifespan events."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("Django can only handle ASGI/HTTP connections")
        await gateway({**scope, "path": scope["path"].removeprefix("/llm")}, receive, send)

    return app


def behind(middleware: Callable[..., Any], **options: Any) -> Callable[[Gateway], ASGIApp]:
    return lambda gateway: middleware(starlette(gateway), **options)


MOUNTS = {
    "FastAPI": fastapi,
    "Starlette": starlette,
    "dispatcher": dispatcher,
    "BaseHTTPMiddleware": behind(PassingOn),
    "GZipMiddleware": behind(GZipMiddleware, minimum_size=1),
    "CORSMiddleware": behind(CORSMiddleware, allow_origins=["*"]),
}
MATRIX = [
    pytest.param(server, mount, id=f"{name}-{server}")
    for name, mount in MOUNTS.items()
    for server in (SERVERS if name in ("FastAPI", "BaseHTTPMiddleware") else ("uvicorn",))
]


class House:
    """A mounted gateway under a server, before a vendor of bytes."""

    def __init__(self, server: ServerName, mount: Callable[[Gateway], ASGIApp], *steps: Step) -> None:
        self._server = SERVERS[server]
        self._mount = mount
        self._vendor = fault_server(list(steps))

    async def __aenter__(self) -> House:
        self.vendor: FaultServer = await self._vendor.__aenter__()
        document: dict[str, object] = {
            "providers": {"vendor": {"kind": "openai", "base_url": f"{self.vendor.url}/v1", "api_key": "k"}},
            "models": {"smart": {"targets": ["vendor/the-model"]}},
        }
        self.log: list[bytes] = []
        self.gateway = build_app(parse_config(document, environ={}), access_log=self.log.append)
        self._running = self._server(self._mount(self.gateway))
        self.port = int((await self._running.__aenter__()).rpartition(":")[2])
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._running.__aexit__(None, None, None)
        await self.gateway.aclose()
        await self._vendor.__aexit__(None, None, None)


def send_chat(client: RawClient, *, stream: bool) -> None:
    headers = ("Accept-Encoding: gzip", "Origin: http://page.example")
    client.send(request(chat_request(stream=stream), path="/llm/v1/chat/completions", headers=headers))


@pytest.mark.parametrize(("server", "mount"), MATRIX)
async def test_events_come_one_by_one_and_as_they_are(server: ServerName, mount: Callable[[Gateway], ASGIApp]) -> None:
    """F201: neither buffered nor compressed."""
    gate = asyncio.Event()
    first = CHUNKED + chunk(CHAT_ROLE + chat_chunk({"content": "Hel"}))
    last = chunk(chat_chunk({}, "stop") + DONE) + chunk(b"")
    async with House(server, mount, first, gate, last) as running, connect(running.port) as client:
        send_chat(client, stream=True)
        head = (await client.until(b"\r\n\r\n")).lower()
        assert b"content-encoding" not in head and b"no-transform" in head and b"x-accel-buffering: no" in head
        await client.until(b'"Hel"')
        gate.set()
        await client.until(b"[DONE]")


@pytest.mark.parametrize(("server", "mount"), MATRIX)
async def test_a_client_that_leaves_is_noticed(server: ServerName, mount: Callable[[Gateway], ASGIApp]) -> None:
    """F201, F110: the vendor's connection ends at once."""
    async with House(server, mount, CHUNKED + chunk(chat_chunk({"content": "Hel"})), Act.STALL) as running:
        async with connect(running.port) as client:
            send_chat(client, stream=True)
            await client.until(b"Hel")
            client.leave()
            async with asyncio.timeout(5):
                await running.vendor.connections_ended()
        await until(lambda: bool(running.log))
        assert b'"outcome":"client_disconnected"' in running.log[0]


@pytest.mark.parametrize(("server", "mount"), MATRIX)
async def test_whole_answers_come_through(server: ServerName, mount: Callable[[Gateway], ASGIApp]) -> None:
    """F201, F141: keep-alive, and the gateway's own path below the mount."""
    whole = response(chat_answer(), headers=(b"content-type: application/json",))
    async with House(server, mount, whole) as running, connect(running.port) as client:
        for _ in range(2):
            client.send(request(chat_request("smart"), path="/llm/v1/chat/completions"))
            assert (await client.answer()).json["object"] == "chat.completion"
        client.send(request(b"", method="GET", path="/llm/v1/nothing"))
        assert (await client.answer()).status == 404
