"""The translator alone: bytes of one protocol in, bytes of another out. No server, no event loop.

`source` and `target` follow the data: for a request the client's protocol is the source, for an answer the upstream's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, final

import msgspec

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    ChoiceEnd,
    Diagnostic,
    FinishReason,
    PartStart,
    Protocol,
    ReasoningPart,
    ResponseEnd,
    ServerTool,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.ir.events import ReasoningDelta, ToolInputDelta
from asgi_llmgw.protocols import EncodedError, Profile, StreamContext, codec, frame_decoder, new_id, upstream_codec
from asgi_llmgw.reasoning.answers import Carrier, carrier, carry_response
from asgi_llmgw.reasoning.bodies import TAKEN_OUT, carries_state, without_foreign_state
from asgi_llmgw.reasoning.requests import addressed_to, restore_state
from asgi_llmgw.reasoning.turns import TurnRecorder
from asgi_llmgw.sse import Comment, ServerSentEvent
from asgi_llmgw.tool_names import ToolNames

_DEFAULT_PROFILE: Final = Profile()


class Translated(msgspec.Struct, frozen=True):
    """What came out: `path` is where a request goes (empty for an answer), `diagnostics` is what was lost.

    `answer` is the decoded form of an answer, for whoever wants its usage. `stream_context` and `tool_names` are what a
    request tells about how its answer is to be translated back.
    """

    body: bytes
    path: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    answer: ChatResponse | None = None
    stream_context: StreamContext | None = None
    tool_names: ToolNames | None = None


def translate_request(
    body: bytes,
    *,
    source: Protocol,
    target: Protocol,
    path: str = "",
    model: str | None = None,
    profile: Profile = _DEFAULT_PROFILE,
    carriers_key: bytes | None = None,
) -> Translated:
    """Turn a client's request into one for the upstream.

    Args:
        body: the JSON body as the client sent it.
        source: the client's protocol.
        target: the upstream's protocol.
        path: the URL path and query, where the source protocol keeps model and method in it (Gemini).
        model: the model to ask the upstream for; None keeps the client's.
        profile: facts about the target model that change what is sent.
        carriers_key: opens the reasoning state that was sealed in earlier answers; None leaves it as it is.

    Raises:
        InvalidRequest: the body cannot be read, or asks for what the target cannot do; `param` names the field.
    """
    if source == target:
        same = upstream_codec(source)
        lost: tuple[Diagnostic, ...] = ()
        if carriers_key is not None and carries_state(body):
            cleaned = without_foreign_state(body, source, carriers_key, signed_calls=profile.thought_signatures)
            body, lost = cleaned, () if cleaned is body else (TAKEN_OUT,)
        encoded = same.with_model(path, body, model if model is not None else same.peek(path, body).model)
        return Translated(encoded.body, encoded.path, (*lost, *encoded.diagnostics))
    request = read_request(body, source=source, path=path, carriers_key=carriers_key)
    return write_request(request, target=target, model=model, profile=profile)


class ReadRequest(msgspec.Struct, frozen=True):
    """A client's request, read, with all the reasoning state it brought, and what of that was lost."""

    request: ChatRequest
    diagnostics: tuple[Diagnostic, ...] = ()


def read_request(body: bytes, *, source: Protocol, path: str = "", carriers_key: bytes | None = None) -> ReadRequest:
    """The first half of `translate_request`.

    Raises:
        InvalidRequest: the body cannot be read.
    """
    request = codec(source).decode_request(path, body)
    if carriers_key is None:
        return ReadRequest(request)
    return ReadRequest(*restore_state(request, source, carriers_key))


def write_request(
    read: ReadRequest, *, target: Protocol, model: str | None = None, profile: Profile = _DEFAULT_PROFILE
) -> Translated:
    """The second half of `translate_request`.

    Raises:
        InvalidRequest: it asks for what the target cannot do.
    """
    request = read.request
    context = StreamContext(
        model=request.model,
        include_usage=bool(request.include_usage),
        include_thoughts=request.reasoning is None or request.reasoning.visible is not False,
        request=request,
    )
    if model is not None:
        request = msgspec.structs.replace(request, model=model)
    request, astray = addressed_to(request, target)
    request, dropped = _without_foreign_tools(request, target)
    encoded = upstream_codec(target).encode_request(request, profile=profile)
    names = ToolNames.of(request, upstream_codec(target))
    diagnostics = (*read.diagnostics, *astray, *dropped, *encoded.diagnostics)
    return Translated(encoded.body, encoded.path, diagnostics, stream_context=context, tool_names=names)


