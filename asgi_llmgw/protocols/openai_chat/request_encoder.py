"""A `ChatRequest`, written as a Chat Completions request."""

from __future__ import annotations

import hashlib
from typing import Final, assert_never

from asgi_llmgw.ir import ChatRequest, CustomTool, ResponseFormat, Sampling, ServerTool, Tool
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.base import Diagnostics, EncodedRequest, Profile, safe_tool_name, unsupported
from asgi_llmgw.protocols.openai.words import MAX_IDENTIFIER, SERVICE_TIERS, budget_effort

from .message_encoder import MessageEncoder
from .wire import MAX_STOP, NAME, PATH

_UNSAID: Final = Sampling()


def encode_request(request: ChatRequest, profile: Profile) -> EncodedRequest:
    """The request for an upstream that speaks Chat Completions.

    Raises:
        InvalidRequest: it asks for what this protocol cannot say.
    """
    diagnostics = Diagnostics()
    messages = MessageEncoder(profile, diagnostics)
    if request.talk is not None:
        messages.add_talk(request.talk)
    else:
        for index, message in enumerate(request.messages):
            messages.add(message, f"messages[{index}]")
    data: JSONObject = {"model": request.model, "messages": messages.finish()}
    if request.max_output_tokens is not None:
        data[profile.max_tokens_field] = request.max_output_tokens
    if request.candidates is not None:
        data["n"] = request.candidates
    if request.sampling != _UNSAID:
        _sampling(data, request.sampling, profile, diagnostics)
    _tools(data, request, profile, diagnostics)
    _output(data, request, profile, diagnostics)
    _account(data, request, diagnostics)
    if request.extensions:
        _extensions(data, request, diagnostics)
    if profile.refused_fields:
        _leave_out(data, profile, diagnostics)
    if request.stream:
        data["stream"] = True
        if profile.stream_usage:
            options = data.get("stream_options")
            data["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return EncodedRequest(PATH, dumps(data), diagnostics.items())


def _leave_out(data: JSONObject, profile: Profile, diagnostics: Diagnostics) -> None:
    for name in profile.refused_fields:
        value = data.pop(name, None)
        if name == "n" and value not in (None, 1):
            raise unsupported("n", "the vendor gives one answer only")
        if value is not None:
            diagnostics.dropped(name, "the vendor refuses it", info=name == "n")


def _put(data: JSONObject, key: str, value: JSONValue) -> None:
    if value is not None:
        data[key] = value


def _sampling(data: JSONObject, sampling: Sampling, profile: Profile, diagnostics: Diagnostics) -> None:
    for key, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is None:
            continue
        if profile.sampling:
            data[key] = value
        else:
            diagnostics.dropped(key, "the model takes no sampling parameters")
    if sampling.top_k is not None:
        diagnostics.dropped("top_k", "Chat Completions has no top_k")
    _put(data, profile.seed_field, sampling.seed)
    _put(data, "presence_penalty", sampling.presence_penalty)
    _put(data, "frequency_penalty", sampling.frequency_penalty)
    if len(sampling.stop) > MAX_STOP:
        raise unsupported("stop", f"Chat Completions takes at most {MAX_STOP} stop sequences")
    if sampling.stop:
        data["stop"] = [*sampling.stop]
    _put(data, "logit_bias", sampling.logit_bias)
    _put(data, "logprobs", sampling.logprobs)
    if sampling.top_logprobs is not None:
        if sampling.logprobs:
            data["top_logprobs"] = sampling.top_logprobs
        elif sampling.logprobs is None and sampling.top_logprobs:
            data["logprobs"] = True
            data["top_logprobs"] = sampling.top_logprobs
        else:
            diagnostics.dropped("top_logprobs", "log probabilities were not asked for", info=True)


def _tools(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    if not request.tools:
        if request.tool_choice is not None:
            diagnostics.dropped("tool_choice", "there are no tools to choose from", info=True)
        if request.parallel_tool_calls is not None:
            diagnostics.dropped("parallel_tool_calls", "there are no tools to call", info=True)
        return
    names: dict[str, str] = {}
    tools: list[JSONValue] = []
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        if not isinstance(tool, ServerTool):
            safe = safe_tool_name(tool.name)
            if names.setdefault(safe, tool.name) != tool.name:
                raise unsupported(f"{path}.name", f"two tool names are the same for this vendor: '{safe}'")
        tools.append(_tool(tool, path, diagnostics))
    data["tools"] = tools
    _tool_choice(data, request, profile, diagnostics)
    _put(data, "parallel_tool_calls", request.parallel_tool_calls)


def _tool(tool: Tool | CustomTool | ServerTool, path: str, diagnostics: Diagnostics) -> JSONObject:
    if isinstance(tool, ServerTool):
        if tool.protocol != NAME:
            raise unsupported(path, f"the tool '{tool.kind}' is run by its vendor and does not exist here")
        return tool.raw
    name = safe_tool_name(tool.name)
    if name != tool.name:
        diagnostics.renamed(f"{path}.name", name)
    body: JSONObject = {"name": name}
    _put(body, "description", tool.description)
    match tool:
        case Tool():
            _put(body, "parameters", tool.parameters)
            _put(body, "strict", tool.strict)
            if tool.cache is not None:
                diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
            return {"type": "function", "function": body}
        case CustomTool():
            _put(body, "format", tool.format)
            return {"type": "custom", "custom": body}
        case _:
            assert_never(tool)


def _tool_choice(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    kinds = {tool.name: tool for tool in request.tools if not isinstance(tool, ServerTool)}
    missing = next((name for name in choice.names if name not in kinds), None)
    if missing is not None:
        raise unsupported("tool_choice", f"the tool '{missing}' is not among the tools")
    mode = choice.mode
    if mode == "required" and not profile.forced_tool_choice:
        diagnostics.approximated("tool_choice", "the model cannot be forced to call a tool")
        mode = "auto"
    if not choice.names or mode == "none":
        data["tool_choice"] = mode
        return
    named: list[JSONValue] = []
    for name in choice.names:
        kind = "custom" if isinstance(kinds[name], CustomTool) else "function"
        named.append({"type": kind, kind: {"name": safe_tool_name(name)}})
    if mode == "required" and len(named) == 1:
        data["tool_choice"] = named[0]
    else:
        data["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}


def _output(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    if request.response_format is not None:
        data["response_format"] = _response_format(request.response_format, profile, diagnostics)
    reasoning = request.reasoning
    if reasoning is not None:
        effort = reasoning.effort
        if effort is None and reasoning.budget_tokens is not None:
            effort = budget_effort(reasoning.budget_tokens)
            diagnostics.approximated("reasoning.budget_tokens", f"effort {effort or 'of the model'}", info=True)
        _put(data, "reasoning_effort", effort)
        if reasoning.visible:
            diagnostics.dropped("reasoning.visible", "Chat Completions has no switch for visible thoughts", info=True)
    if request.verbosity is not None:
        data["verbosity"] = request.verbosity
    if request.modalities:
        modalities = [modality.lower() for modality in request.modalities]
        known = any(extension.protocol == NAME and extension.path == "audio" for extension in request.extensions)
        if "audio" in modalities and not known:
            raise unsupported("modalities", "sound needs a voice and a format, which only Chat Completions can name")
        if modalities != ["text"] or known:
            data["modalities"] = [*modalities]


def _response_format(form: ResponseFormat, profile: Profile, diagnostics: Diagnostics) -> JSONObject:
    if form.kind != "json_schema":
        return {"type": form.kind}
    if form.schema is None and form.name is None:
        return {"type": "json_object"}
    if not profile.native_structured_output:
        diagnostics.approximated("response_format", "the model promises JSON, not this schema")
        return {"type": "json_object"}
    if form.name is None:
        diagnostics.defaulted("response_format.name", "Chat Completions wants a name for the schema")
    schema: JSONObject = {"name": form.name or "response"}
    _put(schema, "description", form.description)
    _put(schema, "schema", form.schema)
    _put(schema, "strict", form.strict)
    return {"type": "json_schema", "json_schema": schema}


def _account(data: JSONObject, request: ChatRequest, diagnostics: Diagnostics) -> None:
    if request.service_tier is not None:
        tier = SERVICE_TIERS.get(request.service_tier)
        if tier is None:
            diagnostics.dropped("service_tier", request.service_tier)
        else:
            data["service_tier"] = tier
    if request.end_user is not None:
        data["safety_identifier"] = _identifier("safety_identifier", request.end_user, diagnostics)
    if request.prompt_cache_key is not None:
        data["prompt_cache_key"] = _identifier("prompt_cache_key", request.prompt_cache_key, diagnostics)
    if request.metadata is not None:
        data["metadata"] = request.metadata
    if request.cache is not None:
        diagnostics.dropped("cache", "the prefix is cached without being asked", info=True)


def _identifier(key: str, value: str, diagnostics: Diagnostics) -> str:
    if len(value) <= MAX_IDENTIFIER:
        return value
    diagnostics.approximated(key, f"longer than {MAX_IDENTIFIER} characters: its hash is sent", info=True)
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _extensions(data: JSONObject, request: ChatRequest, diagnostics: Diagnostics) -> None:
    for extension in request.extensions:
        if extension.protocol != NAME:
            if extension.loss == "error":
                raise unsupported(extension.path, f"'{extension.path}' has no counterpart in Chat Completions")
            diagnostics.dropped(extension.path, f"only in {extension.protocol}", info=extension.loss == "info")
        elif extension.path.startswith("stream_options.") and request.stream:
            options = data.setdefault("stream_options", {})
            if isinstance(options, dict):
                options[extension.path.partition(".")[2]] = extension.value
        elif "." in extension.path or "[" in extension.path:
            diagnostics.dropped(extension.path, "an unknown field inside another")
        else:
            data.setdefault(extension.path, extension.value)
