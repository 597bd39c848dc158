"""What Gemini calls things: tables, and the few rules that depend on a model's name."""

from __future__ import annotations

from typing import Final, Literal

from asgi_llmgw.errors import ErrorKind, FailureClass
from asgi_llmgw.ir import Effort, FinishKind

PROTOCOL: Final = "gemini_generate"

SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
"""Stands in for a lost thought signature (https://ai.google.dev/gemini-api/docs/thought-signatures)."""

FINISH: Final[dict[str, FinishKind]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    # the model would go on if it were asked again, which we do not do
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "JAILBREAK": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "MALFORMED_RESPONSE": "error",
}
"""An open list: what is not in it is `other`."""

FINISH_OUT: Final[dict[FinishKind, str]] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
    "other": "OTHER",
}

MALFORMED_CALL: Final = "MALFORMED_FUNCTION_CALL"

OTHER_FINISH: Final = frozenset({"OTHER", "LANGUAGE", "ESCALATION", "IMAGE_OTHER", "NO_IMAGE", "PUP_LIMITED_DISABLED"})
"""Reasons of the vendor's that are `other` to everybody else."""

BLOCKS: Final = frozenset(
    {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"}
)
"""Why a prompt may be blocked."""

FINISH_NUMBERS: Final[dict[int, str]] = {
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MODEL_ARMOR",
}
"""Vertex writes enums as numbers when it is asked for `enum-encoding=int`; these are its numbers."""

BLOCK_NUMBERS: Final[dict[int, str]] = {
    1: "SAFETY",
    2: "OTHER",
    3: "BLOCKLIST",
    4: "PROHIBITED_CONTENT",
    5: "MODEL_ARMOR",
    6: "JAILBREAK",
}

MODALITY_NUMBERS: Final[dict[int, str]] = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}

UNSAID: Final = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})

SERVICE_TIER_OUT: Final[dict[str, str]] = {
    "flex": "flex",
    "priority": "priority",
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
}
SERVICE_TIER_IN: Final[dict[str, str]] = {"standard": "default", "flex": "flex", "priority": "priority"}

STATUS_NAME: Final[dict[ErrorKind, str]] = {
    "bad_request": "INVALID_ARGUMENT",
    "unsupported": "INVALID_ARGUMENT",
    "context_too_long": "INVALID_ARGUMENT",
    "invalid_credentials": "INVALID_ARGUMENT",
    "quota_exceeded": "RESOURCE_EXHAUSTED",
    "forbidden": "PERMISSION_DENIED",
    "model_not_found": "NOT_FOUND",
    "not_found": "NOT_FOUND",
    "method_not_allowed": "UNIMPLEMENTED",
    "conflict": "ABORTED",
    "request_too_large": "INVALID_ARGUMENT",
    "unsupported_media_type": "INVALID_ARGUMENT",
    "request_timeout": "DEADLINE_EXCEEDED",
    "headers_too_large": "INVALID_ARGUMENT",
    "rate_limited": "RESOURCE_EXHAUSTED",
    "server_error": "INTERNAL",
    "overloaded": "UNAVAILABLE",
    "upstream_timeout": "DEADLINE_EXCEEDED",
    "upstream_unavailable": "UNAVAILABLE",
    "upstream_invalid_response": "UNAVAILABLE",
    "cancelled": "CANCELLED",
}

