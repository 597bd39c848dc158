"""Between a stream and a whole answer: fold one into the other, unfold it again, and check the grammar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir.events import (
    ChoiceEnd,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    StreamFault,
    TextDelta,
    ToolInputDelta,
    UsageUpdate,
)
from asgi_llmgw.ir.parts import (
    CitationPart,
    MediaPart,
    Opaque,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
)
from asgi_llmgw.ir.response import ChatResponse, Choice, FinishReason, TokenLogprob, Usage

_TEXTUAL: Final = (TextPart, RefusalPart)


class StreamGrammarError(AssertionError):
    """A decoder produced events in an order that means nothing: a bug of ours, never the vendor's."""


class Accumulator:
    """Folds events into an answer, one at a time, in memory proportional to the answer."""

    __slots__ = ("_choices", "_deltas", "_end", "_finish", "_logprobs", "_open", "_start", "_usage")

    def __init__(self) -> None:
        self._start = ResponseStart()
        self._end = ResponseEnd()
        self._open: dict[int, tuple[int, OutputPart]] = {}
        self._deltas: dict[int, list[str]] = {}
        self._choices: dict[int, dict[int, OutputPart]] = {}
        self._finish: dict[int, FinishReason] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}
        self._usage: Usage | None = None

    def feed(self, event: StreamEvent) -> None:
        """Take one event.

        Raises:
            UpstreamError: the event is a `StreamFault`; this is its error.
        """
        match event:
            case TextDelta():
                self._deltas[event.index].append(event.text)
                if event.logprobs is not None:
                    choice, _ = self._open[event.index]
                    self._logprobs.setdefault(choice, []).extend(event.logprobs)
            case ReasoningDelta():
                self._deltas[event.index].append(event.text)
            case ToolInputDelta():
                self._deltas[event.index].append(event.fragment)
            case PartStart():
                self._open[event.index] = (event.choice, event.part)
                self._deltas[event.index] = []
                self._choices.setdefault(event.choice, {})[event.index] = event.part
            case PartEnd():
                choice, part = self._open.pop(event.index)
                self._choices[choice][event.index] = _close(part, "".join(self._deltas.pop(event.index)), event.opaque)
            case ChoiceEnd():
                self._choices.setdefault(event.choice, {})
                self._finish[event.choice] = event.finish
            case UsageUpdate():
                self._usage = event.usage
            case ResponseStart():
                self._start = event
            case ResponseEnd():
                self._end = event
            case StreamFault():
                raise event.error
            case _:
                assert_never(event)

    def result(self) -> ChatResponse:
        """The answer so far; a choice that has not ended is `other`."""
        choices = tuple(
            Choice(
                parts=tuple(part for _, part in sorted(parts.items())),
                finish=self._finish.get(index, FinishReason("other")),
                index=index,
                logprobs=tuple(self._logprobs[index]) if index in self._logprobs else None,
            )
            for index, parts in sorted(self._choices.items())
        )
        return ChatResponse(
            choices=choices,
            id=self._start.id,
            model=self._start.model,
            created=self._start.created,
            usage=self._usage,
            service_tier=self._start.service_tier,
            system_fingerprint=self._start.system_fingerprint,
            legacy_functions=self._start.legacy_functions,
            diagnostics=self._end.diagnostics,
        )


def accumulate(events: Iterable[StreamEvent]) -> ChatResponse:
    """Fold a whole stream into the answer it told.

    Raises:
        UpstreamError: the stream ended in a `StreamFault`.
    """
    accumulator = Accumulator()
    for event in events:
        accumulator.feed(event)
    return accumulator.result()


def explode(response: ChatResponse) -> Iterator[StreamEvent]:
    """Tell an answer as a stream: the inverse of `accumulate`."""
    yield ResponseStart(
        id=response.id,
        model=response.model,
        created=response.created,
        service_tier=response.service_tier,
        system_fingerprint=response.system_fingerprint,
        legacy_functions=response.legacy_functions,
    )
    index = 0
    for choice in response.choices:
        logprobs = choice.logprobs
        for part in choice.parts:
            told = logprobs if isinstance(part, _TEXTUAL) else None
            yield from explode_part(index, part, choice=choice.index, logprobs=told)
            if told is not None:
                logprobs = None
            index += 1
        yield ChoiceEnd(choice.finish, choice=choice.index)
    if response.usage is not None:
        yield UsageUpdate(response.usage)
    yield ResponseEnd(diagnostics=response.diagnostics)


