"""What a model is known not to do is refused before it is asked; behind `DispatchApp` the next target is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, path_with_query, read_body, replay, send_gone
from asgi_llmgw.errors import GatewayError, InvalidRequest
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import ChatRequest, MediaPart, Part, Protocol, ServerTool, ToolResultPart
from asgi_llmgw.metadata import UNKNOWN, Modality, ModelFacts
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import send_error

_TURNS: Final[dict[Protocol, str]] = {
    "openai_chat": "messages",
    "openai_responses": "input",
    "anthropic_messages": "messages",
    "gemini_generate": "contents",
}
_SCHEMA: Final[dict[Protocol, str]] = {
    "openai_chat": "response_format",
    "openai_responses": "text.format",
    "anthropic_messages": "output_config.format",
    "gemini_generate": "generationConfig.responseSchema",
}
"""Where each protocol's clients write a schema for the answer."""
_PLURAL: Final[dict[Modality, str]] = {"image": "images", "audio": "audio", "video": "video", "pdf": "PDF documents"}
_MAX_REMEMBERED: Final = 1024
_KINDS: Final[dict[str, Modality]] = {"image": "image", "audio": "audio", "video": "video", "document": "pdf"}


class CapabilitiesMiddleware:
    """Holds requests back from models that cannot answer them.

    Where nothing is known that speaks against a model, requests are not looked at.

    Args:
        app: serves the clients over one provider.
        facts_for: what is known about a model of its.
        max_body: the largest request, in bytes.
    """

    def __init__(self, app: ASGIApp, *, facts_for: Callable[[str], ModelFacts], max_body: int = MAX_BODY) -> None:
        self._app = app
        self._facts_for = facts_for
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        model = exchange.upstream_model or exchange.model
        facts = UNKNOWN if model is None else self._facts_for(model)
        words = _words(facts)
        if not words:
            await self._app(scope, receive, send)
            return
        client = exchange.client_protocol or "openai_chat"
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            exchange.fail(error)
            await send_error(send, error, client, request_id=exchange.request_id)
            return
        told = any(word in body for word in words)
        missing = _missing(facts, client, path_with_query(scope), body) if told else None
        if missing is None:
            await self._app(scope, replay(body, receive), send)
            return
        field, what = missing
        refusal = InvalidRequest(
            f"The model '{model}' {what}.", kind="unsupported", param=field, code="unsupported_capability"
        )
        exchange.fail(refusal)
        await send_error(send, refusal, client, request_id=exchange.request_id)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _words(facts: ModelFacts) -> tuple[bytes, ...]:
    """What stands in every request that asks for something the model does not do, and in few others."""
    taken = facts.input_modalities
    found = [] if taken is None else [modality.encode() for modality in _PLURAL if modality not in taken]
    if facts.tools is False:
        found.append(b"tools")
    if facts.json_schema is False:
        found.append(b"chema")
    return tuple(found)


def _missing(facts: ModelFacts, client: Protocol, path: str, body: bytes) -> tuple[str, str] | None:
    """The field that asks for what the model does not do, and what that is; None for all that cannot be told."""
    try:
        request = codec(client).decode_request(path, body)
    except GatewayError:
        # whoever reads it next says what is wrong with it
        return None
    if facts.tools is False and any(not isinstance(tool, ServerTool) for tool in request.tools):
        return "tools", "calls no tools"
    form = request.response_format
    if facts.json_schema is False and form is not None and form.kind == "json_schema":
        return _SCHEMA[client], "keeps to no JSON Schema"
    if facts.input_modalities is not None:
        for modality in _modalities(request):
            if modality not in facts.input_modalities:
                return _TURNS[client], f"takes no {_PLURAL[modality]}"
    return None


def _modalities(request: ChatRequest) -> Iterator[Modality]:
    for message in request.messages if request.talk is None else ():
        for part in message.parts:
            yield from _of_part(part)


def _of_part(part: Part) -> Iterator[Modality]:
    if isinstance(part, ToolResultPart):
        for inner in part.content:
            yield from _of_part(inner)
    elif isinstance(part, MediaPart) and (part.kind != "document" or part.media_type == "application/pdf"):
        # other documents are read as text
        yield _KINDS[part.kind]
