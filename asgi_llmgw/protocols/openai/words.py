"""OpenAI's words for how much a model thinks and for how fast it is served, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from asgi_llmgw.ir import Effort

EFFORTS: Final[Mapping[str, Effort]] = {effort: effort for effort in get_args(Effort)}
BUDGET_EFFORTS: Final[tuple[tuple[int, Effort], ...]] = (
    (0, "none"),
    (1024, "minimal"),
    (4096, "low"),
    (12288, "medium"),
    (24576, "high"),
)
"""The highest thinking budget of each effort; more than the last one is `xhigh`."""

SERVICE_TIERS: Final[Mapping[str, str]] = {
    "auto": "auto",
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "scale": "scale",
    "priority": "priority",
    "fast": "fast",
    "ultrafast": "fast",
}

MAX_IDENTIFIER: Final = 64
"""Characters in an identifier of OpenAI's: an end user, a cache key, a call."""


def budget_effort(budget: int) -> Effort | None:
    """The effort that is about as much as this many tokens; None leaves it to the model."""
    if budget < 0:
        return None
    return next((effort for limit, effort in BUDGET_EFFORTS if budget <= limit), "xhigh")
