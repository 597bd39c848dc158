"""How the vendors are doing, as far as this process knows: for operators, behind a key."""

from __future__ import annotations

from collections.abc import Callable

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.json import JSONObject
from asgi_llmgw.render import send_json
from asgi_llmgw.routing.health import Health, LaneView


class StatusApp:
    """Lists every model, provider and key that has been used, and whether it rests.

    Keys are told apart by their place in the configuration. Each worker process answers for itself.

    Args:
        store: whether the store that all processes share is there; None where there is none.
    """

    def __init__(self, health: Health, *, store: Callable[[], bool] | None = None) -> None:
        self._health = health
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the scope type {scope['type']!r} is not served")
        exchange = Exchange.get_or_create(scope)
        answer: JSONObject = {"targets": [_entry(view) for view in self._health.views()]}
        if self._store is not None:
            answer["store"] = "available" if self._store() else "away"
        await send_json(send, 200, answer, request_id=exchange.request_id, head=scope["method"] == "HEAD")


def _entry(view: LaneView) -> JSONObject:
    return {
        "provider": view.key.provider,
        "model": view.key.model,
        "key": view.key.credential,
        "state": view.state,
        "in_flight": view.in_flight,
        "latency_ms": None if view.latency is None else round(view.latency * 1000, 1),
        "retry_after_seconds": None if view.retry_after is None else round(view.retry_after, 1),
    }
