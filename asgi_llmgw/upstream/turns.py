"""One stream must not keep the others waiting: neither reading from a vendor nor sending to a client need ever wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TURN: Final = 24 * 1024
"""Bytes of a stream that are worked on before the other streams have their turn."""
_CHUNK: Final = TURN // 64
"""What a chunk costs however small it is."""


def pieces(chunk: bytes) -> Iterable[bytes]:
    """The chunk, or if it is a great many events at once, pieces of it."""
    if len(chunk) <= TURN:
        return (chunk,)
    return (chunk[start : start + TURN] for start in range(0, len(chunk), TURN))


class Turns:
    """Tells when to let the others go on, every now and then."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent = 0

    def took(self, piece: bytes) -> bool:
        """One piece has been worked on. Whether it is the others' turn now: `asyncio.sleep(0)`."""
        self._spent += _CHUNK + len(piece)
        if self._spent < TURN:
            return False
        self._spent = 0
        return True
