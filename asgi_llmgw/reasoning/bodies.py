"""Other vendors' reasoning state in the body of a request that is otherwise forwarded as it is.

A client that has talked to several vendors brings the state of all of them. Where its request goes on without
translation, the state that was sealed for other vendors is taken out, and nothing else is read or changed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from asgi_llmgw.ir import Diagnostic, Protocol
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import STATE_MARK
from asgi_llmgw.protocols.plain import is_large_and_plain
from asgi_llmgw.reasoning.envelope import MARK, STANDARD, open_envelope

_STATE_MARK: Final = base64.b64encode(STATE_MARK).rstrip(b"=").decode()
_OURS: Final = MARK.encode()
_INNER: Final = _STATE_MARK.encode()
_SEALED: Final = re.compile(_OURS + rb"[A-Za-z0-9_+/=-]+")
_SIGNATURE_NAMES: Final = frozenset({"thoughtSignature", "thought_signature"})
_CALL_NAMES: Final = frozenset({"functionCall", "function_call"})
_SKIP: Final = "skip_thought_signature_validator"
"""What Google documents for calls that another model has made."""
TAKEN_OUT: Final = Diagnostic("messages", "dropped", "info", "State of other vendors' reasoning was taken out.")
"""What is said where a body has lost something."""


def carries_state(body: bytes) -> bool:
    """Whether something may have been sealed in it, by a search that costs next to nothing."""
    return not is_large_and_plain(body) and (_OURS in body or _INNER in body)


def without_foreign_state(body: bytes, protocol: Protocol, key: bytes, *, signed_calls: bool = False) -> bytes:
    """The body without what was sealed with this key; the same bytes where there is none.

    Args:
        protocol: what the body speaks.
        signed_calls: the model refuses calls without a signature, so that one that is lost needs a substitute.
    """
    try:
        data = loads_object(body)
    except JSONError:
        return body
    cleaner = _Cleaner(key, signed_calls=signed_calls)
    match protocol:
        case "anthropic_messages":
            cleaner.messages(data)
        case "openai_responses":
            cleaner.items(data)
        case "openai_chat":
            cleaner.chat(data)
        case "gemini_generate":
            cleaner.contents(data)
    return dumps(data) if cleaner.changed else body


class _Cleaner:
    """Takes sealed state out of a body, in place."""

    def __init__(self, key: bytes, *, signed_calls: bool) -> None:
        self.changed = False
        self._key = key
        self._signed_calls = signed_calls

    def messages(self, data: JSONObject) -> None:
        """Thinking blocks. A model told to think refuses a running tool call whose thought is missing."""
        self._turns(data, "messages", "content", lambda b: not self._sealed(b.get("signature"), b.get("data")))
        turns = [turn for turn in _objects(data.get("messages")) if turn.get("role") == "assistant"]
        kinds = [block.get("type") for block in _objects(turns[-1].get("content"))] if turns else []
        if not self.changed or "tool_use" not in kinds or {"thinking", "redacted_thinking"} & {*kinds}:
            return
        if as_object(data.get("thinking")).get("type") == "enabled":
            data["thinking"] = {"type": "disabled"}

    def items(self, data: JSONObject) -> None:
        """Reasoning items."""
        self._keep(data, "input", lambda item: not self._sealed(item.get("encrypted_content")))

    def chat(self, data: JSONObject) -> None:
        """What the conventions of vendors hold: details, blocks and signatures."""
        for message in _objects(data.get("messages")):
            for key in ("reasoning_details", "thinking_blocks"):
                self._keep(message, key, lambda entry: not self._sealed(entry.get("signature"), entry.get("data")))
                if message.get(key) == []:
                    del message[key]
            for holder in (message, *_objects(message.get("tool_calls"))):
                self._extra(holder)

    def contents(self, data: JSONObject) -> None:
        """Signatures of parts; the part stays, unless it was made for the signature alone."""
        for content in _objects(data.get("contents")):
            before, self.changed = self.changed, False
            self._keep(content, "parts", self._part)
            if self.changed and self._signed_calls:
                calls = (part for part in _objects(content.get("parts")) if _CALL_NAMES & part.keys())
                first = next(calls, None)
                if first is not None and not _SIGNATURE_NAMES & first.keys():
                    first["thoughtSignature"] = _SKIP
            self.changed = self.changed or before
        if self.changed:
            self._keep(data, "contents", lambda content: content.get("parts") != [])

    def _part(self, part: JSONObject) -> bool:
        for name in _SIGNATURE_NAMES & part.keys():
            if self._sealed(part[name]):
                self.changed = True
                del part[name]
                return bool(part) and part != {"text": ""}
        return True

    def _extra(self, holder: JSONObject) -> None:
        extra = as_object(holder.get("extra_content"))
        for vendor, field in (("google", "thought_signature"), ("anthropic", "signature")):
            state = as_object(extra.get(vendor))
            if self._sealed(state.get(field)):
                self.changed = True
                del state[field]
                if not state:
                    del extra[vendor]
                if not extra:
                    del holder["extra_content"]

    def _turns(self, data: JSONObject, turns: str, parts: str, wanted: Callable[[JSONObject], bool]) -> None:
        for turn in _objects(data.get(turns)):
            self._keep(turn, parts, wanted)
        if self.changed:
            self._keep(data, turns, lambda turn: turn.get(parts) != [])

    def _keep(self, holder: JSONObject, key: str, wanted: Callable[[JSONObject], bool]) -> None:
        """Leave out the entries of a list that are not wanted."""
        entries = as_list(holder.get(key))
        kept = [entry for entry in entries if not isinstance(entry, dict) or wanted(entry)]
        if len(kept) != len(entries):
            self.changed = True
            holder[key] = kept

    def _sealed(self, *values: JSONValue) -> bool:
        """Whether one of these was sealed with our key, directly or inside a signature of a Gemini client's."""
        return any(
            open_envelope(found, self._key) is not None
            for value in values
            if isinstance(value, str)
            for found in _candidates(value)
        )


def _candidates(value: str) -> list[str]:
    if value.startswith(MARK):
        return [value]
    if not value.startswith(_STATE_MARK):
        return []
    standard = value.translate(STANDARD).rstrip("=")
    try:
        inner = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return []
    return [found.decode() for found in _SEALED.findall(inner)]


def _objects(value: JSONValue) -> list[JSONObject]:
    return [entry for entry in as_list(value) if isinstance(entry, dict)]
