"""Whose a stored response is, and at which vendor it lies.

Vendors that speak Responses keep what they answered, and clients come back for it by its id alone.
"""

from __future__ import annotations

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
        credential: which of the provider's keys it was made with: it lies in that key's account.
        upstream_model: what answered, by the vendor's name for it.
        model: the name the client asked for.
        route: the configured name that matched it.
        translated: the vendor speaks another protocol, so the response is kept nowhere.
    """

    principal: str
    provider: str
    credential: int = 0
    upstream_model: str = ""
    model: str = ""
    route: str | None = None
    translated: bool = False


class ResponseOwners:
    """The owners of responses that went past, as far as they are remembered.

    Args:
        table: where they are kept.
        ttl: for so many seconds.
    """

    def __init__(self, table: SideTable, *, ttl: float = RESPONSES_TTL) -> None:
        self._table = table
        self._ttl = ttl
        self._decoder = msgspec.msgpack.Decoder(ResponseOwner)

    async def find(self, identifier: str) -> ResponseOwner | None:
        """Who made this response; None if it is not known (any more)."""
        found = await self._table.get(_EVERYBODY, identifier)
        return None if found is None else self._decoder.decode(found)

    async def remember(self, identifier: str, owner: ResponseOwner) -> None:
        """A response has been made."""
        await self._table.put(_EVERYBODY, identifier, msgspec.msgpack.encode(owner), ttl=self._ttl)
