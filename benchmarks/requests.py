"""What one request costs each codec, in CPU time: to be looked at, to get another model's name, to be translated.

    python -m benchmarks.requests

Prints µs per request of 1 kB and of 200 kB for every pair of protocols, and per whole answer of 1 kB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import PROTOCOLS, codec
from asgi_llmgw.translate import read_request, translate_request, translate_response, write_request
from benchmarks.messages import Size, answers, request

SECONDS: Final = 0.05
ROUNDS: Final = 5
_PATH: Final[dict[Protocol, str]] = {"gemini_generate": "/v1beta/models/model:generateContent"}


def cost(work: Callable[[], object]) -> float:
    """µs of CPU, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        runs, started = 0, time.process_time()
        while (spent := time.process_time() - started) < SECONDS:
            work()
            runs += 1
        best = min(best, spent / runs)
    return best * 1e6


def body_in(protocol: Protocol, size: Size) -> bytes:
    """The same conversation in each protocol."""
    read = read_request(request("chat-chat", model="model", size=size), source="openai_chat")
    return write_request(read, target=protocol).body


def main() -> int:
    """Measure and print."""
    sizes: tuple[Size, ...] = ("1 kB", "200 kB")
    print("µs of CPU for a request of " + " and ".join(sizes))
    for source in PROTOCOLS:
        spoken, path = codec(source), _PATH.get(source, "/")
        bodies = [body_in(source, size) for size in sizes]
        looks = [cost(partial(spoken.peek, path, body)) for body in bodies]
        names = [cost(partial(spoken.with_model, path, body, "another")) for body in bodies]
        print(f"{source:20} {'looked at':20}" + "".join(f"{figure:10.1f}" for figure in looks))
        print(f"{source:20} {'another model':20}" + "".join(f"{figure:10.1f}" for figure in names))
        for target in PROTOCOLS:
            if target != source:
                figures = [
                    cost(partial(translate_request, body, source=source, target=target, path=path)) for body in bodies
                ]
                print(f"{source:20} {target:20}" + "".join(f"{figure:10.1f}" for figure in figures))
    print("µs of CPU for a whole answer of 1 kB")
    for source in PROTOCOLS:
        body = answers(source).whole
        for target in PROTOCOLS:
            figure = cost(partial(translate_response, body, source=source, target=target))
            print(f"{source:20} {target:20}{figure:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
