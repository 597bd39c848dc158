"""Requests: the body of `POST /v1/messages`, put together.

The same request gives the same bytes, and a longer conversation begins with the bytes of the shorter one: prompt caches
and the newest models' thinking signatures depend on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatRequest, ResponseFormat, Sampling
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_bool,
    dumps,
    dumps_text,
    repeated_member,
    replace_model,
)
from asgi_llmgw.protocols.base import (
    Diagnostics,
    EncodedRequest,
    Profile,
    RequestHead,
    parse_request,
    unsupported,
)
from asgi_llmgw.protocols.plain import plain_head
from asgi_llmgw.protocols.schema import NotExpressible, cut_schema

from .content import cache_control, text_block
from .messages import Conversation, encode_conversation
from .thinking import Thinking, encode_thinking
from .tools import encode_tools, forces_tool
from .wire import MAX_CACHE_MARKS, NAME, PATH, SERVICE_TIER_OUT

_PERSONAL: Final = re.compile(r"@|^\+?[\d\s()./-]{7,}$")
_NAMES: Final = re.compile(r"[^.\[\]]+")
_PLACE: Final = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[\d+\])*")
_MADE: Final = ("system", "output_config", "metadata")
_UNSAID: Final = Sampling()
_CACHE_MARK: Final = b'"cache_control"'
_USER_ID_LIMIT: Final = 256
_JSON_OBJECT: Final = "Answer with one JSON object and nothing else: no prose, no code fence."


def peek(body: bytes) -> RequestHead:
    """The model and whether to stream.

    Raises:
        InvalidRequest: not an object, no model, or one of the two said twice.
    """
    check_repeated(body)
    plain = plain_head(body)
    if plain is not None:
        return plain
    value = parse_request(body)
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("'model' must be a string with the name of a model.", param="model")
    return RequestHead(model, as_bool(value.get("stream")) or False)


def check_repeated(body: bytes) -> None:
    """Refuse a body whose readers could differ in what it asks for.

    Raises:
        InvalidRequest: a decisive member stands twice.
    """
    repeated = repeated_member(body, ("model", "stream", "max_tokens"))
    if repeated is not None:
        raise InvalidRequest(f"{repeated!r} is given twice.", param=repeated)


def with_model(body: bytes, model: str, also: Mapping[str, JSONValue] | None = None) -> EncodedRequest:
    """The body with another model's name, and nothing else changed but members to set also.

    Raises:
        InvalidRequest: not an object.
    """
    try:
        return EncodedRequest(PATH, replace_model(body, model, also))
    except JSONError as exc:
        raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None


def encode_request(request: ChatRequest, profile: Profile) -> EncodedRequest:
    """Write a request.

    Raises:
        InvalidRequest: it asks for something that has no counterpart and cannot be left out.
    """
    notes = Diagnostics()
    _refuse(request)
    conversation = encode_conversation(request, profile, notes)
    system = conversation.system
    obstacle = None if request.reasoning is None else _obstacle(request, profile, conversation)
    thinking = encode_thinking(
        request.reasoning, profile, notes, max_tokens=request.max_output_tokens, obstacle=obstacle
    )
    if request.max_output_tokens is None:
        notes.defaulted("max_tokens", f"A limit is required: {thinking.max_tokens}.")
    body: JSONObject = {"model": request.model, "max_tokens": thinking.max_tokens}
    tools = encode_tools(request, profile, notes)
    output_config = _output_config(request.response_format, thinking, profile, system, notes)
    if system:
        body["system"] = [*system]
    body["messages"] = conversation.messages
    body |= tools
    if thinking.config is not None:
        body["thinking"] = thinking.config
    if output_config:
        body["output_config"] = output_config
    if request.sampling != _UNSAID:
        body |= _sampling(request.sampling, profile, thinking, notes)
    _envelope(body, request, notes)
    if request.extensions:
        _extend(body, request, notes)
    try:
        data = dumps(body)
        marked = bool(system or tools) or request.talk is None
        if marked and data.count(_CACHE_MARK) > MAX_CACHE_MARKS:
            _limit_cache_marks(body, notes)
            data = dumps(body)
        return EncodedRequest(PATH, data, notes.items())
    except JSONError as exc:
        raise InvalidRequest(f"The request cannot be written as JSON: {exc}") from None


def _refuse(request: ChatRequest) -> None:
    if request.candidates is not None and request.candidates > 1:
        raise unsupported("n", "The model gives one answer at a time.")
    for modality in request.modalities:
        if modality.lower() != "text":
            raise unsupported("modalities", f"The model answers in text, not in {modality!r}.")


def _obstacle(request: ChatRequest, profile: Profile, conversation: Conversation) -> str | None:
    """Why thinking with a budget would be refused."""
    if forces_tool(request, profile):
        return "The model cannot think when it is forced to call a tool."
    if conversation.thoughtless:
        return "The model's thinking before its tool calls is missing, so it cannot think on."
    return None


def _output_config(
    wanted: ResponseFormat | None, thinking: Thinking, profile: Profile, system: list[JSONObject], notes: Diagnostics
) -> JSONObject:
    """Effort and form of the answer; a form the model does not take becomes a last line of the system prompt."""
    result: JSONObject = {}
    if thinking.effort is not None:
        result["effort"] = thinking.effort
    if wanted is None or wanted.kind == "text":
        return result
    if wanted.kind == "json_object" or wanted.schema is None:
        notes.approximated("response_format", "The model is told in words to answer with a JSON object.")
        system.append(text_block(_JSON_OBJECT))
        return result
    if wanted.strict is False:
        notes.approximated("response_format.strict", "The vendor always holds the answer to the schema.", info=True)
    for name in ("name", "description"):
        if getattr(wanted, name) is not None:
            notes.dropped(f"response_format.{name}", "The vendor knows the schema alone.", info=True)
    if profile.native_structured_output:
        try:
            schema = cut_schema(wanted.schema)
        except NotExpressible as exc:
            notes.approximated("response_format", f"The schema is given in words: {exc}.")
        else:
            if schema != wanted.schema:
                notes.approximated("response_format.schema", "The schema is cut down to what this vendor takes.")
            result["format"] = {"type": "json_schema", "schema": schema}
            return result
    else:
        notes.approximated("response_format", "The model takes no schema, so it is given in words.")
    try:
        schema_text = dumps_text(wanted.schema)
    except JSONError as exc:
        raise InvalidRequest(f"The schema cannot be written as JSON: {exc}", param="response_format") from None
    system.append(text_block(f"{_JSON_OBJECT} It must be valid against this JSON Schema:\n{schema_text}"))
    return result


def _sampling(sampling: Sampling, profile: Profile, thinking: Thinking, notes: Diagnostics) -> JSONObject:
    result: JSONObject = {}
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p), ("top_k", sampling.top_k)):
        if value is None:
            continue
        if not profile.sampling:
            notes.dropped(name, "The model takes no sampling parameters.")
        elif thinking.on and not (name == "top_p" and value >= 0.95) and not (name == "temperature" and value == 1):
            notes.dropped(name, "The model does not take it while it thinks.")
        elif name == "temperature" and not 0 <= value <= 1:
            result[name] = min(max(value, 0), 1)
            notes.clamped(name, f"{value} is outside of 0 to 1.")
        else:
            result[name] = value
    if "temperature" in result and "top_p" in result and not profile.temperature_with_top_p:
        del result["top_p"]
        notes.dropped("top_p", "The model takes either temperature or top_p.")
    stop: list[JSONValue] = [text for text in sampling.stop if text.strip()]
    if len(stop) < len(sampling.stop):
        notes.dropped("stop", "Stop sequences of white space alone are not accepted.")
    if stop:
        result["stop_sequences"] = stop
    for name in ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"):
        if getattr(sampling, name) is not None:
            notes.dropped(name, "The vendor has no such setting.")
    return result


def _envelope(body: JSONObject, request: ChatRequest, notes: Diagnostics) -> None:
    """What is said about the request rather than in it."""
    if request.stream:
        body["stream"] = True
    if request.end_user:
        body["metadata"] = {"user_id": _user_id(request.end_user, notes)}
    tier = request.service_tier
    if tier is not None and tier != "auto":
        if tier in SERVICE_TIER_OUT:
            body["service_tier"] = SERVICE_TIER_OUT[tier]
        else:
            notes.dropped("service_tier", f"The vendor has no tier {tier!r}.")
    if request.cache is not None:
        body["cache_control"] = cache_control(request.cache, "cache_control", notes)
    if request.metadata is not None:
        notes.dropped("metadata", "The vendor keeps no metadata.", info=True)
    if request.verbosity is not None:
        notes.dropped("verbosity", "The vendor has no such setting.")
    if request.prompt_cache_key is not None:
        notes.dropped("prompt_cache_key", "The vendor finds its caches without a key.", info=True)


def _user_id(raw: str, notes: Diagnostics) -> str:
    """The vendor asks for an id that tells nothing about the person."""
    if not _PERSONAL.search(raw) and len(raw) <= _USER_ID_LIMIT:
        return raw
    notes.approximated("user", "The id looks like personal data, so its hash is sent.", info=True)
    return "user_" + hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _extend(body: JSONObject, request: ChatRequest, notes: Diagnostics) -> None:
    """Fields of our own protocol go back to their place; of others' what cannot be left out refuses the request."""
    for extension in request.extensions:
        if extension.protocol == NAME:
            if not _place(body, extension.path, extension.value):
                notes.dropped(extension.path, "It has no place in what is sent.", info=extension.loss == "info")
        elif extension.loss == "error":
            raise unsupported(extension.path, f"The model's vendor has no counterpart of {extension.path!r}.")
        else:
            notes.dropped(extension.path, info=extension.loss == "info")


