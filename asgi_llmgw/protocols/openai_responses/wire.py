"""Responses in tables: its words beside ours (https://platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.ir import FinishKind, FinishReason, Protocol, Severity
from asgi_llmgw.json import JSONObject, JSONValue, as_object, as_str

NAME: Final[Protocol] = "openai_responses"
PATH: Final = "/v1/responses"

MIN_OUTPUT_TOKENS: Final = 16
ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

REQUEST_FIELDS: Final = frozenset(
    {
        "model",
        "input",
        "instructions",
        "stream",
        "stream_options",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "include",
        "service_tier",
        "safety_identifier",
        "user",
        "metadata",
        "prompt_cache_key",
    }
)
"""The request fields that are read one by one; every other one becomes an extension."""

UNSAID: Final[Mapping[str, JSONValue]] = {"store": False, "background": False, "truncation": "disabled"}
"""Values that ask for what happens anyway."""

EXTENSION_LOSS: Final[Mapping[str, Severity]] = {
    "store": "info",  # nothing is kept, and the answer says so
    "client_metadata": "info",
    "image": "info",
    "prompt_cache_options": "info",  # only cheaper
    "prompt_cache_retention": "info",
    "background_options": "info",
    "background": "error",
    "conversation": "error",  # the turns before are not here
    "previous_response_id": "error",
    "prompt": "error",
}
"""How bad it is to lose a field only Responses has; a field that is not here is a `warning`."""

STATE_FIELDS: Final = ("previous_response_id", "conversation", "prompt")
"""With one of these the conversation lies at the vendor, and `input` may be empty."""

ERROR_CODES: Final = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
"""The codes `response.error` may have, of those that we can mean."""

PHASES: Final = frozenset({"commentary", "final_answer"})
"""The phases a message may have; clients read nothing else."""

CALL_TYPES: Final = frozenset({"function_call", "custom_tool_call"})
RESULT_TYPES: Final = frozenset({"function_call_output", "custom_tool_call_output"})

ITEM_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "message": frozenset({"type", "role", "content", "phase", "id", "status"}),
    "reasoning": frozenset({"type", "summary", "content", "encrypted_content", "id", "status"}),
    "function_call": frozenset({"type", "call_id", "name", "arguments", "namespace", "id", "status"}),
    "custom_tool_call": frozenset({"type", "call_id", "name", "input", "namespace", "id", "status"}),
    "function_call_output": frozenset({"type", "call_id", "output", "id", "status"}),
    "custom_tool_call_output": frozenset({"type", "call_id", "output", "id", "status"}),
    "additional_tools": frozenset({"type", "role", "tools", "id"}),
}
"""What is read of an input item. Ids and statuses are the vendor's bookkeeping: nothing is kept under them."""

PART_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "input_text": frozenset({"type", "text", "prompt_cache_breakpoint"}),
    "output_text": frozenset({"type", "text", "annotations", "logprobs", "prompt_cache_breakpoint"}),
    "text": frozenset({"type", "text", "prompt_cache_breakpoint"}),
    "refusal": frozenset({"type", "refusal"}),
    "input_image": frozenset({"type", "image_url", "file_id", "detail", "prompt_cache_breakpoint"}),
    "input_file": frozenset(
        {"type", "file_data", "file_id", "file_url", "filename", "detail", "prompt_cache_breakpoint"}
    ),
    "input_audio": frozenset({"type", "input_audio"}),
}

TOOL_FIELDS: Final = frozenset({"type", "name", "description", "parameters", "strict", "format"})
SOFT_TOOLS: Final = frozenset({"tool_search", "programmatic_tool_calling"})
"""Ways of finding and calling tools. Where they do not exist all tools are offered plainly."""


def extension_loss(name: str, value: JSONValue) -> Severity:
    """How bad it is to lose this field of a request."""
    if name == "moderation":
        sides = as_object(as_object(value).get("policy")).values()
        # the client relies on the block
        return "error" if any(as_object(side).get("mode") == "block" for side in sides) else "warning"
    return EXTENSION_LOSS.get(name, "warning")


def flat_name(namespace: str | None, name: str) -> str:
    """The name of a tool in a namespace, for those who have no namespaces."""
    return f"{namespace}__{name}" if namespace else name


def finish_in(response: JSONObject, *, calls: bool) -> FinishReason:
    """How an answer ended, from its status and what it holds."""
    status = as_str(response.get("status")) or "completed"
    if status == "incomplete":
        reason = as_str(as_object(response.get("incomplete_details")).get("reason"))
        kinds: dict[str, FinishKind] = {"max_output_tokens": "length", "content_filter": "content_filter"}
        return FinishReason(kinds.get(reason or "", "other"), reason or status)
    if status == "completed":
        return FinishReason("tool_calls" if calls else "stop", status)
    return FinishReason("other", status)


def finish_out(finish: FinishReason) -> tuple[str, str | None]:
    """The status of an answer, and why it is incomplete."""
    match finish.kind:
        case "length":
            return "incomplete", "max_output_tokens"
        case "content_filter":
            return "incomplete", "content_filter"
        case "error":
            return "failed", None
        case "stop" | "tool_calls" | "other":
            return "completed", None
