"""What a store of a gateway's can do, whatever it is made of."""

from __future__ import annotations

from typing import Protocol


class SideTable(Protocol):
    """Small values that are kept for a while and may be forgotten at any time. Nobody sees another owner's."""

    async def get(self, owner: str, name: str) -> bytes | None:
        """What was put there, None if it is not known any more."""
        ...

    async def put(self, owner: str, name: str, value: bytes, *, ttl: float) -> None:
        """Keep a value for so many seconds at most, instead of the one that was there."""
        ...
