"""The models a client may ask for, in the shape of the client's own vendor, with what is known about them.

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
from asgi_llmgw.metadata import UNKNOWN, FactsTable, ModelFacts
from asgi_llmgw.pricing import Price, PriceTable
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
        facts: what is known about the models; those of a name's first target are told.
        prices: what they cost.
    """

    def __init__(
        self,
        *,
        table: RouteTable,
        created: int,
        owned_by: str = "asgi-llmgw",
        facts: FactsTable | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        self._table = table
        self._created = created
        self._owned_by = owned_by
        self._facts = facts
        self._prices = prices

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
        facts, extra = self._known(name)
        match dialect:
            case "anthropic_messages":
                created = datetime.fromtimestamp(self._created, UTC).isoformat().replace("+00:00", "Z")
                entry: JSONObject = {"type": "model", "id": name, "display_name": name, "created_at": created}
                return entry | _in_words_of_anthropic(facts) | extra
            case "gemini_generate":
                entry = {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": _GEMINI_METHODS}
                return entry | _in_words_of_gemini(facts)
            case _:
                entry = {"id": name, "object": "model", "created": self._created, "owned_by": self._owned_by}
                return entry | _plainly(facts) | extra

    def _known(self, name: str) -> tuple[ModelFacts, JSONObject]:
        """What is known about a name's first target, and what a token of it costs and at whose place."""
        route = self._table.match(name)
        if route is None or self._facts is None:
            return UNKNOWN, {}
        targets = route.targets_for(name)
        providers: list[JSONValue] = [*dict.fromkeys(target.provider for target in targets)]
        extra: JSONObject = {"providers": providers}
        first = targets[0]
        price = self._prices.find(first.provider, first.model) if self._prices is not None else None
        if price is not None:
            extra["pricing"] = _costs(price)
        return self._facts.find(first.provider, first.model), extra


def _plainly(facts: ModelFacts) -> JSONObject:
    """What is known, without what is not."""
    told: JSONObject = {
        "context_window": facts.context_window,
        "max_output_tokens": facts.max_output_tokens,
        "input_modalities": _listed(facts.input_modalities),
        "output_modalities": _listed(facts.output_modalities),
        "capabilities": _present({"tools": facts.tools, "json_schema": facts.json_schema, "reasoning": facts.reasoning})
        or None,
    }
    return _present(told)


def _in_words_of_anthropic(facts: ModelFacts) -> JSONObject:
    taken = facts.input_modalities
    supported: dict[str, bool | None] = {
        "image_input": None if taken is None else "image" in taken,
        "pdf_input": None if taken is None else "pdf" in taken,
        "structured_outputs": facts.json_schema,
        "thinking": facts.reasoning,
    }
    capabilities: JSONObject = {name: {"supported": does} for name, does in supported.items() if does is not None}
    return _present(
        {
            "max_input_tokens": facts.context_window,
            "max_tokens": facts.max_output_tokens,
            "capabilities": capabilities or None,
        }
    )


def _in_words_of_gemini(facts: ModelFacts) -> JSONObject:
    return _present(
        {
            "inputTokenLimit": facts.context_window,
            "outputTokenLimit": facts.max_output_tokens,
            "thinking": facts.reasoning or None,
        }
    )


def _costs(price: Price) -> JSONObject:
    """USD for a million tokens; for a picture, a minute of sound and a million characters where these are counted."""
    return _present(
        {
            "currency": "USD",
            "unit": "1M tokens",
            "input": price.input,
            "output": price.output,
            "cached_input": price.cached_input,
            "cache_write": price.cache_write,
            "audio_input": price.audio_input,
            "audio_output": price.audio_output,
            "image_output": price.image_output,
            "picture": price.picture or None,
            "minute": price.minute or None,
            "characters": price.characters or None,
        }
    )


def _present(told: JSONObject) -> JSONObject:
    return {name: value for name, value in told.items() if value is not None}


def _listed(names: tuple[str, ...] | None) -> list[JSONValue] | None:
    return None if names is None else [*names]


def _may_use(exchange: Exchange, model: str) -> bool:
    return exchange.principal is None or exchange.principal.may_use(model)
