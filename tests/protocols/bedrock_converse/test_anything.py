"""Requests of anything, in any order: what is sent is taken, and what is not sent is refused by name."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.protocols import Profile
from asgi_llmgw.protocols.bedrock_converse import CODEC
from asgi_llmgw.providers import families
from tests.protocols.bedrock_converse.shapes import check_request, keep_the_rules
from tests.strategies import build

MARKS = st.none() | st.sampled_from([ir.CacheMark(), ir.CacheMark("1h"), ir.CacheMark("30m"), ir.CacheMark("9d")])
WORDS = st.sampled_from(["", " ", "Hello", "é\u2028\n", "x" * 300])
TEXTS = build(ir.TextPart, text=WORDS, cache=MARKS)
SOURCES: st.SearchStrategy[ir.MediaSource] = st.sampled_from(
    [
        ir.Base64Source("aGk="),
        ir.Base64Source(""),
        ir.TextSource("hi"),
        ir.UrlSource("https://x.example/a.png"),
        ir.UrlSource("s3://bucket/a.pdf"),
        ir.FileSource("f", "openai_chat"),
    ]
)
TYPES = st.sampled_from([None, "image/png", "application/pdf", "text/plain", "video/mp4", "audio/wav", "a/b", ""])
MEDIA = build(
    ir.MediaPart,
    kind=st.sampled_from(["image", "audio", "video", "document"]),
    source=SOURCES,
    media_type=TYPES,
    filename=st.none() | WORDS,
    cite=st.none() | st.booleans(),
)
PROTOCOLS_OF_STATE = st.sampled_from(["openai_chat", "anthropic_messages", "bedrock_converse"])
KINDS = st.sampled_from(["signature", "redacted", "encrypted"])
STATE = build(ir.Opaque, protocol=PROTOCOLS_OF_STATE, kind=KINDS, payload=st.just("c2ln"))
THOUGHTS = build(ir.ReasoningPart, text=WORDS, opaque=st.none() | STATE)
GUARDED = st.just({"guardContent": {"text": {"text": "x"}}})
UNKNOWN = build(ir.UnknownPart, protocol=PROTOCOLS_OF_STATE, raw=GUARDED)
IN_RESULTS = build(ir.UnknownPart, protocol=PROTOCOLS_OF_STATE, raw=st.just({"json": {"a": 1}}))
REFUSALS = build(ir.RefusalPart, text=WORDS)
ARGUMENTS = st.sampled_from(["", "{}", '{"a":1}', "[1]", "no json"])
PLAIN_PARTS = st.one_of(TEXTS, TEXTS, MEDIA, THOUGHTS, UNKNOWN, REFUSALS, st.just(ir.CitationPart()))


ROLES: st.SearchStrategy[ir.Role] = st.sampled_from(["system", "developer", "user", "assistant", "assistant"])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[ir.Message, ...]:
    """Messages of anything, calls answered somewhere behind them."""
    messages: list[ir.Message] = []
    waiting: list[ir.ToolCallPart] = []
    for number in range(draw(st.integers(1, 5))):
        role = draw(ROLES)
        kinds: st.SearchStrategy[ir.Part] = TEXTS if role in ("system", "developer") else PLAIN_PARTS
        parts = draw(st.lists(kinds, max_size=3))
        if role == "assistant" and draw(st.booleans()):
            names = st.sampled_from(["weather", "my tool"])
            call = ir.ToolCallPart(f"c {number}", draw(names), draw(ARGUMENTS), cache=draw(MARKS))
            parts.append(call)
            waiting.append(call)
        messages.append(ir.Message(role, tuple(parts)))
        answered = draw(st.booleans())
        if waiting and answered:
            messages.append(ir.Message("tool", tuple(draw(answers_to(call)) for call in reversed(waiting))))
            waiting = []
    if waiting:
        messages.append(ir.Message("tool", tuple(draw(answers_to(call)) for call in waiting)))
    return tuple(messages)


def answers_to(call: ir.ToolCallPart) -> st.SearchStrategy[ir.ToolResultPart]:
    return build(
        ir.ToolResultPart,
        call_id=st.just(call.id),
        content=st.lists(st.one_of(TEXTS, TEXTS, MEDIA, IN_RESULTS), max_size=2).map(tuple),
        is_error=st.none() | st.booleans(),
        cache=MARKS,
    )


OFFERED: list[ir.Tool | ir.CustomTool] = [
    ir.Tool("weather", "x", {"type": "object"}, True, ir.CacheMark()),
    ir.Tool("my tool"),
    ir.CustomTool("grep", "", {"type": "grammar"}),
]
TOOLS = st.lists(st.sampled_from(OFFERED), unique_by=lambda tool: tool.name, max_size=3).map(tuple)
CHOICES = st.sampled_from(
    [
        None,
        ir.ToolChoice("auto"),
        ir.ToolChoice("none"),
        ir.ToolChoice("required"),
        ir.ToolChoice("required", ("my tool",)),
    ]
)
EFFORTS = st.sampled_from([None, "none", "minimal", "low", "high", "xhigh", "max"])
REASONING = st.none() | build(
    ir.Reasoning,
    effort=EFFORTS,
    budget_tokens=st.sampled_from([None, -1, 0, 500, 50_000]),
    visible=st.none() | st.booleans(),
)
NUMBERS = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
SAMPLING = build(
    ir.Sampling,
    temperature=NUMBERS,
    top_p=NUMBERS,
    top_k=st.sampled_from([None, 1, 40]),
    stop=st.lists(WORDS, max_size=3).map(tuple),
)
FORMATS = st.sampled_from(
    [None, ir.ResponseFormat("json_object"), ir.ResponseFormat("json_schema", {"type": "object"}, "n", "d", False)]
)


@given(
    messages=conversations(),
    tools=TOOLS,
    choice=CHOICES,
    reasoning=REASONING,
    sampling=SAMPLING,
    form=FORMATS,
    limit=st.sampled_from([None, 1, 3000]),
    cache=MARKS,
    facts=st.sampled_from([Profile(), families.BEDROCK_PLAIN, *(facts for _, facts in families.BEDROCK)]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_is_taken_or_refused(
    messages: tuple[ir.Message, ...],
    tools: tuple[ir.AnyTool, ...],
    choice: ir.ToolChoice | None,
    reasoning: ir.Reasoning | None,
    sampling: ir.Sampling,
    form: ir.ResponseFormat | None,
    limit: int | None,
    cache: ir.CacheMark | None,
    facts: Profile,
) -> None:
    """Law 3: every request that is sent is one that Amazon's own client would send; all others are refused by name."""
    request = ir.ChatRequest(
        "amazon.nova-pro-v1:0",
        messages,
        max_output_tokens=limit,
        sampling=sampling,
        tools=tools,
        tool_choice=choice,
        response_format=form,
        reasoning=reasoning,
        cache=cache,
    )
    try:
        encoded = CODEC.encode_request(request, profile=facts)
    except InvalidRequest as error:
        assert error.message and error.param
        return
    arguments = check_request(encoded)
    keep_the_rules(arguments["messages"], "generated")
    assert encoded.body.count(b"cachePoint") <= 4