def _without_foreign_tools(request: ChatRequest, target: Protocol) -> tuple[ChatRequest, tuple[Diagnostic, ...]]:
    """Leave out the tools another vendor would have run, as long as the model may do without them.

    Agents offer such tools by default (web search), and most tasks never need them.
    """
    kept = tuple(tool for tool in request.tools if not isinstance(tool, ServerTool) or tool.protocol == target)
    choice = request.tool_choice
    if len(kept) == len(request.tools) or (choice is not None and choice.mode == "required" and not kept):
        return request, ()
    dropped = tuple(
        Diagnostic(f"tools[{index}]", "dropped", "warning", f"the tool {tool.kind!r} is run by another vendor")
        for index, tool in enumerate(request.tools)
        if isinstance(tool, ServerTool) and tool.protocol != target
    )
    return msgspec.structs.replace(request, tools=kept), dropped


def translate_response(
    body: bytes,
    *,
    source: Protocol,
    target: Protocol,
    model: str | None = None,
    tool_names: ToolNames | None = None,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[str], str] = new_id,
    context: StreamContext | None = None,
    carriers_key: bytes | None = None,
) -> Translated:
    """Turn an upstream's whole answer into one for the client.

    Args:
        body: the JSON body as the upstream sent it.
        source: the upstream's protocol.
        target: the client's protocol.
        model: the model name the client knows; None passes the upstream's on.
        tool_names: of the request's translation, so that renamed tools come back under their own names.
        context: all of what the encoder may know, instead of `model`, `clock` and `new_id`.
        carriers_key: seals the reasoning state that the client shall carry for another vendor.

    Raises:
        InvalidUpstreamResponse: the body cannot be read.
        UpstreamError: the body is an error that came with a good status.
    """
    answer = upstream_codec(source).decode_response(body)
    if source == target and model is None:
        return Translated(body, answer=answer)
    if tool_names is not None:
        answer = tool_names.response(answer)
    context = context or StreamContext(model=model, clock=clock, new_id=new_id)
    told = answer if carriers_key is None or source == target else carry_response(answer, source, target, carriers_key)
    encoded = codec(target).encode_response(told, context=context)
    return Translated(encoded.body, diagnostics=(*answer.diagnostics, *encoded.diagnostics), answer=answer)


def translate_error(status: int, body: bytes, *, source: Protocol, target: Protocol) -> EncodedError:
    """Turn an upstream's error answer into one for the client, the vendor's meaning kept."""
    return codec(target).encode_error(upstream_codec(source).decode_error(status, body))


@final
class _Ping(msgspec.Struct, frozen=True):
    """The upstream says no more than that it is still there."""


_PING: Final = _Ping()
_KEEP_ALIVE: Final[Mapping[Protocol, Comment]] = {"openai_chat": Comment("keep-alive")}
"""What tells a client that nothing has happened yet; clients of Gemini would take a comment for JSON."""


