"""The response object around the output. It repeats what was asked for."""

from __future__ import annotations

from asgi_llmgw.ir import ChatRequest, ResponseStart, TextPart
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.openai.words import SERVICE_TIERS

from .tools import encode_choice, encode_tool
from .wire import NAME


def response_object(start: ResponseStart, context: StreamContext) -> JSONObject:
    """The response as it is at its beginning; every key that will ever be there is there."""
    request = context.request or ChatRequest(model="", messages=())
    return {
        "id": start.id or context.new_id("resp_"),
        "object": "response",
        "created_at": start.created if start.created is not None else int(context.clock()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": _instructions(request),
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": _extension(request, "max_tool_calls"),
        "model": context.model if context.model is not None else start.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": _reasoning(request),
        "safety_identifier": request.end_user,
        "service_tier": SERVICE_TIERS.get(start.service_tier or ""),
        "store": False,
        "temperature": _or(request.sampling.temperature, 1.0),
        "text": _text(request),
        "tool_choice": encode_choice(request.tool_choice, request.tools) if request.tool_choice else "auto",
        "tools": [encode_tool(tool) for tool in request.tools],
        "top_logprobs": request.sampling.top_logprobs or 0,
        "top_p": _or(request.sampling.top_p, 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": request.metadata or {},
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _extension(request: ChatRequest, path: str) -> JSONValue:
    found = (item.value for item in request.extensions if item.protocol == NAME and item.path == path)
    return next(found, None)


def _instructions(request: ChatRequest) -> str | None:
    """The first system message, which is what `instructions` became."""
    first = request.messages[0] if request.messages else None
    if first is None or first.role != "system" or len(first.parts) != 1 or not isinstance(first.parts[0], TextPart):
        return None
    return first.parts[0].text


def _reasoning(request: ChatRequest) -> JSONObject:
    reasoning = request.reasoning
    summary = _extension(request, "reasoning.summary") or "auto" if reasoning and reasoning.visible else None
    return {"effort": reasoning.effort if reasoning else None, "summary": summary}


def _text(request: ChatRequest) -> JSONObject:
    text: JSONObject = {"format": encode_format(request)}
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    return text


def encode_format(request: ChatRequest) -> JSONObject:
    """`text.format`: the form the answer must have."""
    form = request.response_format
    if form is None or form.kind == "text":
        return {"type": "text"}
    if form.kind == "json_object" or (form.schema is None and form.name is None):
        return {"type": "json_object"}
    encoded: JSONObject = {"type": "json_schema", "name": form.name or "response", "schema": form.schema or {}}
    if form.description is not None:
        encoded["description"] = form.description
    if form.strict is not None:
        encoded["strict"] = form.strict
    return encoded
