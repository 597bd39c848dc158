"""How many tokens would this request have? The vendor's own count where it has one, else an estimate that errs high."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import anyio

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, read_body, send_gone, watch_disconnect
from asgi_llmgw.errors import GatewayError
from asgi_llmgw.exchange import Exchange, Target
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, JSONObject, as_int, as_object, dumps, loads_object, replace_model
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.reasoning.bodies import carries_state, without_foreign_state
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.render import send_error, send_json
from asgi_llmgw.tokens import estimate_tokens
from asgi_llmgw.translate import translate_request
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.dressed import dress

ESTIMATED: Final = (b"x-llmgw-token-count", b"estimate")
_MAX_ANSWER: Final = 64 * 1024
_FIELD: Final[dict[Protocol, str]] = {
    "openai_responses": "input_tokens",
    "anthropic_messages": "input_tokens",
    "gemini_generate": "totalTokens",
}
"""Where the number stands in an answer; these protocols have a count of their own."""

_PATH: Final[dict[Protocol, str]] = {
    "openai_responses": "/v1/responses/input_tokens",
    "anthropic_messages": "/v1/messages/count_tokens",
}

_COUNTED: Final = frozenset(
    {"model", "messages", "system", "input", "instructions", "tools", "tool_choice", "thinking", "reasoning", "text"}
)
"""What the counts of Anthropic and OpenAI take of a request."""


class CountTokensApp:
    """Count the input tokens of a chat request. It always answers: a client that counts must not be stopped by it.

    Args:
        providers: every provider by name.
        upstreams: what makes the calls, by provider name.
        max_body: the largest request, in bytes.
        carriers_key: tells the reasoning state that clients carry for other vendors, and that no vendor counts.
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        upstreams: Mapping[str, Upstream],
        max_body: int = MAX_BODY,
        carriers_key: bytes = PROCESS_KEY,
    ) -> None:
        self._providers = dict(providers)
        self._upstreams = dict(upstreams)
        self._max_body = max_body
        self._carriers_key = carriers_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange.get_or_create(scope)
        protocol: Protocol = exchange.client_protocol or "anthropic_messages"
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            request = parse_request(body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            exchange.reject(error)
            await send_error(send, error, protocol, request_id=exchange.request_id)
            return
        answer: JSONObject | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_leave, receive, group.cancel_scope)
            if carries_state(body):
                body = without_foreign_state(body, protocol, self._carriers_key)
            answer = await self._ask(exchange, protocol, body)
            group.cancel_scope.cancel()
        if answer is not None:
            await send_json(send, 200, answer, request_id=exchange.request_id)
            return
        counted = _told(estimate_tokens(request), protocol)
        await send_json(send, 200, counted, request_id=exchange.request_id, extra_headers=(ESTIMATED,))

    async def _ask(self, exchange: Exchange, protocol: Protocol, body: bytes) -> JSONObject | None:
        """The first target's own count, None where it has none or does not tell."""
        for target in exchange.targets[:1]:
            provider = self._providers.get(target.provider)
            spoken = None if provider is None else _counting(provider, protocol)
            if provider is None or spoken is None or not provider.usable():
                continue
            exchange.provider, exchange.upstream_model = provider.name, target.model
            try:
                if spoken != protocol:
                    body = _translated(body, protocol, spoken, target.model, provider)
                request = _request(provider, spoken, target, body, exchange)
                upstream = dress(self._upstreams[provider.name], provider.envelope, provider.signer)
                async with upstream.open(request) as response:
                    answer = loads_object(await response.aread(limit=_MAX_ANSWER))
            except (GatewayError, JSONError):
                return None
            count = as_int(answer.get(_FIELD[spoken]))
            if response.status == 200 and count is not None:
                return answer if spoken == protocol else _told(count, protocol)
        return None


def _counting(provider: Provider, protocol: Protocol) -> Protocol | None:
    """The protocol to ask this provider in: the client's own if it can, else any that counts."""
    can = [name for name in provider.protocols if name in _FIELD and provider.does("count_tokens")]
    return protocol if protocol in can else next(iter(can), None)


def _translated(body: bytes, source: Protocol, target: Protocol, model: str, provider: Provider) -> bytes:
    """The prompt of a count in another vendor's words.

    Raises:
        GatewayError: it cannot be said there.
    """
    request = parse_request(body)
    if source == "gemini_generate":
        request = as_object(request.get("generateContentRequest")) or request
    elif source == "anthropic_messages":
        # a count has no limit of output, but a request must
        request = {"max_tokens": 1, **request}
    path = f"/v1beta/models/{quote(model, safe='')}:generateContent"
    profile = provider.profile_for(model)
    asked = translate_request(dumps(request), source=source, target=target, path=path, model=model, profile=profile)
    prompt = loads_object(asked.body)
    if target == "gemini_generate":
        return dumps({"generateContentRequest": {"model": f"models/{model}", **prompt}})
    return dumps({name: value for name, value in prompt.items() if name in _COUNTED})


def _told(count: int, protocol: Protocol) -> JSONObject:
    """The number in the client's own shape."""
    answer: JSONObject = {_FIELD.get(protocol, "input_tokens"): count}
    if protocol == "openai_responses":
        answer["object"] = "response.input_tokens"
    return answer


def _request(
    provider: Provider, protocol: Protocol, target: Target, body: bytes, exchange: Exchange
) -> UpstreamRequest:
    if protocol == "gemini_generate":
        path = f"/v1beta/models/{quote(target.model, safe='')}:countTokens"
    else:
        path, body = _PATH[protocol], replace_model(body, target.model)
    headers = provider.request_headers(exchange.headers)
    return UpstreamRequest(
        url=provider.url(protocol, path, model=target.model), headers=headers, body=body, timeouts=provider.timeouts
    )


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    await watch_disconnect(receive)
    scope.cancel()
