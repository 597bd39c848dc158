"""Hypothesis strategies for values of the intermediate representation, and legal orders in which to tell an answer."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, dumps_text

T = TypeVar("T")

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
WORD = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABC0123456789_"), min_size=1, max_size=12)
COUNT = st.integers(0, 10**9)
PROTOCOL: st.SearchStrategy[ir.Protocol] = st.sampled_from(
    ["openai_chat", "openai_responses", "anthropic_messages", "gemini_generate", "bedrock_converse"]
)
JSON: st.SearchStrategy[JSONValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e6, 1e6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT: st.SearchStrategy[JSONObject] = st.dictionaries(TEXT, JSON, max_size=3)
ARGUMENTS = OBJECT.map(dumps_text)


def maybe(inner: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | inner


def build(kind: type[T], /, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[T]:
    """Like `builds`, which would stumble over the recursive type of JSON."""
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


OPAQUE = build(
    ir.Opaque,
    protocol=PROTOCOL,
    kind=st.sampled_from(["signature", "redacted", "encrypted", "thought_signature"]),
    payload=WORD,
    id=maybe(WORD),
)
MEDIA = build(
    ir.MediaPart,
    kind=st.sampled_from(["image", "audio", "video", "document"]),
    source=st.just(ir.Base64Source("aGk=")) | st.just(ir.UrlSource("https://example.com/a.png")),
    media_type=maybe(st.just("image/png")),
    signature=maybe(OPAQUE),
)
TEXT_PART = build(ir.TextPart, text=TEXT, signature=maybe(OPAQUE), phase=maybe(WORD))
REASONING = build(ir.ReasoningPart, text=TEXT, opaque=maybe(OPAQUE))
TOOL_CALL = build(
    ir.ToolCallPart,
    id=WORD | st.just(""),
    name=WORD,
    arguments=ARGUMENTS | TEXT,
    kind=st.sampled_from(["function", "custom"]),
    signature=maybe(OPAQUE),
)
CITATION = build(ir.CitationPart, url=maybe(TEXT), title=maybe(TEXT), start=maybe(COUNT), raw=maybe(OBJECT))
UNKNOWN = build(ir.UnknownPart, protocol=PROTOCOL, raw=OBJECT, kind=TEXT)
OUTPUT_PART: st.SearchStrategy[ir.OutputPart] = st.one_of(
    TEXT_PART, MEDIA, REASONING, TOOL_CALL, TEXT.map(ir.RefusalPart), CITATION, UNKNOWN
)
FINISH = build(
    ir.FinishReason,
    kind=st.sampled_from(["stop", "length", "tool_calls", "content_filter", "error", "other"]),
    raw=maybe(WORD),
    stop_sequence=maybe(TEXT),
    detail=maybe(TEXT),
)
USAGE = build(
    ir.Usage, **{name: maybe(COUNT) for name in ir.Usage.__struct_fields__ if name != "raw"}, raw=maybe(OBJECT)
)
LOGPROB = build(ir.TokenLogprob, token=TEXT, logprob=st.floats(-50, 0), bytes=maybe(st.just((97, 98))))
DIAGNOSTIC = build(ir.Diagnostic, path=WORD, code=st.sampled_from(["dropped", "approximated"]))


@st.composite
def choices(draw: st.DrawFn, index: int) -> ir.Choice:
    """Log probabilities only where there is text: no event could tell them otherwise."""
    parts = tuple(draw(st.lists(OUTPUT_PART, max_size=4)))
    textual = any(isinstance(part, (ir.TextPart, ir.RefusalPart)) for part in parts)
    logprobs = draw(maybe(st.lists(LOGPROB, max_size=3).map(tuple))) if textual else None
    return ir.Choice(parts=parts, finish=draw(FINISH), index=index, logprobs=logprobs)


@st.composite
def responses(draw: st.DrawFn, *, most_choices: int = 5) -> ir.ChatResponse:
    """Any answer the representation can hold, with so many choices at most."""
    indices = sorted(draw(st.sets(st.integers(0, most_choices - 1), max_size=3)))
    return ir.ChatResponse(
        choices=tuple(draw(choices(index)) for index in indices),
        id=draw(WORD | st.just("")),
        model=draw(WORD | st.just("")),
        created=draw(maybe(COUNT)),
        usage=draw(maybe(USAGE)),
        service_tier=draw(maybe(WORD)),
        system_fingerprint=draw(maybe(WORD)),
        legacy_functions=draw(st.booleans()),
        diagnostics=tuple(draw(st.lists(DIAGNOSTIC, max_size=2))),
    )


@st.composite
def plain_responses(draw: st.DrawFn) -> ir.ChatResponse:
    """What every protocol can say: one choice of text, then calls, a finish that fits them, and the usage."""
    text = draw(st.lists(TEXT.filter(bool).map(ir.TextPart), max_size=1))
    numbers = range(draw(st.integers(0, 3)))
    calls = [ir.ToolCallPart(id=f"call_{number}", name=draw(WORD), arguments=draw(ARGUMENTS)) for number in numbers]
    kind: ir.FinishKind = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    usage = ir.Usage(input_tokens=draw(COUNT), output_tokens=draw(COUNT))
    return ir.ChatResponse(
        choices=(ir.Choice(parts=(*text, *calls), finish=ir.FinishReason(kind)),),
        id="msg_1",
        model=draw(WORD),
        created=1_700_000_000,
        usage=usage,
    )


@st.composite
def plain_requests(draw: st.DrawFn) -> ir.ChatRequest:
    """What every protocol can ask: a system prompt, turns that alternate, tools and their results."""
    messages = [ir.Message("user", (ir.TextPart(draw(TEXT.filter(str.strip))),))]
    for number in range(draw(st.integers(0, 2))):
        call = ir.ToolCallPart(id=f"call_{number}", name="look_up", arguments=draw(ARGUMENTS))
        result = ir.ToolResultPart(call.id, (ir.TextPart(draw(WORD)),), name="look_up")
        messages += [ir.Message("assistant", (call,)), ir.Message("tool", (result,))]
    system = [ir.Message("system", (ir.TextPart(text),)) for text in draw(st.lists(WORD, max_size=1))]
    return ir.ChatRequest(
        model=draw(WORD),
        messages=(*system, *messages),
        stream=draw(st.booleans()),
        max_output_tokens=draw(st.integers(16, 4096)),  # Responses takes no less
        sampling=ir.Sampling(temperature=draw(maybe(st.floats(0, 1)))),
        tools=(ir.Tool("look_up", "Looks it up.", {"type": "object", "properties": {"a": {"type": "string"}}}),),
        tool_choice=draw(maybe(st.just(ir.ToolChoice("auto")))),
    )


@st.composite
def tellings(draw: st.DrawFn, response: ir.ChatResponse) -> list[ir.StreamEvent]:
    """One legal way to tell this answer: parts start in order within their choice, and interleave as they like."""
    start, *_, end = ir.explode(response)
    waiting = {choice.index: [_pieces(draw, choice, part) for part in choice.parts] for choice in response.choices}
    running: dict[int, list[ir.StreamEvent]] = {}
    owner: dict[int, int] = {}
    events: list[ir.StreamEvent] = [start]
    while waiting:
        if response.usage is not None and draw(st.integers(0, 7)) == 0:
            events.append(ir.UsageUpdate(draw(USAGE)))
        free = [index for index, parts in waiting.items() if parts or index not in owner.values()]
        kind, index = draw(st.sampled_from([("part", index) for index in running] + [("choice", i) for i in free]))
        if kind == "part":
            events.append(running[index].pop(0))
            if not running[index]:
                del running[index], owner[index]
        elif waiting[index]:
            number = sum(isinstance(event, ir.PartStart) for event in events)
            first, *running[number] = [_renumbered(event, number) for event in waiting[index].pop(0)]
            events.append(first)
            owner[number] = index
        else:
            finish = next(choice.finish for choice in response.choices if choice.index == index)
            events.append(ir.ChoiceEnd(finish, choice=index))
            del waiting[index]
    if response.usage is not None:
        events.append(ir.UsageUpdate(response.usage))
    return [*events, end]


def _pieces(draw: st.DrawFn, choice: ir.Choice, part: ir.OutputPart) -> list[ir.StreamEvent]:
    """The events of one part, its text cut in two somewhere; the first text brings the log probabilities."""
    first = next((other for other in choice.parts if isinstance(other, (ir.TextPart, ir.RefusalPart))), None)
    logprobs = choice.logprobs if part is first else None
    pieces: list[ir.StreamEvent] = []
    for event in ir.explode_part(0, part, choice=choice.index, logprobs=logprobs):
        match event:
            case ir.TextDelta(text=text):
                at = draw(st.integers(0, len(text)))
                pieces += [ir.TextDelta(0, text[:at], event.logprobs), ir.TextDelta(0, text[at:])]
            case ir.ReasoningDelta(text=text):
                at = draw(st.integers(0, len(text)))
                pieces += [ir.ReasoningDelta(0, text[:at]), ir.ReasoningDelta(0, text[at:])]
            case ir.ToolInputDelta(fragment=text):
                at = draw(st.integers(0, len(text)))
                pieces += [ir.ToolInputDelta(0, text[:at]), ir.ToolInputDelta(0, text[at:])]
            case _:
                pieces.append(event)
    return pieces


def _renumbered(event: ir.StreamEvent, index: int) -> ir.StreamEvent:
    if isinstance(event, (ir.PartStart, ir.TextDelta, ir.ReasoningDelta, ir.ToolInputDelta, ir.PartEnd)):
        return msgspec.structs.replace(event, index=index)
    return event
