"""Requests to the vendor."""

from __future__ import annotations

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatRequest, Extension
from asgi_llmgw.json import JSONError, JSONObject, dumps
from asgi_llmgw.protocols.base import Diagnostics, EncodedRequest, Profile, unsupported

from .config import encode_config
from .contents import encode_contents
from .paths import build_path
from .tools import encode_tool_config, encode_tools
from .wire import PROTOCOL, SERVICE_TIER_OUT


def encode_request(request: ChatRequest, profile: Profile) -> EncodedRequest:
    """The request in Gemini's words.

    Raises:
        InvalidRequest: Gemini cannot do what is asked for, or the history is inconsistent.
    """
    lost = Diagnostics()
    body = encode_contents(request, profile, lost)
    if request.tools:
        body["tools"] = encode_tools(request, profile, lost)
    if request.tools or request.tool_choice is not None:
        choice = encode_tool_config(request, lost)
        if choice:
            body["toolConfig"] = {"functionCallingConfig": choice}
    config = encode_config(request, profile, lost)
    if config:
        body["generationConfig"] = config
    tier = _service_tier(request, lost)
    if tier is not None:
        body["serviceTier"] = tier
    for extension in request.extensions:
        _extend(body, extension, lost)
    _drop_the_rest(request, lost)
    try:
        data = dumps(body)
    except JSONError as exc:
        raise InvalidRequest(f"The request {exc}") from None
    return EncodedRequest(build_path(request.model, stream=request.stream), data, lost.items())


def _service_tier(request: ChatRequest, lost: Diagnostics) -> str | None:
    tier = request.service_tier
    if tier is None or tier == "auto":
        return None
    if tier not in SERVICE_TIER_OUT:
        lost.dropped("service_tier", f"Gemini has no tier {tier!r}")
    return SERVICE_TIER_OUT.get(tier)


def _extend(body: JSONObject, extension: Extension, lost: Diagnostics) -> None:
    """Our own field goes back to its place, which a value of ours never loses; others go as their loss says."""
    if extension.protocol == PROTOCOL and "[" in extension.path:
        lost.dropped(extension.path, "an unknown field inside another", info=extension.loss == "info")
    elif extension.protocol == PROTOCOL:
        *parents, name = extension.path.split(".")
        node = body
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                return
            node = child
        node.setdefault(name, extension.value)
    elif extension.path == "audio":
        lost.approximated("audio", "the vendor's own voice is used; its names differ")
    elif extension.loss == "error":
        raise unsupported(extension.path, f"{extension.path} cannot be translated for Gemini.")
    else:
        lost.dropped(extension.path, "Gemini has no such field", info=extension.loss == "info")


def _drop_the_rest(request: ChatRequest, lost: Diagnostics) -> None:
    if request.parallel_tool_calls is False and request.tools:
        lost.dropped("parallel_tool_calls", "Gemini decides by itself how many calls it makes")
    if request.verbosity is not None:
        lost.dropped("verbosity", "Gemini has no such parameter")
    if request.metadata:
        lost.dropped("metadata", "Gemini has no place for it", info=True)
    if request.end_user is not None:
        lost.dropped("user", "Gemini has no place for it", info=True)
    if request.prompt_cache_key is not None:
        lost.dropped("prompt_cache_key", "Gemini caches by itself", info=True)
    if request.cache is not None:
        lost.dropped("cache_control", "Gemini caches by itself", info=True)
