"""The short ways: what nearly all requests are made of, read in one step.

What is anything else is read in the general way, which knows what to make of it, and comes to the same for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from asgi_llmgw.ir import Message, Role, TextPart
from asgi_llmgw.json import MAX_NODES, JSONValue
from asgi_llmgw.protocols.base import RequestHead


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None


_read_head: Final = msgspec.json.Decoder(_Head).decode


def plain_head(body: bytes) -> RequestHead | None:
    """Model and stream where they are members of the request; all else is skipped. None where they are not, or odd."""
    try:
        head = _read_head(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return RequestHead(head.model, head.stream or False) if head.model else None


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
