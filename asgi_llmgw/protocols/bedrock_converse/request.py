"""Requests: the path and the body of `POST /model/{modelId}/converse` and `…/converse-stream`, put together.

The same request gives the same bytes, and a longer conversation begins with the bytes of the shorter one: prompt caches
depend on it.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatRequest, ResponseFormat
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, dumps, dumps_text
from asgi_llmgw.protocols.base import Diagnostics, EncodedRequest, Profile, unsupported
from asgi_llmgw.protocols.schema import NotExpressible, cut_schema

from .content import ContentEncoder, text_block
from .messages import Turn, encode_conversation
from .paths import build_path
from .thinking import Thinking, encode_thinking
from .tools import encode_tools, forces_tool
from .wire import MAX_CACHE_POINTS, MAX_METADATA, METADATA_KEY, METADATA_VALUE, SERVICE_TIERS

_JSON_OBJECT: Final = "Answer with one JSON object and nothing else: no prose, no code fence."
_STOPPED_BY: Final = "/stop_sequence"
"""Where models that tell by which stop sequence they were stopped do so; Amazon passes over what is not there."""
_NOT_HERE: Final = "The vendor has no such setting."


def encode_request(request: ChatRequest, profile: Profile) -> EncodedRequest:
    """Write a request.

    Raises:
        InvalidRequest: it asks for something that has no counterpart and cannot be left out.
    """
    notes = Diagnostics()
    _refuse(request)
    path = build_path(request.model, stream=request.stream)
    content = ContentEncoder(profile, notes)
    system, turns = encode_conversation(request, profile, content, notes)
    thinking = encode_thinking(
        request.reasoning,
        profile,
        notes,
        max_tokens=request.max_output_tokens,
        obstacle=_obstacle(request, profile, turns),
    )
    tools = encode_tools(request, profile, content, notes)
    output = _output_config(request.response_format, thinking, profile, system, notes)
    if request.cache is not None:
        content.add(turns[-1].blocks, [], request.cache, "messages", "request")
    body: JSONObject = {"messages": [{"role": turn.role, "content": [*turn.blocks]} for turn in turns]}
    fields = dict(thinking.fields)
    inference = _inference_config(request, profile, thinking, fields, notes)
    rest: JSONObject = {
        "system": [*system],
        "inferenceConfig": inference,
        "toolConfig": tools,
        "outputConfig": output,
        "additionalModelRequestFields": fields,
        "additionalModelResponseFieldPaths": [_STOPPED_BY] if "stopSequences" in inference else [],
        "requestMetadata": _metadata(request, notes),
    }
    body |= {name: value for name, value in rest.items() if value}
    body |= _service_tier(request, notes)
    _tell_what_is_left_out(request, notes)
    _limit_cache_points(body, notes)
    try:
        return EncodedRequest(path, dumps(body), notes.items())
    except JSONError as exc:
        raise InvalidRequest(f"The request cannot be written as JSON: {exc}") from None


def _refuse(request: ChatRequest) -> None:
    if request.candidates is not None and request.candidates > 1:
        raise unsupported("n", "The model gives one answer at a time.")
    for modality in request.modalities:
        if modality.lower() != "text":
            raise unsupported("modalities", f"The model answers in text, not in {modality!r}.")


def _obstacle(request: ChatRequest, profile: Profile, turns: list[Turn]) -> str | None:
    """Why Claude would refuse to think with a budget."""
    if forces_tool(request, profile):
        return "The model cannot think when it is forced to call a tool."
    answers = len(turns) > 1 and "toolResult" in turns[-1].blocks[0]
    if answers and "reasoningContent" not in turns[-2].blocks[0]:
        return "The model's thinking before its tool calls is missing, so it cannot think on."
    return None


def _inference_config(
    request: ChatRequest, profile: Profile, thinking: Thinking, fields: JSONObject, notes: Diagnostics
) -> JSONObject:
    """What Converse has words for; `top_k` goes into the fields of the model's own."""
    sampling = request.sampling
    result: JSONObject = {}
    if request.max_output_tokens is not None:
        if thinking.unlimited:
            notes.dropped("max_tokens", "The model takes no limit at this effort.")
        else:
            result["maxTokens"] = max(1, request.max_output_tokens)
    for name, key, value in (
        ("temperature", "temperature", sampling.temperature),
        ("top_p", "topP", sampling.top_p),
    ):
        if value is not None and _takes(name, value, profile, thinking, notes):
            result[key] = min(max(value, 0), 1)
            if not 0 <= value <= 1:
                notes.clamped(name, f"{value} is outside of 0 to 1.")
    if "temperature" in result and "topP" in result and not profile.temperature_with_top_p:
        del result["topP"]
        notes.dropped("top_p", "The model takes either temperature or top_p.")
    top_k = sampling.top_k
    if top_k is not None and profile.top_k_field is None:
        notes.dropped("top_k", "The model is not known to take it.")
    elif top_k is not None and _takes("top_k", top_k, profile, thinking, notes):
        _place(fields, profile.top_k_field or "", top_k)
    stop: list[JSONValue] = [text for text in sampling.stop if text.strip()]
    if len(stop) < len(sampling.stop):
        notes.dropped("stop", "Stop sequences of white space alone are not accepted.")
    if stop:
        result["stopSequences"] = stop
    return result


