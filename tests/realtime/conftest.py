"""The gateway under real servers, before a vendor of realtime sessions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from tests.realtime.vendor import Refused, Session, Vendor, echo, vendor_of
from tests.servers import SERVERS, ServerName

KEY = "client-key-of-the-realtime-tests"
MODEL = "gpt-realtime"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@dataclass
class House:
    """Everything that runs."""

    server: ServerName
    url: str
    gateway: Gateway
    vendor: Vendor
    registry: CollectorRegistry
    session: aiohttp.ClientSession
    log: list[dict[str, Any]] = field(default_factory=list)

    def connect(self, query: str = f"?model={MODEL}", *, path: str = "/v1/realtime", **options: Any) -> Any:
        """A client that opens a WebSocket, with the key unless `headers` say otherwise."""
        options.setdefault("headers", AUTHORIZED)
        return self.session.ws_connect(f"{self.url}{path}{query}", **options)

    async def refused(self, query: str = f"?model={MODEL}", **options: Any) -> tuple[int, dict[str, Any]]:
        """The status and the error of a handshake that is refused."""
        headers = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            **options.pop("headers", AUTHORIZED),
        }
        path = options.pop("path", "/v1/realtime")
        async with self.session.get(f"{self.url}{path}{query}", headers=headers) as answer:
            found = json.loads(await answer.read())
            return answer.status, cast(dict[str, Any], found["error"])

    def counted(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where it was never touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


OpenHouse = Callable[..., Any]


@pytest.fixture(params=["uvicorn", "hypercorn"])
def house(request: pytest.FixtureRequest) -> OpenHouse:
    """`async with house(session…, keys=…) as running:` for each server."""
    name = cast(ServerName, request.param)

    @asynccontextmanager
    async def opened(
        *script: Session | Refused, keys: bool = True, limits: dict[str, object] | None = None, **settings: object
    ) -> AsyncIterator[House]:
        async with vendor_of(*(script or (echo,))) as vendor:
            config = parse_config(
                {
                    "keys": [{"name": "team", "key": KEY, **(limits or {})}] if keys else [],
                    "providers": {
                        "vendor": {"kind": "openai", "base_url": vendor.url, "api_keys": ["first-key", "second-key"]}
                    },
                    "models": {MODEL: {"targets": ["vendor/the-model"]}},
                    **settings,
                },
                environ={},
            )
            registry = CollectorRegistry()
            log: list[dict[str, Any]] = []
            gateway = build_app(config, registry=registry, access_log=lambda line: log.append(json.loads(line)))
            async with SERVERS[name](gateway) as url, aiohttp.ClientSession() as session:
                yield House(name, url, gateway, vendor, registry, session, log)

    return opened
