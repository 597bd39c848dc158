"""The gateway under real servers, before a vendor of bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from tests.faultup import FaultServer, Step, fault_server
from tests.servers import SERVERS, ServerName

KEY = "client-key-of-the-server-tests"


@dataclass
class House:
    """Everything that runs."""

    url: str
    gateway: Gateway
    vendor: FaultServer
    registry: CollectorRegistry
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def counted(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where it was never touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


OpenHouse = Callable[..., Any]


@pytest.fixture(params=["uvicorn", "hypercorn"])
def house(request: pytest.FixtureRequest) -> OpenHouse:
    """`async with house([steps…], protocol=…) as running:` for each server."""
    server = SERVERS[cast(ServerName, request.param)]

    @asynccontextmanager
    async def opened(
        *scenarios: list[Step],
        kind: str = "openai",
        settings: dict[str, object] | None = None,
        limits: dict[str, object] | None = None,
        **provider: object,
    ) -> AsyncIterator[House]:
        async with fault_server(*scenarios) as vendor:
            base = f"{vendor.url}/v1" if kind == "openai" else vendor.url
            config = parse_config(
                {
                    "server": settings or {},
                    "keys": [{"name": "team", "key": KEY, **(limits or {})}],
                    "providers": {"vendor": {"kind": kind, "base_url": base, "api_key": "upstream-key", **provider}},
                    "models": {"smart": {"targets": ["vendor/the-model"]}},
                },
                environ={},
            )
            registry = CollectorRegistry()
            log: list[dict[str, Any]] = []
            gateway = build_app(config, registry=registry, access_log=lambda line: log.append(json.loads(line)))
            async with server(gateway) as url:
                yield House(url, gateway, vendor, registry, log)

    return opened
