"""Whose a stored response is, and at which vendor it lies.

Vendors that speak Responses keep what they answered, and clients come back for it by its id alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from .base import SideTable

RESPONSES_TTL: Final = 30 * 24 * 3600.0
"""So long OpenAI keeps a response (https://platform.openai.com/docs/guides/conversation-state)."""

_EVERYBODY: Final = "\0responses"
"""One namespace for all clients: the id of another's must be told from one that nobody has made."""


class ResponseOwner(msgspec.Struct, frozen=True):
    """Who made a response, and where.

    Args:
        principal: the name of the client key.
        provider: the configured name of the vendor that holds it.
        credential: which of the provider's keys it was made with, as it lies in that key's account; None if the
            provider does not have that key any more.
        upstream_model: what answered, by the vendor's name for it.
        model: the name the client asked for.
        route: the configured name that matched it.
        translated: the vendor speaks another protocol, so the response is kept nowhere.
    """

    principal: str
    provider: str
    credential: int | None = None
    upstream_model: str = ""
    model: str = ""
    route: str | None = None
    translated: bool = False


class _Kept(msgspec.Struct, frozen=True):
    """As it is kept: keys change their places when a configuration changes."""

    owner: ResponseOwner
    key: str


class ResponseOwners:
    """The owners of responses that went past, as far as they are remembered.

    Args:
        table: where they are kept.
        keys: each provider's keys, in their order.
        ttl: for so many seconds.
    """

    def __init__(
        self, table: SideTable, *, keys: Mapping[str, Sequence[str]] | None = None, ttl: float = RESPONSES_TTL
    ) -> None:
        self._table = table
        self._keys = {name: [_fingerprint(key) for key in own] for name, own in (keys or {}).items()}
        self._ttl = ttl
        self._decoder = msgspec.msgpack.Decoder(_Kept)

    async def find(self, identifier: str) -> ResponseOwner | None:
        """Who made this response; None if it is not known (any more)."""
        found = await self._table.get(_EVERYBODY, identifier)
        if found is None:
            return None
        try:
            kept = self._decoder.decode(found)
        except msgspec.DecodeError:
            # written by another version
            return None
        own = self._keys.get(kept.owner.provider, [])
        place = own.index(kept.key) if kept.key in own else None
        return msgspec.structs.replace(kept.owner, credential=place)

    async def remember(self, identifier: str, owner: ResponseOwner) -> None:
        """A response has been made."""
        own, place = self._keys.get(owner.provider, []), owner.credential
        kept = _Kept(owner, own[place] if place is not None and place < len(own) else "")
        await self._table.put(_EVERYBODY, identifier, msgspec.msgpack.encode(kept), ttl=self._ttl)


def _fingerprint(key: str) -> str:
    """Tells keys apart, and nothing about them."""
    return hashlib.blake2b(key.encode(), digest_size=8, person=b"llmgw owners").hexdigest()
