"""Which session a request belongs to, so that all of a session's requests find the same warm prompt cache.

Vendors keep prompts warm per account, and many per server; an agent that is sent round-robin over five keys pays for
its long prompt five times.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.json import JSONError, members

_HEADERS: Final = (
    b"x-claude-code-session-id",
    b"session_id",
    b"session-id",
    b"conversation_id",
    b"x-session-affinity",
    b"x-session-id",
)
"""What Claude Code, Codex and opencode send, and two common names."""
_ANY_HEADER: Final = frozenset(_HEADERS)

_IN_BODY: Final = (("prompt_cache_key",), ("metadata", "user_id"), ("safety_identifier",))
"""OpenAI's `prompt_cache_key`, and the ids of the end user: Claude Code's `metadata.user_id` holds the session's, in
newer versions as JSON inside the string."""
_MAX: Final = 256
_MAX_IN_BODY: Final = 1024


def session_of(headers: Headers, body: bytes) -> str | None:
    """A name for the session, None where nothing tells one. What an agent says in a header comes first."""
    if not _ANY_HEADER.isdisjoint(dict(headers)):
        for wanted in _HEADERS:
            for name, value in headers:
                if name == wanted and 0 < len(value) <= _MAX:
                    return value.decode("latin-1")
    for path in _IN_BODY:
        told = body
        for member in path:
            told = _member(told, member)
        if told.startswith(b'"') and 2 < len(told) <= _MAX_IN_BODY:
            # as it is written: read or not, it is the same name for the same session
            return told[1:-1].decode("utf-8", "replace")
    return None


def _member(body: bytes, name: str) -> bytes:
    """A member's own bytes; none where there is no such member."""
    if not body:
        return body
    try:
        return bytes(members(body).get(name, b""))
    except JSONError:
        return b""
