"""Stores in the memory of this process: other processes do not see them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

_OVERHEAD: Final = 256
"""About what an entry costs besides its texts."""


class _Entry(msgspec.Struct, frozen=True):
    value: bytes
    expires: float
    size: int


class MemorySideTable:
    """A `SideTable` that forgets first what was not asked for longest.

    Args:
        max_entries: so many values at most.
        max_bytes: so much memory at most, roughly; what alone is larger is not kept.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0

    async def get(self, owner: str, name: str) -> bytes | None:
        """What was put there, None if it is not known any more."""
        entry = self._entries.get((owner, name))
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._forget((owner, name))
            return None
        self._entries.move_to_end((owner, name))
        return entry.value

    async def put(self, owner: str, name: str, value: bytes, *, ttl: float) -> None:
        """Keep a value for so many seconds at most, instead of the one that was there."""
        key = (owner, name)
        self._forget(key)
        size = len(owner) + len(name) + len(value) + _OVERHEAD
        if size > self._max_bytes:
            return
        self._entries[key] = _Entry(value, self._clock() + ttl, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
