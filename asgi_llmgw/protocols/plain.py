"""The short ways: what nearly all requests are made of, read in one step.

What is anything else is read in the general way, which knows what to make of it, and comes to the same for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeVar

import msgspec

from asgi_llmgw.ir import Message, Role, TextPart
from asgi_llmgw.json import MAX_NODES, Document, JSONError, JSONValue
from asgi_llmgw.protocols.base import RequestHead


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None


_read_head: Final = msgspec.json.Decoder(_Head).decode
_text: Final = msgspec.json.Decoder(str).decode
_choice: Final = msgspec.json.Decoder(bool | None).decode


def plain_head(body: bytes) -> RequestHead | None:
    """Model and stream where they are members of the request; all else is skipped. None where they are not, or odd."""
    try:
        if isinstance(body, Document):
            found = body.members()
            model = _text(found["model"])
            stream = _choice(found["stream"]) if "stream" in found else None
        else:
            head = _read_head(body)
            model, stream = head.model, head.stream
    except (KeyError, msgspec.DecodeError, ValueError, RecursionError):
        return None
    return RequestHead(model, stream or False) if model else None


_Type = TypeVar("_Type")


def only_these(decoder: msgspec.json.Decoder[_Type], body: bytes) -> _Type | None:
    """What has the members of this type and no others; None for all else."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def plain_request(decoder: msgspec.json.Decoder[_Type], body: bytes) -> _Type | None:
    """The same for a client's request: in a long one there could be more values than are taken."""
    return only_these(decoder, body) if len(body) <= MAX_NODES else None


def plain_message(message: JSONValue, roles: Mapping[str, Role]) -> Message | None:
    """`{"role": …, "content": …}` with one of these roles and a text that is not empty; None for all else."""
    if type(message) is not dict or len(message) != 2:
        return None
    role, text = message.get("role"), message.get("content")
    if type(text) is not str or not text or type(role) is not str or role not in roles:
        return None
    return Message(roles[role], (TextPart(text),))


class _Words(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: str
    cache_control: dict[str, str] | None = None


class PlainFunction(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Which function a call is for, and what with, as JSON in a text."""

    name: str
    arguments: str


class PlainCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A call of a function as Chat Completions writes it, and nothing else in it."""

    id: str
    function: PlainFunction
    type: Literal["function"] = "function"


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str | list[_Words] | None = None
    name: str | None = None
    refusal: None = None
    tool_calls: list[PlainCall] | None = None
    tool_call_id: str | None = None


_turns: Final = msgspec.json.Decoder(str | list[_Turn]).decode
_CONVERSATION: Final = ("messages", "input")
_LARGE: Final = 16 * 1024


def is_large_and_plain(body: bytes) -> bool:
    """Whether what was said so far is nothing but texts and calls: no pictures, no state of anybody's reasoning.

    Only of large requests, where reading the texts is quicker than looking through them for several words.
    """
    if len(body) < _LARGE or not isinstance(body, Document):
        return False
    if body.is_plain is None:
        body.is_plain = _is_plain(body)
    return body.is_plain


def _is_plain(body: Document) -> bool:
    try:
        found = body.members()
        said = next((found[name] for name in _CONVERSATION if name in found), None)
        return said is not None and _turns(said) is not None
    except (JSONError, msgspec.DecodeError, ValueError, RecursionError):
        return False