def explode_part(
    index: int, part: OutputPart, *, choice: int = 0, logprobs: tuple[TokenLogprob, ...] | None = None
) -> Iterator[StreamEvent]:
    """One whole part as start, at most one delta, and end."""
    match part:
        case TextPart() | RefusalPart():
            yield PartStart(index, msgspec.structs.replace(part, text=""), choice)
            if part.text or logprobs is not None:
                yield TextDelta(index, part.text, logprobs)
        case ReasoningPart():
            yield PartStart(index, msgspec.structs.replace(part, text=""), choice)
            if part.text:
                yield ReasoningDelta(index, part.text)
        case ToolCallPart():
            yield PartStart(index, msgspec.structs.replace(part, arguments=""), choice)
            if part.arguments:
                yield ToolInputDelta(index, part.arguments)
        case MediaPart() | CitationPart() | UnknownPart():
            yield PartStart(index, part, choice)
        case _:
            assert_never(part)
    yield PartEnd(index)


def check_stream(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    """Pass events through and make sure that they follow the grammar of `ir.events`.

    Raises:
        StreamGrammarError: they do not.
    """
    grammar = _Grammar()
    for event in events:
        grammar.check(event)
        yield event
    if not grammar.ended:
        raise StreamGrammarError("the stream has no end")


class _Grammar:
    def __init__(self) -> None:
        self.started = self.ended = False
        self.parts: dict[int, PartStart] = {}
        self.next_index = 0
        self.finished: set[int] = set()
        self.choices: set[int] = set()

    def check(self, event: StreamEvent) -> None:
        _require(not self.ended, f"{event!r} after the end")
        match event:
            case ResponseStart():
                _require(not self.started, "two starts")
                self.started = True
            case StreamFault():
                self.ended = True
            case _:
                _require(self.started, f"{event!r} before the start")
                self._check_inside(event)

    def _check_inside(self, event: StreamEvent) -> None:
        match event:
            case PartStart():
                _require(event.index == self.next_index, f"index {event.index} is not the next one")
                _require(event.choice not in self.finished, "a part after its choice ended")
                self.choices.add(event.choice)
                self.parts[event.index] = event
                self.next_index += 1
            case TextDelta() | ReasoningDelta() | ToolInputDelta():
                part = self.parts.get(event.index)
                _require(part is not None, f"a delta for part {event.index}, which is not open")
                _require(part is not None and _fits(event, part.part), f"{event!r} does not fit {part!r}")
            case PartEnd():
                _require(self.parts.pop(event.index, None) is not None, f"part {event.index} is not open")
            case ChoiceEnd():
                _require(event.choice not in self.finished, "a choice ended twice")
                _require(all(p.choice != event.choice for p in self.parts.values()), "a choice ended with an open part")
                self.finished.add(event.choice)
            case ResponseEnd():
                _require(not self.parts, "the end came with open parts")
                _require(self.choices <= self.finished, "the end came before every choice ended")
                self.ended = True
            case _:
                pass


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise StreamGrammarError(message)


def _fits(event: TextDelta | ReasoningDelta | ToolInputDelta, part: OutputPart) -> bool:
    match event:
        case TextDelta():
            return isinstance(part, _TEXTUAL)
        case ReasoningDelta():
            return isinstance(part, ReasoningPart)
        case ToolInputDelta():
            return isinstance(part, ToolCallPart)


def _close(part: OutputPart, text: str, opaque: Opaque | None) -> OutputPart:
    """The finished part, from what its start knew, its deltas said and its end brought."""
    match part:
        case ReasoningPart():
            return ReasoningPart(part.text + text, opaque or part.opaque)
        case ToolCallPart():
            return msgspec.structs.replace(part, arguments=part.arguments + text, signature=opaque or part.signature)
        case TextPart():
            return msgspec.structs.replace(part, text=part.text + text, signature=opaque or part.signature)
        case RefusalPart():
            return RefusalPart(part.text + text)
        case MediaPart():
            return msgspec.structs.replace(part, signature=opaque or part.signature)
        case CitationPart() | UnknownPart():
            return part
        case _:
            assert_never(part)


def cut(reason: str = "the upstream ended its stream early") -> StreamFault:
    """The fault of a stream whose bytes ended before it did."""
    return StreamFault(InvalidUpstreamResponse(reason))
