"""Asks providers how they are, beside the requests, where that is configured: a list of models costs nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import anyio

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.logs import describe
from asgi_llmgw.protocols import upstream_codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.health import Health
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest

_PATH: Final[dict[Protocol, str]] = {
    "openai_chat": "/v1/models",
    "openai_responses": "/v1/models",
    "anthropic_messages": "/v1/models?limit=1",
    "gemini_generate": "/v1beta/models?pageSize=1",
}
_MAX_ANSWER: Final = 1024 * 1024
_LATE: Final = 2.5
"""What a check says holds for so many times the pause between two: one may be late, or lost."""
_JITTER: Final = 0.1

_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One provider that is asked every so many seconds, once with each of its keys."""

    provider: Provider
    upstream: Upstream
    every: float


class HealthChecks:
    """The checks of one process.

    Args:
        health: is told what came of them.
        sleep: waits so many seconds.
    """

    def __init__(
        self, health: Health, checks: Iterable[Check], *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._health = health
        self._checks = tuple(checks)
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin in this event loop; once begun it has no effect."""
        if not self._tasks:
            self._tasks = [asyncio.get_running_loop().create_task(self._watch(check)) for check in self._checks]

    async def aclose(self) -> None:
        """Ask no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, check: Check) -> None:
        while True:
            for credential in range(max(1, len(check.provider.api_keys))):
                try:
                    await self._look(check, credential)
                except Exception as error:
                    # a check that goes wrong in a new way must not be the last one
                    _logger.warning("a health check of %s failed: %s", check.provider.name, describe(error))
            # many processes should not ask as one
            await self._sleep(check.every * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _look(self, check: Check, credential: int) -> None:
        provider = check.provider
        protocol = provider.protocols[0]
        request = UpstreamRequest(
            method="GET",
            url=provider.url(protocol, _PATH[protocol]),
            headers=provider.request_headers((), credential=credential),
            timeouts=provider.timeouts,
        )
        failure: UpstreamError | None = None
        try:
            with anyio.fail_after(min(check.every, provider.timeouts.first_byte)):
                async with check.upstream.open(request) as response:
                    body = await response.aread(limit=_MAX_ANSWER)
            if response.status >= 400:
                failure = upstream_codec(protocol).decode_error(response.status, body)
        except UpstreamError as error:
            failure = error
        except TimeoutError:
            failure = UpstreamError("The upstream did not answer a health check.", failure="timeout")
        self._health.checked(provider.name, credential, failure, rest=_LATE * check.every)
