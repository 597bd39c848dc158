"""A `ChatRequest`, written as a Responses request. Nothing is kept at the vendor: the state comes back encrypted."""

from __future__ import annotations

import hashlib

from asgi_llmgw.ir import ChatRequest, Extension
from asgi_llmgw.json import JSONObject, as_list, dumps
from asgi_llmgw.protocols.base import Diagnostics, EncodedRequest, Profile, unsupported
from asgi_llmgw.protocols.openai.words import MAX_IDENTIFIER, SERVICE_TIERS, budget_effort

from .echo import encode_format
from .input_encoder import InputEncoder
from .tools import NAMESPACES, encode_tools
from .wire import ENCRYPTED, LOGPROBS, MIN_OUTPUT_TOKENS, NAME, PATH, SOFT_TOOLS


def encode_request(request: ChatRequest, profile: Profile) -> EncodedRequest:
    """The request for an upstream that speaks Responses.

    Raises:
        InvalidRequest: it asks for what this protocol cannot say.
    """
    diagnostics = Diagnostics()
    items = InputEncoder(profile, diagnostics)
    if request.talk is not None:
        items.add_talk(request.talk)
    else:
        for index, message in enumerate(request.messages):
            items.add(message, f"messages[{index}]")
    data: JSONObject = {"model": request.model, "input": items.finish(), "store": False, "include": [ENCRYPTED]}
    if request.max_output_tokens is not None:
        if request.max_output_tokens < MIN_OUTPUT_TOKENS:
            diagnostics.clamped("max_output_tokens", f"Responses wants at least {MIN_OUTPUT_TOKENS}", info=True)
        data["max_output_tokens"] = max(request.max_output_tokens, MIN_OUTPUT_TOKENS)
    if request.candidates is not None and request.candidates > 1:
        raise unsupported("n", "Responses gives one answer")
    _sampling(data, request, profile, diagnostics)
    encode_tools(data, request, profile, diagnostics)
    _output(data, request, profile, diagnostics)
    _account(data, request, diagnostics)
    if request.stream:
        data["stream"] = True
    for extension in request.extensions:
        _extension(data, extension, diagnostics)
    return EncodedRequest(PATH, dumps(data), diagnostics.items())


def _sampling(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    sampling = request.sampling
    for key, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is None:
            continue
        if profile.sampling:
            data[key] = value
        else:
            diagnostics.dropped(key, "the model takes no sampling parameters")
    lost = {
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": sampling.stop or None,
        "logit_bias": sampling.logit_bias,
    }
    for name, lacking in lost.items():
        if lacking is not None:
            diagnostics.dropped(name, f"Responses has no {name}")
    if sampling.logprobs or (sampling.logprobs is None and sampling.top_logprobs):
        data["include"] = [ENCRYPTED, LOGPROBS]
    if sampling.top_logprobs is not None:
        if sampling.logprobs is False:
            diagnostics.dropped("top_logprobs", "log probabilities were not asked for", info=True)
        else:
            data["top_logprobs"] = sampling.top_logprobs


def _output(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    text: JSONObject = {}
    form = request.response_format
    if form is not None:
        text["format"] = encode_format(request)
        if form.kind == "json_schema" and not profile.native_structured_output:
            diagnostics.approximated("response_format", "the model promises JSON, not this schema")
            text["format"] = {"type": "json_object"}
        elif form.kind == "json_schema" and form.name is None and form.schema is not None:
            diagnostics.defaulted("response_format.name", "Responses wants a name for the schema")
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        data["text"] = text
    reasoning = _reasoning(request, diagnostics)
    if reasoning:
        data["reasoning"] = reasoning
    if any(modality.lower() == "audio" for modality in request.modalities):
        raise unsupported("modalities", "Responses does not speak")
    for modality in request.modalities:
        if modality.lower() != "text":
            diagnostics.dropped("modalities", f"Responses has no {modality} output of its own")


def _reasoning(request: ChatRequest, diagnostics: Diagnostics) -> JSONObject:
    wanted = request.reasoning
    encoded: JSONObject = {}
    if wanted is None:
        return encoded
    effort = wanted.effort
    if effort is None and wanted.budget_tokens is not None:
        effort = budget_effort(wanted.budget_tokens)
        diagnostics.approximated("reasoning.budget_tokens", f"effort {effort or 'of the model'}", info=True)
    if effort is not None:
        encoded["effort"] = effort
    if wanted.visible:
        encoded["summary"] = "auto"
    return encoded


def _account(data: JSONObject, request: ChatRequest, diagnostics: Diagnostics) -> None:
    if request.service_tier is not None:
        tier = SERVICE_TIERS.get(request.service_tier)
        if tier is None:
            diagnostics.dropped("service_tier", request.service_tier)
        else:
            data["service_tier"] = tier
    for key, value in (("safety_identifier", request.end_user), ("prompt_cache_key", request.prompt_cache_key)):
        if value is not None and len(value) > MAX_IDENTIFIER:
            diagnostics.approximated(key, f"longer than {MAX_IDENTIFIER} characters: its hash is sent", info=True)
            value = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        if value is not None:
            data[key] = value
    if request.metadata is not None:
        data["metadata"] = request.metadata
    if request.cache is not None:
        diagnostics.dropped("cache", "the prefix is cached without being asked", info=True)


def _extension(data: JSONObject, extension: Extension, diagnostics: Diagnostics) -> None:
    path, value = extension.path, extension.value
    if extension.protocol != NAME:
        if extension.loss == "error":
            raise unsupported(path, f"'{path}' has no counterpart in Responses")
        diagnostics.dropped(path, f"only in {extension.protocol}", info=extension.loss == "info")
    elif path == NAMESPACES or (isinstance(value, dict) and value.get("type") in SOFT_TOOLS):
        return  # with the tools
    elif path == "store":
        data["store"] = value
    elif path == "include":
        data["include"] = [*as_list(data["include"]), *as_list(value)]
    elif "[" in path or path.count(".") > 1:
        if extension.loss != "error":  # an item that stands in the input by itself
            diagnostics.dropped(path, "an unknown field inside another", info=extension.loss == "info")
    elif path.startswith("stream_options.") and "stream" not in data:
        return
    elif "." in path:
        outer, _, inner = path.partition(".")
        nested = data.setdefault(outer, {})
        if isinstance(nested, dict):
            nested[inner] = value
    else:
        data.setdefault(path, value)
