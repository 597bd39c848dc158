"""The load generator, a process of its own: it asks, reads no more of the answers than it must, and keeps the times.

It takes one order a line on its standard input and writes one result a line, both as JSON. A request is written whole
from bytes made beforehand; an answer is over when its length or its last chunk has come.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import Final, cast

import msgspec
import uvloop

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_DATA: Final = b"data: "
_OK: Final = b"HTTP/1.1 200"
_SAMPLE: Final = 10_000
_PATIENCE: Final = 30.0
"""Seconds for the answers that are under way when the time is over."""


class Order(msgspec.Struct):
    """What to do.

    Args:
        connections: so many requests at the same time, each on a connection of its own.
        requests: in all; `seconds` may end it before.
        paced: look at the time between the pieces of an answer.
        spread: seconds over which the connections begin.
    """

    port: int
    path: str
    body: bytes
    headers: dict[str, str]
    connections: int = 1
    requests: int = 1000
    seconds: float = 5.0
    paced: bool = False
    spread: float = 0.0


class Outcome(msgspec.Struct):
    """What came of it. `latency` and `gaps` are seconds, sorted, and a sample where there are a great many."""

    requests: int = 0
    failures: int = 0
    events: int = 0
    seconds: float = 0.0
    latency: list[float] = msgspec.field(default_factory=list)
    gaps: list[float] = msgspec.field(default_factory=list)
    said: str = ""


class Client(asyncio.Protocol):
    """One connection that asks again and again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._asked = 0.0
        self._last = 0.0
        self._head = b""
        self._left: int | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of a class of their own
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(self._asked > 0)

    def data_received(self, data: bytes) -> None:
        run = self._run
        if run.order.paced:
            now = time.perf_counter()
            if self._last and self._tail:
                run.gaps.append(now - self._last)
            self._last = now
        if self._left is None and not self._tail:
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            head, data = self._head[:end], self._head[end:]
            if not head.startswith(_OK):
                run.fail(self._head)
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else None
            self._tail = b"\r\n"
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._answered()
            return
        run.events += data.count(_DATA)
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :] if len(data) < len(_LAST_CHUNK) else data
        if self._tail.endswith(_LAST_CHUNK):
            self._answered()

    def _answered(self) -> None:
        self._run.answered(time.perf_counter() - self._asked)
        self._asked = 0.0
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._head, self._left, self._tail, self._last = b"", None, b"", 0.0
        if self._run.takes_one():
            self._asked = time.perf_counter()
            self._transport.write(self._run.request)
        else:
            self._transport.close()


class Run:
    """One order being carried out."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.request = _request(order)
        self.gaps: list[float] = []
        self.events = 0
        self._outcome = Outcome()
        self._left = order.requests
        self._ends = 0.0
        self._open = 0
        self._over = asyncio.Event()

    async def carry_out(self) -> Outcome:
        """Ask until there is nothing left to ask."""
        loop = asyncio.get_running_loop()
        order, started = self.order, time.perf_counter()
        self._ends = started + order.seconds
        self._open = order.connections
        for _ in range(order.connections):
            try:
                await loop.create_connection(lambda: Client(self), "127.0.0.1", order.port)
            except OSError as error:
                self.fail(str(error).encode())
                self.lost(False)
            if order.spread:
                await asyncio.sleep(order.spread / order.connections)
        try:
            async with asyncio.timeout(order.seconds + _PATIENCE):
                await self._over.wait()
        except TimeoutError:
            self.fail(f"{self._open} connections had no answer in time".encode())
        outcome = self._outcome
        outcome.seconds = time.perf_counter() - started
        outcome.events = self.events
        outcome.latency = _sample(outcome.latency)
        outcome.gaps = _sample(self.gaps)
        return outcome

    def takes_one(self) -> bool:
        """Whether one more request is wanted."""
        if self._left <= 0 or time.perf_counter() > self._ends:
            return False
        self._left -= 1
        return True

    def answered(self, seconds: float) -> None:
        """An answer is whole."""
        self._outcome.requests += 1
        self._outcome.latency.append(seconds)

    def fail(self, said: bytes) -> None:
        """Something else than an answer came."""
        self._outcome.failures += 1
        self._outcome.said = self._outcome.said or said[:2000].decode("latin-1")

    def lost(self, asked: bool) -> None:
        """A connection has ended."""
        if asked:
            self.fail(b"the connection was closed before the answer was whole")
        self._open -= 1
        if not self._open:
            self._over.set()


def _sample(times: list[float]) -> list[float]:
    return sorted(times)[:: max(1, len(times) // _SAMPLE)]


def _request(order: Order) -> bytes:
    headers = {
        "host": f"127.0.0.1:{order.port}",
        "content-type": "application/json",
        "accept": "*/*",
        "user-agent": "load/1",
        **order.headers,
        "content-length": str(len(order.body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {order.path} HTTP/1.1\r\n{lines}\r\n".encode() + order.body


def main() -> None:
    """Take orders until the input ends."""
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)

        async def carry_out(order: Order = order) -> Outcome:
            return await Run(order).carry_out()

        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(carry_out())) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
