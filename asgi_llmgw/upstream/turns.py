"""One stream must not keep the others waiting: neither reading from a vendor nor sending to a client need ever wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

TURN: Final = 16 * 1024
"""Bytes of a stream that are worked on before the other streams have their turn."""
_CHUNK: Final = TURN // 64
"""What a chunk costs however small it is."""


async def in_turns(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes; large chunks in pieces, and a turn for the others every now and then."""
    spent = 0
    async for chunk in chunks:
        if len(chunk) <= TURN:
            yield chunk
            spent += _CHUNK + len(chunk)
            if spent >= TURN:
                spent = 0
                await asyncio.sleep(0)
        else:
            for start in range(0, len(chunk), TURN):
                yield chunk[start : start + TURN]
                await asyncio.sleep(0)
