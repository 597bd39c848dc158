"""Frames as careless servers write them, to hold the short way of a decoder against the long one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols.base import StreamDecoder
from asgi_llmgw.sse import ServerSentEvent

ODD: Sequence[bytes] = (b"null", b"true", b"0", b"1.0", b"-1", b"9" * 30, b'""', b"[]", b"{}", b"[null]", b"[[", b"")
"""Values a member may have that should have another type, or none."""

STRINGS: Sequence[bytes] = (
    b'"a\\"b\\\\c\\n\\u0000"',
    b'"\\ud83d\\ude00"',
    b'"\\ud83d"',
    b'"\xf0\x9f\x98\x80\xe2\x80\xa8"',
    b'"\xff"',
    b'"\n"',
    b'"cut',
    b'"%b"' % (b"long " * 2_000),
)
"""Strings that are hard to read, or cannot be read at all."""


def strings() -> st.SearchStrategy[bytes]:
    """A string, mostly a good one."""
    good = st.text(min_size=1).map(dumps)
    return st.one_of(good, good, good, st.text().map(dumps), st.sampled_from(STRINGS))


@st.composite
def objects(draw: st.DrawFn, usual: Mapping[str, st.SearchStrategy[bytes]]) -> bytes:
    """An object of these members: nearly always just them, in any order; sometimes one is odd, twice or missing."""
    members = [(name, draw(value)) for name, value in usual.items()]
    name = st.sampled_from([*usual, "unknown", "type"])
    match draw(st.sampled_from(("plain",) * 4 + ("shuffled", "odd", "twice", "missing"))):
        case "shuffled":
            members = draw(st.permutations(members))
        case "odd":
            place = draw(st.integers(0, len(members) - 1))
            members[place] = (draw(name), draw(st.sampled_from(ODD)))
        case "twice":
            place = draw(st.integers(0, len(members)))
            members.insert(place, (draw(name), draw(st.one_of(strings(), st.sampled_from(ODD)))))
        case "missing":
            members.pop(draw(st.integers(0, len(members) - 1)))
        case _:
            pass
    gap = draw(st.sampled_from((b"", b" ", b"\n")))
    return b"{%b}" % b",".join(b'"%b":%b%b' % (key.encode(), gap, value) for key, value in members)


def long_way(frame: ServerSentEvent) -> ServerSentEvent:
    """The same frame with a member nobody knows, so that no short way is taken."""
    head, brace, rest = frame.data.partition(b"{")
    if head.strip() or not brace:
        return frame
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return msgspec.structs.replace(frame, data=head + b'{"nobody_knows_me":0' + comma + rest)


def told(decoder: StreamDecoder, frames: Sequence[ServerSentEvent]) -> list[object]:
    """What a decoder makes of each frame and of the end; two equal exceptions are not equal, so they are spelt out."""
    heard = [list(decoder.feed(frame)) for frame in frames] + [list(decoder.close())]
    return [[_spelt(event) for event in events] for events in heard]


def _spelt(event: ir.StreamEvent) -> object:
    if isinstance(event, ir.StreamFault):
        return event.error.message.partition(" (byte ")[0], event.error.kind, event.error.failure
    return event
