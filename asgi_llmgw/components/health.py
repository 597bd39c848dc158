"""Is the process alive, and may it be sent requests?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.render import send_json


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are welcome. `reasons` say why not, in words that may be shown to anybody."""

    ready: bool
    reasons: tuple[str, ...] = ()


class HealthApp:
    """Answers 200 as long as the process can answer at all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _only_http(scope)
        await send_json(send, 200, {"status": "ok"}, head=scope["method"] == "HEAD")


class ReadyApp:
    """Answers 200 when requests are welcome and 503 with the reasons when they are not.

    Args:
        ready: asked on each request; it must not block.
    """

    def __init__(self, ready: Callable[[], Readiness]) -> None:
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _only_http(scope)
        head = scope["method"] == "HEAD"
        readiness = self._ready()
        if readiness.ready:
            await send_json(send, 200, {"status": "ready"}, head=head)
        else:
            await send_json(send, 503, {"status": "not_ready", "reasons": list(readiness.reasons)}, head=head)


def _only_http(scope: Scope) -> None:
    if scope["type"] != "http":
        raise ValueError(f"the scope type {scope['type']!r} is not served")
