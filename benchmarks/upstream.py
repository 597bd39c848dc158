"""A vendor that is faster than any gateway: it looks for a few marks in a request and writes bytes made beforehand.

    python -m benchmarks.upstream --port 9000

It speaks Chat Completions, Anthropic Messages and Gemini. A stream's events come in an HTTP chunk each: all in one
go, or for the model `paced` one every 0.1 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import deque
from collections.abc import Mapping
from typing import Final, cast

import uvloop

from benchmarks.messages import PACED, answers

PACE: Final = 0.1
"""Seconds between two events of a paced stream."""
_SLOTS: Final = 20
"""The streams take turns within that time, so that not all of them have their event at once."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_PACED: Final = PACED.encode()
_END: Final = b"0\r\n\r\n"


class Answer:
    """One protocol's answers, as bytes on the wire."""

    def __init__(self, whole: bytes, frames: tuple[bytes, ...]) -> None:
        self.whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
            len(whole),
            whole,
        )
        self.head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self.chunks = tuple(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)
        self.stream = self.head + b"".join(self.chunks) + _END


class Metronome:
    """Sends the events of all paced streams, each in its turn."""

    def __init__(self) -> None:
        self._streams: list[list[tuple[asyncio.Transport, deque[bytes]]]] = [[] for _ in range(_SLOTS)]
        self._next = 0

    def add(self, transport: asyncio.Transport, answer: Answer) -> None:
        """One more stream."""
        transport.write(answer.head)
        fewest = min(self._streams, key=len)
        fewest.append((transport, deque((*answer.chunks, _END))))

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += PACE / _SLOTS
            await asyncio.sleep(due - loop.time())
            self._next = (self._next + 1) % _SLOTS
            streams = self._streams[self._next]
            for transport, chunks in streams:
                transport.write(chunks.popleft())
            if any(not chunks or transport.is_closing() for transport, chunks in streams):
                self._streams[self._next] = [
                    (transport, chunks) for transport, chunks in streams if chunks and not transport.is_closing()
                ]


class Vendor(asyncio.Protocol):
    """One connection. The requests on it come one after the other."""

    def __init__(self, answers: Mapping[bytes, Answer], metronome: Metronome) -> None:
        self._answers = answers
        self._metronome = metronome
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of a class of their own
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        request = b"".join(self._pieces)
        end = request.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(request, 0, end)
        self._missing = end + (int(length[1]) if length else 0) - len(request)
        if self._missing <= 0:
            self._pieces.clear()
            self._missing = 0
            self._answer(request)
        else:
            self._pieces = [request]

    def _answer(self, request: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        path = request[: request.find(b" HTTP/")]
        found = next((answer for mark, answer in self._answers.items() if mark in path), None)
        if found is None:
            transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        elif b'"stream":true' not in request and b'"stream": true' not in request and b"streamGenerate" not in path:
            transport.write(found.whole)
        elif _PACED in request:
            self._metronome.add(transport, found)
        else:
            transport.write(found.stream)


async def serve(port: int) -> None:
    """Answer until the process ends."""
    known = {
        b"/chat/completions": answers("openai_chat"),
        b"/messages": answers("anthropic_messages"),
        b"enerateContent": answers("gemini_generate"),
    }
    ready = {mark: Answer(found.whole, found.frames) for mark, found in known.items()}
    metronome = Metronome()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Vendor(ready, metronome), "127.0.0.1", port, backlog=4096)
    ticking = loop.create_task(metronome.run())
    async with server:
        await ticking


def main() -> None:
    """Run as a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
