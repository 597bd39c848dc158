"""Which session a request belongs to, so that all of a session's requests find the same warm prompt cache.

Vendors keep prompts warm per account, and many per server; an agent that is sent round-robin over five keys pays for
its long prompt five times.
"""

from __future__ import annotations

import re
from typing import Final

from asgi_llmgw._types import Headers

_HEADERS: Final = (
    b"x-claude-code-session-id",
    b"session_id",
    b"session-id",
    b"conversation_id",
    b"x-session-affinity",
    b"x-session-id",
)
"""What Claude Code, Codex and opencode send, and two common names."""

_MAX: Final = 256
_STRING: Final = rb'\s*:\s*"((?:[^"\\]|\\.){1,512})"'
_IN_BODY: Final = (
    (b'"prompt_cache_key"', re.compile(rb'"prompt_cache_key"' + _STRING)),
    (b'"user_id"', re.compile(rb'"metadata"\s*:\s*\{\s*"user_id"' + _STRING)),
    (b'"safety_identifier"', re.compile(rb'"safety_identifier"' + _STRING)),
)
"""OpenAI's `prompt_cache_key`, and the ids of the end user: Claude Code's `metadata.user_id` holds the session's, in
newer versions as JSON inside the string."""


def session_of(headers: Headers, body: bytes) -> str | None:
    """A name for the session, None where nothing tells one.

    What an agent says in a header comes first. In the body only the members' names are looked for: parsing it for this
    would cost more than a warm cache is worth, and the wrong session is merely a less even spread.
    """
    for wanted in _HEADERS:
        for name, value in headers:
            if name == wanted and 0 < len(value) <= _MAX:
                return value.decode("latin-1")
    for name, pattern in _IN_BODY:
        if name in body:
            found = pattern.search(body)
            if found is not None:
                return found[1].decode("utf-8", "replace")
    return None
