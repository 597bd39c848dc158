"""What nearly all chunks of a stream are: one text that goes on, and nothing else that counts."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object

_TEXTS: Final = ("content", "reasoning_content", "reasoning")
_TELL_NOTHING: Final = ("role", "channel")


def is_plain(chunk: JSONObject) -> bool:
    """Whether a chunk that told one delta holds nothing but its text, or a fragment of a call that had begun before."""
    choices = as_list(chunk.get("choices"))
    choice = as_object(choices[0]) if len(choices) == 1 else {}
    delta = as_object(choice.get("delta"))
    said = [name for name, value in delta.items() if value and name not in _TELL_NOTHING]
    if len(said) != 1 or choice.get("finish_reason"):
        return False
    return said[0] in _TEXTS or (said[0] == "tool_calls" and all(map(_is_fragment, as_list(delta["tool_calls"]))))


def _is_fragment(value: JSONValue) -> bool:
    call = as_object(value)
    return not call.keys() - {"index", "type", "function"} and as_object(call.get("function")).keys() == {"arguments"}
