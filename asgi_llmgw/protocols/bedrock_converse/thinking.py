"""How much the model thinks. Converse has one word for it; all else goes into the fields of the model's own maker.

https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
"""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.ir import Effort, Reasoning
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, Profile

from .wire import BUDGET, BUDGET_LEVELS, CLAUDE_EFFORT, MIN_BUDGET, THREE_EFFORTS

# the smallest output limit among the models that think with a budget
_OUTPUT_CEILING: Final = 32_000


class Thinking(msgspec.Struct, frozen=True):
    """What to send: fields of the model's own, and an effort in Converse's words.

    `on`: the model thinks, and takes no sampling parameters meanwhile (`unlimited`: nor a limit of its output).
    """

    fields: JSONObject = {}
    effort: str | None = None
    on: bool = False
    unlimited: bool = False


def encode_thinking(
    reasoning: Reasoning | None, profile: Profile, notes: Diagnostics, *, max_tokens: int | None, obstacle: str | None
) -> Thinking:
    """What to send for a reasoning setting.

    Args:
        max_tokens: the client's own limit, None where it set none.
        obstacle: why thinking with a budget would be refused for this request, if it would.
    """
    if reasoning is None:
        return Thinking()
    level = reasoning.effort or _level(reasoning.budget_tokens)
    match profile.thinking:
        case "adaptive":
            return _adaptive(reasoning, level, notes)
        case "reasoning_config" | "reasoning_effort":
            return _by_effort(reasoning, level, profile, notes)
        case _ if level == "none":
            return Thinking()
        case "budget":
            return _budget(reasoning, level, notes, profile, max_tokens=max_tokens, obstacle=obstacle)
        case _:
            notes.dropped("reasoning", "The model cannot be told how much to think.")
            return Thinking()


def _adaptive(reasoning: Reasoning, level: Effort | None, notes: Diagnostics) -> Thinking:
    if level == "none":
        return Thinking({"thinking": {"type": "disabled"}})
    if reasoning.effort is None and level is not None:
        notes.approximated("reasoning.budget_tokens", f"The model takes an effort, not a budget: {level}.")
    elif level == "minimal":
        notes.approximated("reasoning.effort", "The least effort of this model is 'low'.")
    config: JSONObject = {"type": "adaptive"}
    if reasoning.visible is not None:
        config["display"] = "summarized" if reasoning.visible else "omitted"
    return Thinking({"thinking": config}, None if level is None else CLAUDE_EFFORT[level], on=True)


def _by_effort(reasoning: Reasoning, level: Effort | None, profile: Profile, notes: Diagnostics) -> Thinking:
    """Nova 2 and OpenAI's open models know three efforts."""
    nova = profile.thinking == "reasoning_config"
    if level is None:
        return Thinking()
    if level == "none":
        if nova:
            return Thinking({"reasoningConfig": {"type": "disabled"}})
        notes.dropped("reasoning", "This model always thinks.")
        return Thinking()
    effort = THREE_EFFORTS[level]
    if reasoning.effort is None:
        notes.approximated("reasoning.budget_tokens", f"The model takes an effort, not a budget: {effort}.")
    elif effort != level:
        notes.approximated("reasoning.effort", f"The nearest effort of this model is {effort!r}.")
    if not nova:
        return Thinking({"reasoning_effort": effort})
    config: JSONObject = {"type": "enabled", "maxReasoningEffort": effort}
    return Thinking({"reasoningConfig": config}, unlimited=effort == "high")


def _budget(
    reasoning: Reasoning,
    level: Effort | None,
    notes: Diagnostics,
    profile: Profile,
    *,
    max_tokens: int | None,
    obstacle: str | None,
) -> Thinking:
    """A budget at or above the least one and below the limit of the output (C5)."""
    wanted = reasoning.budget_tokens
    if level is None and wanted is None:
        if reasoning.visible:
            notes.dropped("reasoning", "This model thinks only when it is told how much.", info=True)
        return Thinking()
    if obstacle is not None:
        notes.dropped("reasoning", obstacle)
        return Thinking()
    room = _OUTPUT_CEILING - profile.max_output_tokens if max_tokens is None else max_tokens - 1
    if wanted is None or wanted < 0:
        wanted = BUDGET.get(level or "medium", room)
        if reasoning.budget_tokens is not None:
            notes.approximated("reasoning.budget_tokens", f"The model needs a number of tokens: {wanted}.")
    budget = min(max(wanted, MIN_BUDGET), room)
    if budget < MIN_BUDGET:
        notes.dropped("reasoning", f"{max_tokens} output tokens leave no room for thinking.")
        return Thinking()
    if budget != wanted:
        notes.clamped("reasoning.budget_tokens", f"{wanted} tokens of thinking become {budget}.")
    config: JSONObject = {"type": "enabled", "budget_tokens": budget}
    if reasoning.visible is False:
        config["display"] = "omitted"
    return Thinking({"thinking": config}, on=True)


def _level(budget: int | None) -> Effort | None:
    """The level a budget amounts to; None where it is left to the model."""
    if budget is None or budget < 0:
        return None
    if budget == 0:
        return "none"
    return next((level for top, level in BUDGET_LEVELS if budget <= top), "xhigh")
