"""How long we wait for a vendor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """All in seconds.

    Args:
        connect: until the connection stands, TLS included.
        first_byte: from the request being sent to the head of an answer that is a stream.
        first_byte_whole: the same for an answer that comes whole, which reasoning models take minutes for.
        idle: between two chunks of an answer.
        total: for the whole call.
    """

    connect: float = 3.0
    first_byte: float = 60.0
    first_byte_whole: float = 600.0
    idle: float = 60.0
    total: float = 3600.0