def _takes(name: str, value: float, profile: Profile, thinking: Thinking, notes: Diagnostics) -> bool:
    """Whether the model takes a sampling parameter, told where it does not."""
    if not profile.sampling:
        notes.dropped(name, "The model takes no sampling parameters.")
        return False
    harmless = (name == "top_p" and value >= 0.95) or (name == "temperature" and value == 1)
    if thinking.unlimited or (thinking.on and not harmless):
        notes.dropped(name, "The model does not take it while it thinks.")
        return False
    return True


def _place(fields: JSONObject, path: str, value: JSONValue) -> None:
    """Put a value at a path of names with dots between them."""
    *above, name = path.split(".")
    for step in above:
        inner = fields[step] = fields.get(step, {})
        assert isinstance(inner, dict)
        fields = inner
    fields[name] = value


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
    try:
        if profile.native_structured_output:
            schema = cut_schema(wanted.schema)
            if schema != wanted.schema:
                notes.approximated("response_format.schema", "The schema is cut down to what this vendor takes.")
            result["textFormat"] = _text_format(wanted, schema)
            return result
        notes.approximated("response_format", "The model takes no schema, so it is given in words.")
    except NotExpressible as exc:
        notes.approximated("response_format", f"The schema is given in words: {exc}.")
    text = _schema_text(wanted.schema)
    system.append(text_block(f"{_JSON_OBJECT} It must be valid against this JSON Schema:\n{text}"))
    return result


def _text_format(wanted: ResponseFormat, schema: JSONObject) -> JSONObject:
    told: JSONObject = {"schema": _schema_text(schema)}
    if wanted.name:
        told["name"] = wanted.name
    if wanted.description:
        told["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": told}}


def _schema_text(schema: JSONObject) -> str:
    try:
        return dumps_text(schema)
    except JSONError as exc:
        raise InvalidRequest(f"The schema cannot be written as JSON: {exc}", param="response_format") from None


def _metadata(request: ChatRequest, notes: Diagnostics) -> JSONObject:
    """The client's own pairs, which Amazon writes into its log, as far as they have the form it takes."""
    pairs = request.metadata or {}
    kept: JSONObject = {
        key: value
        for key, value in pairs.items()
        if METADATA_KEY.fullmatch(key) and isinstance(value, str) and METADATA_VALUE.fullmatch(value)
    }
    kept = dict(list(kept.items())[:MAX_METADATA])
    for key in pairs:
        if key not in kept:
            notes.dropped(f"metadata.{key}", "The vendor does not take this pair.", info=True)
    return kept


def _service_tier(request: ChatRequest, notes: Diagnostics) -> JSONObject:
    tier = request.service_tier
    if tier is None or tier == "auto":
        return {}
    if tier in SERVICE_TIERS:
        return {"serviceTier": {"type": SERVICE_TIERS[tier]}}
    notes.dropped("service_tier", f"The vendor has no tier {tier!r}.")
    return {}


def _tell_what_is_left_out(request: ChatRequest, notes: Diagnostics) -> None:
    for name in ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"):
        if getattr(request.sampling, name) is not None:
            notes.dropped(name, _NOT_HERE)
    if request.verbosity is not None:
        notes.dropped("verbosity", _NOT_HERE)
    if request.end_user:
        notes.dropped("user", "The vendor is not told who asks.", info=True)
    if request.prompt_cache_key is not None:
        notes.dropped("prompt_cache_key", "The vendor finds its caches without a key.", info=True)
    for extension in request.extensions:
        if extension.loss == "error":
            raise unsupported(extension.path, f"The model's vendor has no counterpart of {extension.path!r}.")
        notes.dropped(extension.path, info=extension.loss == "info")


def _limit_cache_points(body: JSONObject, notes: Diagnostics) -> None:
    """At most four cache points are taken: the last ones reach furthest."""
    lists = [body.get("toolConfig"), body.get("system"), body["messages"]]
    blocks = [place for value in lists for place in _places(value)]
    marked = [place for place in blocks if any("cachePoint" in block for block in place if isinstance(block, dict))]
    surplus = sum("cachePoint" in block for place in marked for block in place if isinstance(block, dict))
    surplus -= MAX_CACHE_POINTS
    if surplus > 0:
        notes.dropped("cache_control", f"{surplus} cache points more than the vendor takes.")
    for place in marked:
        for block in [*place]:
            if surplus > 0 and isinstance(block, dict) and "cachePoint" in block:
                place.remove(block)
                surplus -= 1


def _places(value: JSONValue) -> list[list[JSONValue]]:
    """The lists in which cache points stand, in the order in which the vendor reads them."""
    match value:
        case {"tools": list(tools)}:
            return [tools]
        case [{"role": _}, *_] as messages:
            contents = (message.get("content") for message in messages if isinstance(message, dict))
            return [content for content in contents if isinstance(content, list)]
        case list(blocks):
            return [blocks]
        case _:
            return []