class StreamObserver:
    """What a stream has told so far, whoever forwards it.

    Attributes:
        usage: tokens, the last report wins; None while nothing was reported.
        finish_reason: how the first choice ended.
        fault: the error the stream broke with.
        content: something a user would see has come.
        ended: the stream is whole.
        text_length: characters of text, reasoning and tool input so far, for an estimate where usage is missing.
    """

    __slots__ = ("content", "ended", "fault", "finish_reason", "text_length", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.fault: UpstreamError | None = None
        self.content = False
        self.ended = False
        self.text_length = 0

    def observe(self, event: StreamEvent) -> None:
        """Take note of one event."""
        if type(event) is TextDelta or type(event) is ReasoningDelta:
            self.text_length += len(event.text)
            self.content = True
            return
        if type(event) is UsageUpdate:  # some vendors send one with every word
            self.usage = event.usage
            return
        match event:
            case ToolInputDelta():
                self.text_length += len(event.fragment)
            case PartStart():
                if not isinstance(event.part, (TextPart, ReasoningPart)):
                    self.content = True
            case ChoiceEnd():
                if self.finish_reason is None:
                    self.finish_reason = event.finish
            case ResponseEnd():
                self.ended = self.content = True
            case StreamFault():
                self.fault = event.error
            case _:
                pass


class _Stream(StreamObserver):
    """Bytes of an event stream, decoded as far as they go; broken framing becomes a `StreamFault`."""

    __slots__ = ("_decoder", "_frames")

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self._frames = frame_decoder(protocol)
        self._decoder = upstream_codec(protocol).stream_decoder()

    def _events(self, chunk: bytes | None) -> list[StreamEvent | _Ping]:
        """What a chunk tells, or the end of input; nothing is read, and so nothing kept, once the stream is over."""
        events: list[StreamEvent | _Ping] = []
        over = self.ended or self.fault is not None
        if over:
            return events
        decode, observe = self._decoder.feed, self.observe
        try:
            for frame in self._frames.close() if chunk is None else self._frames.feed(chunk):
                if self.ended or self.fault is not None:
                    break
                if frame.event == "ping":
                    events.append(_PING)
                for event in decode(frame):
                    observe(event)
                    events.append(event)
        except UpstreamError as error:
            events.append(self._observed(StreamFault(error)))
        return events

    def _last_events(self, error: UpstreamError | None) -> list[StreamEvent | _Ping]:
        events = self._events(None)
        if self.fault is None:
            for event in self._decoder.close():
                cause = error if isinstance(event, StreamFault) else None
                events.append(self._observed(event if cause is None else StreamFault(cause)))
        return events

    def _observed(self, event: StreamEvent) -> StreamEvent:
        self.observe(event)
        return event


class StreamTranslator(_Stream):
    """Translate a stream while it runs.

    Feed it the upstream's bytes as they come, cut anywhere; it gives the client's bytes. `close()` ends the stream as
    the client's protocol demands: with its terminator, or with an error event if the upstream broke off. Afterwards
    `usage`, `finish_reason`, `fault` and `diagnostics` tell what happened.

    Args:
        source: the upstream's protocol.
        target: the client's protocol.
        model: the model name the client knows; None passes the upstream's on.
        include_usage: the client asked for usage (Chat Completions tells it only then).
        context: all of what the encoder may know, instead of `model` and `include_usage`.
        tool_names: of the request's translation, so that renamed tools come back under their own names.
        carriers_key: seals the reasoning state that the client shall carry for another vendor.
        recorder: takes note of that state, for clients that will not carry it.
    """

    __slots__ = ("_begun", "_carrier", "_encoder", "_keep_alive", "_names", "_newline", "_recorder")

    def __init__(
        self,
        *,
        source: Protocol,
        target: Protocol,
        model: str | None = None,
        include_usage: bool = False,
        context: StreamContext | None = None,
        tool_names: ToolNames | None = None,
        carriers_key: bytes | None = None,
        recorder: TurnRecorder | None = None,
    ) -> None:
        super().__init__(source)
        self._recorder = recorder
        self._names = tool_names
        self._carrier: Carrier | None = None
        if carriers_key is not None and source != target:
            self._carrier = carrier(source, target, carriers_key)
        self._begun = False
        self._keep_alive = _KEEP_ALIVE.get(target)
        client = codec(target)
        self._newline = client.frame_newline
        self._encoder = client.stream_encoder(context or StreamContext(model=model, include_usage=include_usage))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What the client's protocol could not say."""
        return self._encoder.diagnostics

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for this chunk of the upstream's; often empty. Never raises for what the upstream sent."""
        return self._encode(self._events(chunk))

    def close(self, error: UpstreamError | None = None) -> bytes:
        """The client's last bytes, after the upstream's last.

        Args:
            error: why the upstream's transport broke, if it did; it is told unless the stream was whole already.
        """
        out = self._encode(self._last_events(error))
        return out + b"".join(frame.encode(self._newline) for frame in self._encoder.close())

    def _encode(self, events: list[StreamEvent | _Ping]) -> bytes:
        newline, encode, carrier = self._newline, self._encoder.feed, self._carrier
        thoughts_too, inputs_too = self._recorder is None, self._names is None
        out: list[ServerSentEvent | Comment] = []
        for event in events:
            if (
                type(event) is TextDelta
                or (type(event) is ReasoningDelta and thoughts_too)
                or (type(event) is ToolInputDelta and inputs_too)
            ):
                # nearly all events are these, and nobody but the carrier alters them
                out += encode(event if carrier is None else carrier.delta(event))
            elif type(event) is UsageUpdate:
                out += encode(event)  # nobody at all
            elif type(event) is _Ping:
                # before the first output the answer may still become an error with a status
                if self._keep_alive is not None and (out or self._begun):
                    out.append(self._keep_alive)
            else:
                for told in self._told(event):
                    out += encode(told)
        self._begun = self._begun or bool(out)
        if len(out) == 1:
            return out[0].encode(newline)
        return b"".join([frame.encode(newline) for frame in out])

    def _told(self, event: StreamEvent) -> Iterable[StreamEvent]:
        """The event as the client is told it: its own names for tools, other vendors' state where it can be carried."""
        if self._recorder is not None:
            self._recorder.observe(event)
        named = (event,) if self._names is None else self._names.event(event)
        if self._carrier is None:
            return named
        return [carried for told in named for carried in self._carrier.event(told)]


class UsageTap(_Stream):
    """Reads usage and the end of a stream that is forwarded as it is, from a copy. It never alters the stream, never
    delays it and never raises.

    Args:
        protocol: what the stream speaks.
    """

    __slots__ = ("_last",)

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol)
        self._last = b""

    def feed(self, chunk: bytes) -> None:
        """Look at a chunk that is on its way."""
        self._last = (self._last + chunk)[-4:] if len(chunk) < 4 else chunk[-4:]
        self._events(chunk)

    def close(self, error: UpstreamError | None = None) -> None:
        """The stream has ended, by `error` if its transport broke: from now on `fault` says whether it was whole."""
        self._last_events(error)

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end between two events, so that another may follow."""
        return not self._last or self._last.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