CODE_OF_STATUS: Final[dict[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

FAILURE: Final[dict[int, tuple[FailureClass, ErrorKind]]] = {
    400: ("caller_fault", "bad_request"),
    404: ("model_access", "model_not_found"),
    408: ("timeout", "upstream_timeout"),
    409: ("transient", "conflict"),
    413: ("caller_fault", "request_too_large"),
    429: ("rate_limit", "rate_limited"),
    499: ("transient", "upstream_unavailable"),
    500: ("transient", "server_error"),
    501: ("caller_fault", "unsupported"),
    502: ("transient", "upstream_unavailable"),
    503: ("overloaded", "overloaded"),
    504: ("timeout", "upstream_timeout"),
}

CREDENTIAL_REASONS: Final = frozenset(
    {
        "API_KEY_INVALID",
        "API_KEY_EXPIRED",
        "API_KEY_SERVICE_BLOCKED",
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "API_KEY_IP_ADDRESS_BLOCKED",
        "CREDENTIALS_MISSING",
        "ACCESS_TOKEN_EXPIRED",
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "CONSUMER_INVALID",
        "CONSUMER_SUSPENDED",
        "SERVICE_DISABLED",
        "BILLING_DISABLED",
    }
)
"""`google.rpc.ErrorInfo` reasons that are about our key or project, whatever the status."""

RESOLUTION: Final[dict[str, str]] = {
    "low": "MEDIA_RESOLUTION_LOW",
    "medium": "MEDIA_RESOLUTION_MEDIUM",
    "high": "MEDIA_RESOLUTION_HIGH",
    "original": "MEDIA_RESOLUTION_HIGH",
}

RESOLUTION_IN: Final[dict[str, str]] = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "medium",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "original",
}

MEDIA_TYPES: Final[dict[str, str]] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "xml": "text/xml",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mpeg": "video/mpeg",
    "webm": "video/webm",
}
"""By the end of a file's name; our own table, because the system's differs from machine to machine."""

BASE64_MAGIC: Final[tuple[tuple[str, str], ...]] = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("JVBERi", "application/pdf"),
)

RESULT_MEDIA: Final = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""What may stand inside a function response (https://ai.google.dev/gemini-api/docs/function-calling)."""

_LEVEL: Final[dict[Effort, str]] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_WITHOUT_MINIMAL: Final = ("pro", "3.7-flash")

_BUDGET: Final[dict[Effort, int]] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}

_BUDGETS: Final[tuple[tuple[str, int, int, bool], ...]] = (
    ("pro", 128, 32768, False),
    ("flash-lite", 512, 24576, True),
    ("", 0, 24576, True),
)
"""Part of a model's name → least and greatest thinking budget, and whether 0 is allowed
(https://ai.google.dev/gemini-api/docs/thinking)."""


def thinking_level(model: str, effort: Effort) -> tuple[str, bool]:
    """The `thinkingLevel` nearest to an effort, and whether it means the same."""
    level = _LEVEL[effort]
    if level == "MINIMAL" and any(fragment in model for fragment in _WITHOUT_MINIMAL):
        return "LOW", False
    return level, effort not in ("none", "xhigh", "max")


def thinking_budget(model: str, effort: Effort) -> tuple[int, bool]:
    """The `thinkingBudget` for an effort, and whether the model can do as much or as little."""
    wanted = _BUDGET.get(effort, 32768)
    budget, exact = clamp_budget(model, wanted)
    return budget, exact or wanted > 0


def clamp_budget(model: str, budget: int) -> tuple[int, bool]:
    """A `thinkingBudget` the model takes, and whether it is the one that was asked for."""
    least, greatest, can_be_off = next(row[1:] for row in _BUDGETS if row[0] in model)
    if budget == -1 or (budget == 0 and can_be_off):
        return budget, True
    clamped = min(max(budget, least), greatest)
    return clamped, clamped == budget


def effort_of_budget(budget: int) -> Effort:
    """The effort a number of thinking tokens stands for."""
    steps: tuple[tuple[int, Effort], ...] = (
        (0, "none"),
        (1024, "minimal"),
        (4096, "low"),
        (12288, "medium"),
        (24576, "high"),
    )
    return next((effort for limit, effort in steps if budget <= limit), "xhigh")


def media_kind(media_type: str) -> Literal["image", "audio", "video", "document"]:
    """What kind of medium a MIME type is."""
    match media_type.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
        case _:
            return "document"


def guess_media_type(name: str) -> str | None:
    """The MIME type that the end of a file's name or a URL's path tells."""
    path = name.partition("?")[0].partition("#")[0]
    return MEDIA_TYPES.get(path.rpartition(".")[2].lower())
