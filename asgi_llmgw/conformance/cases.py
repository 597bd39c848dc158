"""The cases as data: what is asked, and what a client must be told. The bytes of the vendors are in `vendors/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from asgi_llmgw.json import JSONObject

Prompt: TypeAlias = Literal["plain", "tools", "thinking", "tool-error", "schema"]
Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
Call: TypeAlias = tuple[str, JSONObject]

FAILED_TOOL: Final = "the disk is full"
"""What the failed tool of `tool-error` said: nothing in it tells that it is a failure."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as a bill counts them: `input` includes what was read from a cache."""

    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Succeeds:
    """The client gets this answer, ended as its protocol ends one.

    Args:
        order: the kinds of the parts as they come, for clients whose protocol has an order.
        open_call: the name of a call whose arguments are incomplete: it may be missing, but must not look whole.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: Finish = "stop"
    reasoning: str | None = None
    order: tuple[str, ...] | None = None
    usage: Usage | None = None
    open_call: str | None = None


@dataclass(frozen=True, slots=True)
class Fails:
    """The client is told that the answer failed, in its own protocol, and gets no ordinary end.

    Args:
        text: what the answer had said until then.
        statuses: which HTTP status may tell it; None means any from 400 on.
        events: an error may also come as an event of a stream that began with 200.
        retry_after: the seconds the vendor asked for are passed on.
    """

    text: str = ""
    statuses: tuple[int, ...] | None = None
    events: bool = True
    retry_after: int | None = None


Expected: TypeAlias = Succeeds | Fails


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to check.

    Args:
        ids: what it is called in lists of known faults.
        stream: the answer is asked for as a stream.
        script: the vendor's script; None means the one of the same name.
        odd: the vendor's answer is odd but complete: a gateway that passes it on as it came, to a client of the same
            protocol, is right too.
    """

    name: str
    ids: str
    about: str
    expected: Expected
    stream: bool = True
    prompt: Prompt = "plain"
    script: str | None = None
    odd: bool = False

    @property
    def label(self) -> str:
        """The name, told apart from the streamed case of the same name."""
        return self.name if self.stream else f"{self.name} (whole)"


_WEATHER: Final[Call] = ("weather", {"city": "Paris"})
_CLOCK: Final[Call] = ("clock", {"zone": "CET"})
_HELLO: Final = Succeeds("Hello, world.")
_USED: Final = Succeeds("Hello, world.", usage=Usage(20, 5, 8))
_BOTH: Final = Succeeds(calls=(_WEATHER, _CLOCK), finish="tool_calls")
_LOOK: Final = Succeeds("Let me look.", (_WEATHER, _CLOCK), "tool_calls")
_THOUGHT: Final = Succeeds("Two.", reasoning="Let me think.", order=("reasoning", "text"))
_OWN_TROUBLE: Final = (401, 403, 500, 502, 503)

