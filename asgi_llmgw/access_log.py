"""The access log: one JSON line for each request, without a prompt, an answer or a key."""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.exchange import Exchange, Tried
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONObject
from asgi_llmgw.logs import json_line, rfc3339

_MAX_TEXT: Final = 256
_NO_USAGE: Final = Usage()


class _Line(msgspec.Struct, gc=False):
    """What is written, in this order."""

    time: str
    level: str
    event: str
    request_id: str
    method: str | None
    endpoint: str
    api_key: str | None
    protocol: str | None
    model: str | None
    route: str | None
    provider: str | None
    upstream_model: str | None
    attempts: int
    status: int | None
    outcome: str | None
    stream: bool
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cache: str | None
    duration_ms: float
    ttft_ms: float | None
    finish_reason: str | None
    error: JSONObject | None
    diagnostics: int
    diagnostic_codes: list[str]
    tried: list[JSONObject] | msgspec.UnsetType = msgspec.UNSET
    limited: str | msgspec.UnsetType = msgspec.UNSET


def access_line(exchange: Exchange, method: str, now: float, time: float) -> bytes:
    """The line of a request that is over.

    Args:
        now: the clock of `Exchange.started`.
        time: seconds since the epoch.
    """
    usage, failure, diagnostics = exchange.usage or _NO_USAGE, exchange.failure, exchange.diagnostics
    # by position: to name so many costs several times what all else does
    line = _Line(
        rfc3339(time),
        "error" if _is_our_fault(exchange) else "info",
        "request",
        exchange.request_id,
        _text(method),
        exchange.endpoint,
        None if exchange.principal is None else _text(exchange.principal.name),
        exchange.client_protocol,
        _text(exchange.model),
        exchange.route,
        exchange.provider,
        _text(exchange.upstream_model),
        exchange.attempts,
        exchange.status,
        exchange.outcome,
        exchange.stream,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.reasoning_tokens,
        None if exchange.cost is None else exchange.cost / 1_000_000,
        exchange.cache,
        # to a tenth of a millisecond
        round((now - exchange.started) * 10_000) / 10,
        None if exchange.first_token is None else round((exchange.first_token - exchange.started) * 10_000) / 10,
        _text(exchange.finish_reason),
        None if failure is None else _error_entry(failure),
        len(diagnostics),
        list(dict.fromkeys([found.code for found in diagnostics])) if diagnostics else [],
    )
    if len(exchange.tried) > 1:
        line.tried = [_tried_entry(tried) for tried in exchange.tried]
    if exchange.limited is not None:
        line.limited = exchange.limited
    return json_line(line)


def _is_our_fault(exchange: Exchange) -> bool:
    """Whether an operator should look: a server error, in the status or inside a stream that began well."""
    if (exchange.status or 0) >= 500:
        return True
    return exchange.failure is not None and exchange.failure.status >= 500 and exchange.outcome != "completed"


def _error_entry(error: GatewayError) -> JSONObject:
    failure = error.failure if isinstance(error, UpstreamError) else None
    return {"kind": error.kind, "code": _text(error.code), "failure": failure}


def _tried_entry(tried: Tried) -> JSONObject:
    """One of several attempts; the key is told by its place in the configuration."""
    model = _text(tried.model)
    return {"provider": tried.provider, "model": model, "key": tried.credential, "failure": tried.failure}


def _text(value: str | None) -> str | None:
    """A client's text, fit for a log: short, and without lone surrogates."""
    if value is None or (len(value) <= _MAX_TEXT and value.isascii()):
        return value
    return value[:_MAX_TEXT].encode("utf-8", "replace").decode()
