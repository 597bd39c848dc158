"""What Anthropic's words are in ours, as tables (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from asgi_llmgw.errors import ErrorKind, FailureClass
from asgi_llmgw.ir import Effort, FinishKind, Protocol, Severity

NAME: Final[Protocol] = "anthropic_messages"
PATH: Final = "/v1/messages"

TOOL_NAME_LIMIT: Final = 128
MAX_CACHE_MARKS: Final = 4
MAX_STRICT_TOOLS: Final = 20
MIN_BUDGET: Final = 1024

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

# A pause means that the turn is not over. Nobody repeats the request below this codec, so for clients of other
# protocols the answer is one that was cut short; `raw` still tells the difference.
FINISH: Final[Mapping[str, FinishKind]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "length",
    "refusal": "content_filter",
}

# A call in these answers may be incomplete, so they never count as "tool calls".
INCOMPLETE: Final = frozenset({"max_tokens", "model_context_window_exceeded", "refusal"})

SERVICE_TIER_IN: Final[Mapping[str, str]] = {"standard": "default", "priority": "priority"}
SERVICE_TIER_OUT: Final[Mapping[str, str]] = {
    "default": "standard_only",
    "standard_only": "standard_only",
    "priority": "auto",
}

REQUEST_TIERS: Final[Mapping[str, str]] = {"auto": "auto", "standard_only": "default"}
USAGE_TIERS: Final[Mapping[str, str]] = {"default": "standard", "standard": "standard", "priority": "priority"}

REQUEST_LOSS: Final[Mapping[str, Severity]] = {
    # the answer would be wrong without what they refer to
    "container": "error",
    "mcp_servers": "error",
    "thread": "error",
    # who asks, how it is billed, what is looked at afterwards
    "diagnostics": "info",
    "user_profile_id": "info",
    "workspace_id": "info",
    "betas": "info",
    "anthropic_beta": "info",
    "anthropic_version": "info",
    "billing_policy": "info",
    "fallbacks": "info",
    "fallback_credit_token": "info",
}
"""How bad it is to lose a field that only this protocol has; one that is not here is a `warning`."""

FIELD_LOSS: Final[Mapping[str, Severity]] = {
    # how the prompt is cached, or how the answer is brought
    "scope": "info",
    "defer_loading": "info",
    "eager_input_streaming": "info",
    "caller": "info",
    "toolset_name": "info",
    # wishes for one turn of a conversation
    "clear_at": "info",
    "output_config": "info",
}
"""The same for members further inside."""

ATTRIBUTION: Final = "x-anthropic-billing-header:"
"""Claude Code begins its system prompt with a line for the vendor, which is not for the model to read."""

# Lifetimes of OpenAI's vocabulary, rounded up to what exists here.
CACHE_TTL: Final[Mapping[str, str]] = {"5m": "5m", "1h": "1h", "30m": "1h", "12h": "1h", "24h": "1h"}

BUDGET: Final[Mapping[Effort, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
}

EffortWord: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"]
EFFORT: Final[Mapping[Effort, EffortWord]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
# the largest budget that still counts as each level
BUDGET_LEVELS: Final[tuple[tuple[int, Effort], ...]] = (
    (1024, "minimal"),
    (4096, "low"),
    (12288, "medium"),
    (24576, "high"),
)

ERROR_STATUS: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

ERROR_IN: Final[Mapping[str, tuple[ErrorKind, FailureClass]]] = {
    "invalid_request_error": ("bad_request", "caller_fault"),
    "authentication_error": ("upstream_unavailable", "credential"),
    "billing_error": ("quota_exceeded", "quota"),
    "permission_error": ("upstream_unavailable", "credential"),
    "not_found_error": ("not_found", "model_access"),
    "conflict_error": ("conflict", "transient"),
    "request_too_large": ("request_too_large", "caller_fault"),
    "rate_limit_error": ("rate_limited", "rate_limit"),
    "api_error": ("server_error", "transient"),
    "timeout_error": ("upstream_timeout", "timeout"),
    "overloaded_error": ("overloaded", "overloaded"),
}

STATUS_ERROR: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

ERROR_OUT: Final[Mapping[ErrorKind, tuple[int, str]]] = {
    "bad_request": (400, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "context_too_long": (400, "invalid_request_error"),
    "invalid_credentials": (401, "authentication_error"),
    "quota_exceeded": (402, "billing_error"),
    "forbidden": (403, "permission_error"),
    "model_not_found": (404, "not_found_error"),
    "not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "conflict": (409, "conflict_error"),
    "request_too_large": (413, "request_too_large"),
    "unsupported_media_type": (415, "invalid_request_error"),
    "request_timeout": (408, "timeout_error"),
    "headers_too_large": (431, "invalid_request_error"),
    "rate_limited": (429, "rate_limit_error"),
    "server_error": (500, "api_error"),
    "overloaded": (529, "overloaded_error"),
    "upstream_timeout": (504, "timeout_error"),
    "upstream_unavailable": (502, "api_error"),
    "upstream_invalid_response": (502, "api_error"),
    "cancelled": (499, "api_error"),
}
