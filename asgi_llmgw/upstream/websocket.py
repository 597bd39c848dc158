"""WebSockets to vendors, behind an interface like that of the calls."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from asgi_llmgw._types import Headers
from asgi_llmgw.timeouts import Timeouts

Frame: TypeAlias = str | bytes
"""A message: text or binary. How it was cut into frames on the wire is of no consequence."""

MAX_FRAME: Final = 16 * 1024 * 1024
"""The largest message; OpenAI takes 15 MiB of audio in one."""
GOING_AWAY: Final = 1001


@dataclass(frozen=True, slots=True)
class Closed:
    """One side has closed the connection in due form; without a code it is 1005."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The vendor has answered the handshake with something else."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRequest:
    """One handshake; of an address that begins with `https:` or `http:`.

    Args:
        subprotocols: what is offered to the vendor.
        max_frame: the largest message it may send, in bytes.
    """

    url: str
    headers: Headers = field(default=(), repr=False)
    subprotocols: tuple[str, ...] = ()
    max_frame: int = MAX_FRAME
    timeouts: Timeouts = Timeouts()


class UpstreamSocket(Protocol):
    """A connection that stands."""

    @property
    def subprotocol(self) -> str | None:
        """What the vendor has chosen of the offer."""
        ...

    async def receive(self) -> Frame | Closed:
        """The next message.

        Raises:
            UpstreamError: the connection broke, or what came is not to be read.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Send a message, once there is room for it.

        Raises:
            UpstreamError: the connection is not there any more.
        """
        ...

    async def close(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """Say goodbye; closed connections stay as they are."""
        ...


class RealtimeUpstream(Protocol):
    """Something that connects to vendors. One instance serves any number of event loops."""

    def connect(self, request: SocketRequest, /) -> AbstractAsyncContextManager[UpstreamSocket | Refusal]:
        """Connect; entering waits for the end of the handshake, leaving closes the connection.

        Raises:
            UpstreamError: no connection (`unreachable`) or too slow (`timeout`).
        """
        ...
