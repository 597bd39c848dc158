"""How much the model thinks (https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking).

Older models are given a budget, newer ones decide themselves and are given an effort. What a client leaves open stays
open: the models' defaults differ, and are wanted.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.ir import Effort, Reasoning
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, Profile

from .wire import BUDGET, BUDGET_LEVELS, EFFORT, MIN_BUDGET

# the smallest output limit among the models that think with a budget
_OUTPUT_CEILING: Final = 32_000


class Thinking(msgspec.Struct, frozen=True):
    """The `thinking` and `output_config.effort` to send, and the `max_tokens` that leaves room for both."""

    max_tokens: int
    config: JSONObject | None = None
    effort: str | None = None

    @property
    def on(self) -> bool:
        """Whether the request turns thinking on."""
        return self.config is not None and self.config["type"] != "disabled"


def encode_thinking(
    reasoning: Reasoning | None,
    profile: Profile,
    notes: Diagnostics,
    *,
    max_tokens: int | None,
    obstacle: str | None,
) -> Thinking:
    """What to send for a reasoning setting.

    Args:
        max_tokens: the client's own limit, None where it set none.
        obstacle: why thinking with a budget would be refused for this request, if it would.
    """
    limit = profile.max_output_tokens if max_tokens is None else max_tokens
    if reasoning is None:
        return Thinking(limit)
    if profile.thinking == "adaptive":
        return _adaptive(reasoning, limit, notes)
    level = reasoning.effort or _level(reasoning.budget_tokens)
    if level == "none":
        return Thinking(limit)
    if profile.thinking != "budget":
        notes.dropped("reasoning", "The model does not think.")
        return Thinking(limit)
    if level is None and reasoning.budget_tokens is None:
        if reasoning.visible:
            notes.dropped("reasoning", "This model thinks only when it is told how much.", info=True)
        return Thinking(limit)
    if obstacle is not None:
        notes.dropped("reasoning", obstacle)
        return Thinking(limit)
    return _budget(reasoning, level or "medium", profile, notes, max_tokens=max_tokens)


def _adaptive(reasoning: Reasoning, limit: int, notes: Diagnostics) -> Thinking:
    level = reasoning.effort or _level(reasoning.budget_tokens)
    if level == "none":
        return Thinking(limit, {"type": "disabled"})
    if reasoning.effort is None and level is not None:
        notes.approximated("reasoning.budget_tokens", f"The model takes an effort, not a budget: {level}.")
    elif level == "minimal":
        notes.approximated("reasoning.effort", "The least effort of this model is 'low'.")
    config: JSONObject = {"type": "adaptive"}
    if reasoning.visible is not None:
        config["display"] = "summarized" if reasoning.visible else "omitted"
    return Thinking(limit, config, None if level is None else EFFORT[level])


def _budget(
    reasoning: Reasoning, level: Effort, profile: Profile, notes: Diagnostics, *, max_tokens: int | None
) -> Thinking:
    """A budget at or above the least one and below `max_tokens` (C5); the limit grows with it only if it is our own."""
    wanted = reasoning.budget_tokens
    if wanted is None or wanted < 0:
        largest = _OUTPUT_CEILING - profile.max_output_tokens if max_tokens is None else max_tokens - 1
        wanted = BUDGET.get(level, largest)
        if reasoning.budget_tokens is not None:
            notes.approximated("reasoning.budget_tokens", f"The model needs a number of tokens: {wanted}.")
    answer = profile.max_output_tokens
    limit = max(answer, min(wanted + answer, _OUTPUT_CEILING)) if max_tokens is None else max_tokens
    room = limit - (answer if max_tokens is None and limit > answer else 1)
    budget = min(max(wanted, MIN_BUDGET), room)
    if budget < MIN_BUDGET:
        notes.dropped("reasoning", f"{limit} output tokens leave no room for thinking.")
        return Thinking(limit)
    if budget != wanted:
        notes.clamped("reasoning.budget_tokens", f"{wanted} tokens of thinking become {budget}.")
    config: JSONObject = {"type": "enabled", "budget_tokens": budget}
    if reasoning.visible is False:
        config["display"] = "omitted"
    return Thinking(limit, config)


def _level(budget: int | None) -> Effort | None:
    """The level a budget amounts to; None where it is left to the model."""
    if budget is None or budget < 0:
        return None
    if budget == 0:
        return "none"
    return next((level for top, level in BUDGET_LEVELS if budget <= top), "xhigh")