_STREAMS: Final = (
    Case("text", "", "an ordinary answer", _HELLO),
    Case("usage", "U1 U4 U5", "tokens, those of the cache included, told once and not added up", _USED, script="text"),
    Case("usage-late", "U6", "the tokens of the prompt are told at the end alone", _USED),
    Case("parallel-tools", "P0 S4 S5", "text, then two calls, one after the other", _LOOK, prompt="tools"),
    Case("interleaved-tools", "P1", "the arguments of two calls in turns", _BOTH, prompt="tools"),
    Case("reused-index", "P2 S3", "a second call at the index of the first", _BOTH, prompt="tools", odd=True),
    Case("tools-finish-stop", "P3 T1 T2", "calls, but the finish says stop", _BOTH, prompt="tools", odd=True),
    Case("two-calls-in-one-chunk", "S2 S14", "two calls begin in one chunk", _BOTH, prompt="tools"),
    Case("finish-on-every-chunk", "T3", "each call comes with a finish", _BOTH, prompt="tools", odd=True),
    Case("arguments-at-once", "S12", "arguments without deltas, at the end of each call", _BOTH, prompt="tools"),
    Case(
        "empty-deltas",
        "S8",
        "empty text between the fragments of a call",
        Succeeds(calls=(_WEATHER,), finish="tool_calls"),
        prompt="tools",
    ),
    Case("ends-early", "P4", "the body ends without a finish", Fails("Hello, wor")),
    Case("cut", "T9", "the connection breaks off", Fails("Hello, wor")),
    Case("cut-in-tool", "T9", "the connection breaks off inside a call's arguments", Fails(), prompt="tools"),
    Case("done-without-finish", "T8", "[DONE], but no finish before it", _HELLO, odd=True),
    Case("finish-without-done", "F148", "a finish, but no [DONE] after it", _HELLO, odd=True),
    Case("empty-finish", "T4", "a finish of no letters before the real one", _HELLO, odd=True),
    Case("after-the-end", "T10", "more text after [DONE]", _HELLO, odd=True),
    Case("length", "T6", "the limit is reached", Succeeds("Hello", finish="length")),
    Case(
        "length-in-tool",
        "P5 S10",
        "the limit is reached inside a call's arguments",
        Succeeds(finish="length", open_call="weather"),
        prompt="tools",
    ),
    Case("filtered", "T7", "the vendor refuses on", Succeeds("Hello", finish="content_filter")),
    Case(
        "text-reasoning-text",
        "P6 T13 T14",
        "text, reasoning, text",
        Succeeds("One.Two.", reasoning="Let me think.", order=("text", "reasoning", "text")),
        prompt="thinking",
    ),
    Case("error-first", "F16 F146", "a 200 whose first event is an error", Fails()),
    Case("error-mid", "F147", "an error after some text", Fails("Hello")),
    Case(
        "split-characters",
        "F1",
        "packets that end inside characters",
        Succeeds("Grüße, 世界 🌍", (("weather", {"city": "東京 🗼"}),), "tool_calls"),
        prompt="tools",
    ),
    Case("noise", "F143", "pings, comments, unknown events", _HELLO),
    Case("empty", "F149", "a stream without an event", Fails()),
    Case(
        "tool-error", "P7", "the result of a failed tool reaches the vendor as one", _HELLO, False, "tool-error", "text"
    ),
    Case("schema", "P9 J1 J2 J3 J4", "a tool's schema reaches the vendor", _HELLO, False, "schema", "text"),
)
_WHOLES: Final = (
    Case("text", "", "an ordinary answer", _HELLO, stream=False),
    Case("usage", "U11", "tokens, those of the cache included", _USED, stream=False, script="text"),
    Case("parallel-tools", "P0", "text and two calls", _LOOK, stream=False, prompt="tools"),
    Case("tools-finish-stop", "P3 T1", "calls, but the finish says stop", _BOTH, False, "tools", odd=True),
    Case("length", "T6", "the limit is reached", Succeeds("Hello", finish="length"), stream=False),
    Case("filtered", "T7", "the vendor refuses on", Succeeds("Hello", finish="content_filter"), stream=False),
    Case("reasoning", "P6", "reasoning and text", _THOUGHT, stream=False, prompt="thinking"),
    Case("empty", "F149", "a 200 without a body", Fails(events=False), stream=False),
)
_REFUSALS: Final = (
    ("status-400", "F17", "the vendor refuses the request", Fails(statuses=(400,), events=False)),
    ("status-401", "F18", "the vendor refuses the gateway's key", Fails(statuses=_OWN_TROUBLE, events=False)),
    ("status-404", "F18", "the vendor has no such model", Fails(statuses=(400, 404, 502, 503), events=False)),
    ("status-429", "F18", "the vendor asks to slow down", Fails(statuses=(429,), events=False, retry_after=7)),
    ("status-503", "F18", "the vendor is overloaded", Fails(statuses=(503, 529), events=False)),
)

CASES: Final = (
    *_STREAMS,
    *_WHOLES,
    *(
        Case(name, f"{ids} F13" if stream else ids, about, expected, stream)
        for name, ids, about, expected in _REFUSALS
        for stream in (True, False)
    ),
)
"""All of them, in the order of the table."""
