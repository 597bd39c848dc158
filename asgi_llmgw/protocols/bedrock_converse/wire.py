"""What Amazon's words are in ours, as tables.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from asgi_llmgw.errors import ErrorKind, FailureClass
from asgi_llmgw.ir import Effort, FinishKind, Protocol

NAME: Final[Protocol] = "bedrock_converse"

TOOL_NAME_LIMIT: Final = 64
MAX_CACHE_POINTS: Final = 4
MAX_METADATA: Final = 16
METADATA_KEY: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}")
METADATA_VALUE: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}")

FINISH: Final[Mapping[str, FinishKind]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}

# A call in these answers may be incomplete, so they never count as "tool calls".
INCOMPLETE: Final = frozenset(
    {
        "max_tokens",
        "model_context_window_exceeded",
        "guardrail_intervened",
        "content_filtered",
        "malformed_model_output",
        "malformed_tool_use",
    }
)

IMAGE_FORMATS: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}

DOCUMENT_FORMATS: Final[Mapping[str, str]] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/markdown": "md",
    "text/x-markdown": "md",
}
"""Everything else that is text is `txt`."""
TEXTUAL: Final = ("text/", "application/json", "application/xml", "application/javascript")

VIDEO_FORMATS: Final[Mapping[str, str]] = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mov": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/wmv": "wmv",
    "video/3gpp": "three_gp",
}

AUDIO_FORMATS: Final[Mapping[str, str]] = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
}

SERVICE_TIERS: Final[Mapping[str, str]] = {
    "default": "default",
    "standard_only": "default",
    "priority": "priority",
    "flex": "flex",
}
"""Of a request; `auto` says nothing."""

# Lifetimes of other vocabularies, rounded up to what exists here; five minutes are what nobody has to ask for.
CACHE_TTL: Final[Mapping[str, str | None]] = {"5m": None, "1h": "1h", "30m": "1h", "12h": "1h", "24h": "1h"}

MIN_BUDGET: Final = 1024
BUDGET: Final[Mapping[Effort, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
}
# the largest budget that still counts as each level
BUDGET_LEVELS: Final[tuple[tuple[int, Effort], ...]] = (
    (1024, "minimal"),
    (4096, "low"),
    (12288, "medium"),
    (24576, "high"),
)
CLAUDE_EFFORT: Final[Mapping[Effort, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
THREE_EFFORTS: Final[Mapping[Effort, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""What Nova and OpenAI's open models take."""

EXCEPTION: Final = "exception"
"""What a frame of a stream is called that tells an exception of Amazon's; its data is `{"__type", "message"}`."""

ERROR_IN: Final[Mapping[str, tuple[ErrorKind, FailureClass]]] = {
    "validation": ("bad_request", "caller_fault"),
    "accessdenied": ("upstream_unavailable", "credential"),
    "expiredtoken": ("upstream_unavailable", "credential"),
    "incompletesignature": ("upstream_unavailable", "credential"),
    "invalidsignature": ("upstream_unavailable", "credential"),
    "missingauthenticationtoken": ("upstream_unavailable", "credential"),
    "unrecognizedclient": ("upstream_unavailable", "credential"),
    "resourcenotfound": ("model_not_found", "model_access"),
    "throttling": ("rate_limited", "rate_limit"),
    "servicequotaexceeded": ("rate_limited", "rate_limit"),
    "modelnotready": ("overloaded", "overloaded"),
    "serviceunavailable": ("overloaded", "overloaded"),
    "modeltimeout": ("upstream_timeout", "timeout"),
    "modelerror": ("server_error", "transient"),
    "modelstreamerror": ("server_error", "transient"),
    "internalserver": ("server_error", "transient"),
}
"""Amazon's exceptions, in lower case and without the word: they are spelled in several ways."""

STATUS_ERROR: Final[Mapping[int, str]] = {
    401: "unrecognizedclient",
    403: "accessdenied",
    404: "resourcenotfound",
    408: "modeltimeout",
    424: "modelerror",
    429: "throttling",
    503: "serviceunavailable",
    504: "modeltimeout",
}

ERROR_OUT: Final[Mapping[ErrorKind, tuple[int, str]]] = {
    "bad_request": (400, "ValidationException"),
    "unsupported": (400, "ValidationException"),
    "context_too_long": (400, "ValidationException"),
    "invalid_credentials": (403, "UnrecognizedClientException"),
    "quota_exceeded": (429, "ThrottlingException"),
    "forbidden": (403, "AccessDeniedException"),
    "model_not_found": (404, "ResourceNotFoundException"),
    "not_found": (404, "ResourceNotFoundException"),
    "method_not_allowed": (405, "ValidationException"),
    "conflict": (409, "ValidationException"),
    "request_too_large": (413, "ValidationException"),
    "unsupported_media_type": (415, "ValidationException"),
    "request_timeout": (408, "ModelTimeoutException"),
    "headers_too_large": (431, "ValidationException"),
    "rate_limited": (429, "ThrottlingException"),
    "server_error": (500, "InternalServerException"),
    "overloaded": (503, "ServiceUnavailableException"),
    "upstream_timeout": (408, "ModelTimeoutException"),
    "upstream_unavailable": (503, "ServiceUnavailableException"),
    "upstream_invalid_response": (500, "InternalServerException"),
    "cancelled": (499, "InternalServerException"),
}
