"""`generationConfig`: how the answer is made."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.ir import ChatRequest, MediaPart, Reasoning, ResponseFormat, Sampling, ToolResultPart
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import Diagnostics, Profile, unsupported

from .schema import gemini_schema
from .wire import RESOLUTION, clamp_budget, effort_of_budget, thinking_budget, thinking_level

_MAX_STOP: Final = 5
_UNSAID: Final = Sampling()


def encode_config(request: ChatRequest, profile: Profile, lost: Diagnostics) -> JSONObject:
    """All of `generationConfig`; what the client did not say is not said.

    Raises:
        InvalidRequest: more stop sequences than Gemini takes.
    """
    config: JSONObject = {} if request.sampling == _UNSAID else _sampling(request.sampling, lost)
    if request.response_format is not None:
        config |= _format(request.response_format, profile, lost)
    if request.candidates is not None:
        config["candidateCount"] = request.candidates
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = request.max_output_tokens
    if request.modalities:
        config["responseModalities"] = [modality.upper() for modality in request.modalities]
    resolution = None if request.talk is not None else _resolution(request, lost)
    if resolution is not None:
        config["mediaResolution"] = resolution
    thinking = None if request.reasoning is None else _thinking(request, request.reasoning, profile, lost)
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _sampling(sampling: Sampling, lost: Diagnostics) -> JSONObject:
    if len(sampling.stop) > _MAX_STOP:
        raise unsupported("stop", f"Gemini takes {_MAX_STOP} stop sequences at most.")
    if sampling.logit_bias:
        lost.dropped("logit_bias", "Gemini has no such parameter")
    values: dict[str, JSONValue] = {
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "seed": sampling.seed,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "stopSequences": list(sampling.stop) or None,
        "responseLogprobs": sampling.logprobs,
        "logprobs": (sampling.top_logprobs or None) if sampling.logprobs else None,
    }
    if sampling.top_logprobs and not sampling.logprobs:
        lost.dropped("top_logprobs", "log probabilities were not asked for", info=True)
    return {name: value for name, value in values.items() if value is not None}


def _format(wanted: ResponseFormat, profile: Profile, lost: Diagnostics) -> JSONObject:
    if wanted.kind == "text":
        return {}
    config: JSONObject = {"responseMimeType": "application/json"}
    if wanted.kind == "json_object" or wanted.schema is None:
        return config
    for name in ("name", "description"):
        if getattr(wanted, name) is not None:
            lost.dropped(f"response_format.{name}", "Gemini has no place for it", info=True)
    if wanted.strict is False:
        lost.approximated("response_format.strict", "Gemini always holds the answer to the schema", info=True)
    if profile.json_schema:
        config["responseJsonSchema"] = wanted.schema
    else:
        config["responseSchema"] = gemini_schema(wanted.schema, "response_format.schema", lost)
    return config


def _resolution(request: ChatRequest, lost: Diagnostics) -> str | None:
    """One for the whole request, which every model knows: the finest that was asked for."""
    details: set[str] = set()
    for message in request.messages:
        for part in message.parts:
            inner = part.content if isinstance(part, ToolResultPart) else (part,)
            details |= {p.detail for p in inner if isinstance(p, MediaPart) and p.detail is not None}
    known = [detail for detail in RESOLUTION if detail in details]
    if len(known) > 1:
        lost.approximated("detail", "Gemini has one resolution for all media of a request; the finest is taken")
    for detail in sorted(details - set(RESOLUTION) - {"auto"}):
        lost.dropped("detail", f"Gemini has no resolution {detail!r}")
    return RESOLUTION[known[-1]] if known else None


def _thinking(request: ChatRequest, reasoning: Reasoning, profile: Profile, lost: Diagnostics) -> JSONObject:
    if profile.thinking == "none":
        lost.dropped("reasoning", "the model does not think")
        return {}
    config: JSONObject = {}
    if profile.thinking_level:
        level = _level(request.model, reasoning, lost)
        if level is not None:
            config["thinkingLevel"] = level
    else:
        budget = _budget(request.model, reasoning, lost)
        if budget is not None:
            config["thinkingBudget"] = budget
    # thoughts that are not thought cannot be shown: asking for them is refused
    if reasoning.visible is not None and config.get("thinkingBudget") != 0:
        config["includeThoughts"] = reasoning.visible
    return config


def _level(model: str, reasoning: Reasoning, lost: Diagnostics) -> str | None:
    effort = reasoning.effort
    if effort is None:
        if reasoning.budget_tokens is None or reasoning.budget_tokens < 0:
            return None
        effort = effort_of_budget(reasoning.budget_tokens)
        lost.approximated("reasoning.budget_tokens", f"sent as the level for {effort}", info=True)
    level, exact = thinking_level(model, effort)
    if not exact:
        lost.approximated("reasoning.effort", f"{effort} is sent as {level}")
    return level


def _budget(model: str, reasoning: Reasoning, lost: Diagnostics) -> int | None:
    if reasoning.effort is not None:
        budget, exact = thinking_budget(model, reasoning.effort)
        if not exact:
            lost.approximated("reasoning.effort", f"the model cannot stop thinking; it gets {budget} tokens")
        return budget
    if reasoning.budget_tokens is None:
        return None
    budget, exact = clamp_budget(model, max(reasoning.budget_tokens, -1))
    if not exact:
        lost.clamped("reasoning.budget_tokens", f"the model takes {budget}")
    return budget
