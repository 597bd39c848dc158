"""The models a client may ask for, in the shape of the client's own vendor.

https://platform.openai.com/docs/api-reference/models, https://docs.anthropic.com/en/api/models-list,
https://ai.google.dev/api/models
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.errors import RequestError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.render import send_error, send_json
from asgi_llmgw.routing.routes import RouteTable

_GEMINI_METHODS: Final[list[JSONValue]] = ["generateContent", "streamGenerateContent", "countTokens"]


class ModelsApp:
    """Lists the configured names (globs are no names), or shows one that a route would take.

    A model the caller may not use is answered exactly like one that does not exist.

    Args:
        table: the routes.
        created: what every model says of its age, in seconds since the epoch.
        owned_by: what every model says of its owner.
    """

    def __init__(self, *, table: RouteTable, created: int, owned_by: str = "asgi-llmgw") -> None:
        self._table = table
        self._created = created
        self._owned_by = owned_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the scope type {scope['type']!r} is not served")
        exchange = Exchange.get_or_create(scope)
        head = scope["method"] == "HEAD"
        if exchange.model is None:
            names = [name for name in self._table.names() if _may_use(exchange, name)]
            answer = self._list(names, exchange.client_protocol)
            await send_json(send, 200, answer, request_id=exchange.request_id, head=head)
        elif self._table.match(exchange.model) is not None and _may_use(exchange, exchange.model):
            entry = self._entry(exchange.model, exchange.client_protocol)
            await send_json(send, 200, entry, request_id=exchange.request_id, head=head)
        else:
            error = RequestError(
                f"The model '{exchange.model}' does not exist or you do not have access to it.",
                kind="model_not_found",
                param="model",
                code="model_not_found",
            )
            exchange.reject(error)
            await send_error(send, error, exchange.client_protocol, request_id=exchange.request_id, head=head)

    def _list(self, names: list[str], dialect: Protocol | None) -> JSONObject:
        entries: list[JSONValue] = [self._entry(name, dialect) for name in names]
        match dialect:
            case "anthropic_messages":
                first, last = (names[0], names[-1]) if names else (None, None)
                return {"data": entries, "has_more": False, "first_id": first, "last_id": last}
            case "gemini_generate":
                return {"models": entries}
            case _:
                return {"object": "list", "data": entries}

    def _entry(self, name: str, dialect: Protocol | None) -> JSONObject:
        match dialect:
            case "anthropic_messages":
                created = datetime.fromtimestamp(self._created, UTC).isoformat().replace("+00:00", "Z")
                return {"type": "model", "id": name, "display_name": name, "created_at": created}
            case "gemini_generate":
                return {
                    "name": f"models/{name}",
                    "displayName": name,
                    "supportedGenerationMethods": _GEMINI_METHODS,
                }
            case _:
                return {"id": name, "object": "model", "created": self._created, "owned_by": self._owned_by}


def _may_use(exchange: Exchange, model: str) -> bool:
    return exchange.principal is None or exchange.principal.may_use(model)
