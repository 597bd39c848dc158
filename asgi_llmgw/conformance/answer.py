"""What a client made of the bytes it got, the same for all protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from asgi_llmgw.conformance.cases import Usage
from asgi_llmgw.json import JSONError, JSONObject, loads_object

Event: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class ReadCall:
    """A tool call as the client put it together."""

    name: str
    arguments: str = ""
    id: str = ""


@dataclass(slots=True)
class Answer:
    """An answer, read as naively as clients read.

    Args:
        order: the kinds of the parts as they came: `text`, `reasoning`, `call`.
        terminated: the end that the protocol gives to a complete answer was there.
        error: the vendor's or the gateway's words, if it failed.
        aborted: the connection broke off.
        problems: what the protocol does not allow.
    """

    status: int = 200
    retry_after: str | None = None
    text: str = ""
    reasoning: str = ""
    calls: list[ReadCall] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: Usage | None = None
    terminated: bool = False
    error: str | None = None
    aborted: bool = False
    raw: bytes = field(default=b"", repr=False)
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Note something that the protocol does not allow."""
        if text not in self.problems:
            self.problems.append(text)

    def came(self, kind: str) -> None:
        """Note the kind of what came, if it is another than before."""
        if kind == "call" or self.order[-1:] != [kind]:
            self.order.append(kind)

    def add_text(self, text: str) -> None:
        """Text that the user reads."""
        if text:
            self.text += text
            self.came("text")

    def add_reasoning(self, text: str) -> None:
        """What the model thought."""
        if text:
            self.reasoning += text
            self.came("reasoning")

    def open_call(self, name: str, arguments: str = "", id: str = "") -> ReadCall:
        """A call begins."""
        call = ReadCall(name, arguments, id)
        if not name:
            self.problem("a tool call without a name")
        if call.id and any(other.id == call.id for other in self.calls):
            self.problem(f"two tool calls with the id {call.id}")
        self.calls.append(call)
        self.came("call")
        return call

    def same_as(self, other: Answer) -> bool:
        """Whether a client would see no difference."""
        mine = (self.text, self.reasoning, [(c.name, c.arguments) for c in self.calls], self.finish, self.terminated)
        theirs = (
            other.text,
            other.reasoning,
            [(c.name, c.arguments) for c in other.calls],
            other.finish,
            other.terminated,
        )
        return mine == theirs and self.error == other.error


def sse_events(body: bytes, answer: Answer) -> Iterator[Event]:
    """The events of a body as (name, data); what is no event is noted."""
    text = body.decode("utf-8", "replace")
    if "\ufffd" in text:
        answer.problem("text that is not UTF-8, or a replacement character")
    blocks = text.replace("\r\n", "\n").split("\n\n")
    for block in blocks:
        name, data = "", []
        for line in block.split("\n"):
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif line.startswith("event:"):
                name = line[6:].strip()
            elif line and not line.startswith((":", "id:", "retry:")):
                answer.problem(f"a line that is no field: {line[:40]!r}")
        if data:
            yield name, "\n".join(data)


def json_event(data: str, answer: Answer) -> JSONObject:
    """The object in an event; an empty one, and a note, where there is none."""
    try:
        return loads_object(data)
    except JSONError:
        answer.problem(f"an event that is no JSON object: {data[:40]!r}")
        return {}
