"""How many tokens a request may have, when nobody who knows can be asked. The estimate errs high.

A coding agent compacts its history by this number: told too little, it runs into the model's limit and cannot go on.
"""

from __future__ import annotations

import math
import re
from typing import Final

from asgi_llmgw.json import JSONObject, JSONValue

_BYTES_PER_TOKEN: Final = 3.0
_PER_VALUE: Final = 1
_SHORT: Final = 1024
"""No picture and no document is as short."""
_PER_MEDIA: Final = 1_600
_BASE64: Final = re.compile(r"(?:data:[^,]{0,200};base64,)?[A-Za-z0-9+/_-]{1024,}={0,2}\Z")
_BASE64_BYTES_PER_TOKEN: Final = 750
_NOT_PROMPT: Final = frozenset({"model", "max_tokens", "metadata", "stream", "signature", "thoughtSignature"})
"""Members that no model reads."""


def estimate_tokens(request: JSONObject) -> int:
    """An upper estimate of a request's input tokens, in any protocol: texts, keys and pictures all count."""
    total = 0.0
    waiting: list[JSONValue] = [value for key, value in request.items() if key not in _NOT_PROMPT]
    while waiting:
        value = waiting.pop()
        total += _PER_VALUE
        # the tests by type are in the order of what is met most
        if isinstance(value, str):
            short = len(value) < _SHORT and value.isascii()
            total += len(value) / _BYTES_PER_TOKEN if short else _text(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key not in _NOT_PROMPT:
                    total += len(key) / _BYTES_PER_TOKEN
                    waiting.append(inner)
        elif isinstance(value, list):
            waiting.extend(value)
    return max(1, math.ceil(total))


def _text(text: str) -> float:
    if len(text) >= _SHORT and _BASE64.match(text):
        # pictures have a price of their own, documents grow with their pages
        return _PER_MEDIA + len(text) / _BASE64_BYTES_PER_TOKEN
    return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) / _BYTES_PER_TOKEN
