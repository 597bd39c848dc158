"""What translating one stream event costs, in CPU time, for every pair of protocols.

    python -m benchmarks.translation [text | thought | arguments]

Prints µs per event from bytes to bytes, for events that come all at once and one by one, and beside them the floor:
decoding the event's JSON and encoding it again, with the same JSON library and nothing else. Each figure is the best of
several rounds, taken in turn with its floor. The start and the end of the stream are in it, and all that the gateway
does to a stream: reasoning state is looked for, to be sealed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from asgi_llmgw.ir import (
    ChoiceEnd,
    FinishReason,
    PartEnd,
    PartStart,
    Protocol,
    ReasoningDelta,
    ReasoningPart,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import dumps, loads
from asgi_llmgw.protocols import PROTOCOLS, StreamContext, codec
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.translate import StreamTranslator

EVENTS: Final = 200
ROUNDS: Final = 9
FEWEST: Final = 10
KEY: Final = bytes(32)
WORDS: Final = [f"word{number} " for number in range(EVENTS)]


def telling(kind: str) -> list[StreamEvent]:
    """An answer of many short words."""
    part: TextPart | ReasoningPart | ToolCallPart
    deltas: list[StreamEvent]
    match kind:
        case "text":
            part, deltas = TextPart(""), [TextDelta(0, word) for word in WORDS]
        case "thought":
            part, deltas = ReasoningPart(), [ReasoningDelta(0, word) for word in WORDS]
        case _:
            part = ToolCallPart("call_1", "search", "")
            deltas = [ToolInputDelta(0, fragment) for fragment in ('{"query":"', *WORDS, '"}')]
    return [
        ResponseStart(id="r", model="m"),
        PartStart(0, part),
        *deltas,
        PartEnd(0),
        ChoiceEnd(FinishReason("tool_calls" if isinstance(part, ToolCallPart) else "stop")),
        UsageUpdate(Usage(100, EVENTS)),
        ResponseEnd(),
    ]


def wire(protocol: Protocol, kind: str = "text") -> list[bytes]:
    """The frames of that answer in one protocol."""
    spoken = codec(protocol)
    encoder = spoken.stream_encoder(StreamContext(model="m", include_usage=True, clock=lambda: 0.0))
    frames = [frame for event in telling(kind) for frame in encoder.feed(event)] + list(encoder.close())
    return [frame.encode(spoken.frame_newline) for frame in frames]


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU one run takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def translate(source: Protocol, target: Protocol, chunks: list[bytes]) -> None:
    """One whole stream."""
    translator = StreamTranslator(source=source, target=target, include_usage=True, carriers_key=KEY)
    for chunk in chunks:
        translator.feed(chunk)
    translator.close()


def floor(frames: list[bytes]) -> None:
    """The JSON work alone."""
    for frame in frames:
        dumps(loads(frame))


def main(kind: str = "text") -> int:
    """Measure and print the table."""
    print(f"µs of CPU per event, {EVENTS} events of {kind}, best of {ROUNDS}; CPython {sys.version.split()[0]}")
    print(f"{'upstream':20} {'client':20} {'at once':>8} {'one by one':>11} {'floor':>7} {'at once ÷ floor':>16}")
    for source in PROTOCOLS:
        chunks = wire(source, kind)
        if len(chunks) < FEWEST:
            print(f"{source:20} tells this whole")
            continue
        payloads = [frame.data for frame in SSEDecoder().feed(b"".join(chunks)) if frame.data != b"[DONE]"]
        for target in PROTOCOLS:
            whole, single, least = (float("inf"),) * 3
            for _ in range(ROUNDS):
                whole = min(whole, cpu(partial(translate, source, target, [b"".join(chunks)])))
                single = min(single, cpu(partial(translate, source, target, chunks)))
                least = min(least, cpu(partial(floor, payloads)))
            figures = [seconds / len(chunks) * 1e6 for seconds in (whole, single, least)]
            print(
                f"{source:20} {target:20} {figures[0]:8.2f} {figures[1]:11.2f} {figures[2]:7.2f} {whole / least:16.1f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
