"""What a scripted vendor sends: bytes, in pieces, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from asgi_llmgw.json import as_str, loads_object

Ending: TypeAlias = Literal["end", "cut"]

KEY: Final = b"@KEY@"
"""Stands in a script where a careless vendor repeats the key it was asked with."""

JSON: Final = (("content-type", "application/json"),)
EVENTS: Final = (("content-type", "text/event-stream; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Script:
    """One answer of a vendor's.

    Args:
        pieces: the body, as it is written to the socket.
        headers: besides those of the framing.
        ending: `cut` closes the connection in the middle of the body.
        slow: each piece arrives by itself.
    """

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = EVENTS
    ending: Ending = "end"
    slow: bool = False

    @property
    def body(self) -> bytes:
        """All of it at once."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Vendor:
    """One protocol's scripts by the name of the case: for requests that ask for a stream, and for the others."""

    streams: Mapping[str, Script]
    wholes: Mapping[str, Script]

    def script(self, case: str, *, stream: bool) -> Script | None:
        """The script of one case, if this protocol has it."""
        return (self.streams if stream else self.wholes).get(case)


def events(*lines: str, newline: str = "\n") -> tuple[bytes, ...]:
    """Each line an event without a name."""
    return tuple(f"data: {line}{newline}{newline}".encode() for line in lines)


def named_events(*lines: str) -> tuple[bytes, ...]:
    """Each line an event that is named by its member `type`."""
    return tuple(f"event: {as_str(loads_object(line).get('type'))}\ndata: {line}\n\n".encode() for line in lines)


def stream(*pieces: bytes) -> Script:
    """A stream that ends as it should."""
    return Script(pieces)


def cut(*pieces: bytes) -> Script:
    """A stream whose connection breaks off."""
    return Script(pieces, ending="cut")


def bytewise(pieces: Iterable[bytes]) -> Script:
    """A stream whose pieces end inside characters wherever there are characters of more than one byte."""
    cuts: list[bytes] = []
    for piece in pieces:
        begin = 0
        for place in range(1, len(piece)):
            if piece[place] & 0xC0 == 0x80:
                cuts.append(piece[begin:place])
                begin = place
        cuts.append(piece[begin:])
    return Script(tuple(cuts), slow=True)


def whole(text: str) -> Script:
    """A JSON answer."""
    return Script((text.encode(),), headers=JSON)


def refusals(envelopes: Mapping[str, tuple[int, str]]) -> dict[str, Script]:
    """Error answers by case; the one of 429 says when to come back."""
    found = {case: replace(whole(text), status=status) for case, (status, text) in envelopes.items()}
    limited = found["status-429"]
    return {**found, "status-429": replace(limited, headers=(*limited.headers, ("retry-after", "7")))}