def _place(body: JSONObject, path: str, value: JSONValue) -> bool:
    """Put a value where it was; False if there is no such place any more. Messages are joined and split, so nothing is
    put back into them."""
    if not _PLACE.fullmatch(path):
        return False  # a client's own name, with dots and brackets in it
    names = _NAMES.findall(path)
    place: JSONValue = body
    for name, after in pairwise(names):
        if isinstance(place, dict):
            if name in _MADE:
                place.setdefault(name, [] if after.isdigit() else {})
            place = place.get(name) if name != "messages" else None
        elif isinstance(place, list) and name.isdigit() and int(name) < len(place):
            place = place[int(name)]
        else:
            return False
    if place is body:
        body[path] = value
    elif isinstance(place, dict):
        place.setdefault(names[-1], value)
    elif isinstance(place, list) and names[-1].isdigit():
        place.insert(int(names[-1]), value)
    else:
        return False
    return True


def _limit_cache_marks(body: JSONObject, notes: Diagnostics) -> None:
    """At most four breakpoints are taken: the last ones reach furthest. The automatic one counts as well."""
    marked = [block for block in _blocks(body) if "cache_control" in block]
    allowed = MAX_CACHE_MARKS - ("cache_control" in body)
    for block in marked[: max(len(marked) - allowed, 0)]:
        del block["cache_control"]
    if len(marked) > allowed:
        notes.dropped("cache_control", f"{len(marked) - allowed} cache breakpoints more than the vendor takes.")


def _blocks(body: JSONObject) -> Iterator[JSONObject]:
    """All blocks that may carry a breakpoint, in the order in which the vendor reads them."""
    for name in ("tools", "system", "messages"):
        items = body.get(name)
        for item in items if isinstance(items, list) else ():
            if not isinstance(item, dict):
                continue
            if name != "messages":
                yield item
            else:
                yield from _nested(item)


def _nested(message: JSONObject) -> Iterator[JSONObject]:
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            yield from _nested(block)
            yield block
