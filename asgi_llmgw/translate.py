"""The translator alone: bytes of one protocol in, bytes of another out. No server, no event loop.

`source` and `target` follow the data: for a request the client's protocol is the source, for an answer the upstream's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from operator import methodcaller
from typing import Final, final

import msgspec

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Delta,
    Diagnostic,
    Protocol,
    ResponseEnd,
    ServerTool,
    StreamEvent,
    StreamFault,
    TextDelta,
    UsageUpdate,
)
from asgi_llmgw.ir.events import ReasoningDelta, ToolInputDelta
from asgi_llmgw.protocols import EncodedError, Profile, StreamContext, codec, new_id, upstream_codec
from asgi_llmgw.reasoning.answers import Carrier, carrier, carry_response
from asgi_llmgw.reasoning.bodies import TAKEN_OUT, carries_state, without_foreign_state
from asgi_llmgw.reasoning.requests import addressed_to, restore_state
from asgi_llmgw.reasoning.turns import TurnRecorder
from asgi_llmgw.sse import Comment, ServerSentEvent
from asgi_llmgw.streams import Heard, Ping, StreamReader
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
    if carriers_key is None or request.talk is not None:
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
        request = request.for_model(model)
    lost = read.diagnostics
    if request.talk is None:
        request, astray = addressed_to(request, target)
        lost += astray
    if request.tools:
        request, dropped = _without_foreign_tools(request, target)
        lost += dropped
    upstream = upstream_codec(target)
    encoded = upstream.encode_request(request, profile=profile)
    names = ToolNames.of(request, upstream)
    return Translated(encoded.body, encoded.path, lost + encoded.diagnostics, None, context, names)


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
    if context is None:
        context = StreamContext(model=model, clock=clock, new_id=new_id)
    told = answer if carriers_key is None or source == target else carry_response(answer, source, target, carriers_key)
    encoded = codec(target).encode_response(told, context=context)
    return Translated(encoded.body, "", answer.diagnostics + encoded.diagnostics, answer)


def translate_error(status: int, body: bytes, *, source: Protocol, target: Protocol) -> EncodedError:
    """Turn an upstream's error answer into one for the client, the vendor's meaning kept."""
    return codec(target).encode_error(upstream_codec(source).decode_error(status, body))


_PIECE: Final = 64 * 1024
_KEEP_ALIVE: Final[Mapping[Protocol, bytes]] = {"openai_chat": Comment("keep-alive").encode()}
"""What tells a client that nothing has happened yet; clients of Gemini would take a comment for JSON."""

_AS_THEY_ARE: Final[frozenset[type[StreamEvent]]] = frozenset({UsageUpdate, ResponseEnd, StreamFault})
"""Events that have no names and no state of anybody's in them."""


@final
class _Run(msgspec.Struct, frozen=True, gc=False):
    """Deltas of one part, one after the other: `whole` is all of them in one, `texts` what each of them brought."""

    whole: Delta
    texts: list[str]


class StreamTranslator(StreamReader):
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

    __slots__ = ("_begun", "_carrier", "_encoder", "_keep_alive", "_names", "_recorder", "_wire")

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
        client = codec(target)
        self._wire: Callable[[ServerSentEvent], bytes] = methodcaller("encode", client.frame_newline)
        self._keep_alive = _KEEP_ALIVE.get(target)
        self._encoder = client.stream_encoder(context or StreamContext(model=model, include_usage=include_usage))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What the client's protocol could not say."""
        return self._encoder.diagnostics

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for this chunk of the upstream's; often empty. Never raises for what the upstream sent."""
        if len(chunk) > _PIECE:
            # what is looked through for each frame stays small
            return b"".join([self.feed(chunk[start : start + _PIECE]) for start in range(0, len(chunk), _PIECE)])
        if self.ended or self.fault is not None:
            return b""
        try:
            frames = self._held.feed(chunk)
        except UpstreamError as error:
            return self._encode([self._observed(StreamFault(error))])
        return self._encode(self._read(frames)) if frames else b""

    def close(self, error: UpstreamError | None = None) -> bytes:
        """The client's last bytes, after the upstream's last.

        Args:
            error: why the upstream's transport broke, if it did; it is told unless the stream was whole already.
        """
        if self.ended or self.fault is not None:
            return b""
        try:
            rest = self._read(self._held.close())
        except UpstreamError as broken:
            rest = [self._observed(StreamFault(broken))]
        out = self._encode([*rest, *self._read_end(error)])
        return out + b"".join(map(self._wire, self._encoder.close()))

    def _read(self, frames: bytes) -> list[Heard | _Run]:
        """What whole frames tell; nothing is read, and so nothing kept, once the stream is over."""
        heard: list[Heard | _Run] = []
        start = 0
        while start < len(frames) and self.fault is None and not self.ended:
            taken, texts = self._again(frames, start)
            if not taken:
                taken, told = self._read_on(frames, start)
                heard += told
            else:
                if "" in texts:
                    texts = [text for text in texts if text]
                if texts:
                    heard.append(self._heard_again(texts))
            start += taken
        return heard

    def _heard_again(self, texts: list[str]) -> _Run:
        like = self._like
        whole = type(like)(like.index, texts[0] if len(texts) == 1 else "".join(texts))
        self._decoder.more(whole)
        self.observe(whole)
        return _Run(whole, texts)

    def _encode(self, heard: list[Heard | _Run]) -> bytes:
        wire, encode = self._wire, self._encoder.feed
        out: list[bytes] = []
        for event in heard:
            if type(event) is _Run:
                out.append(self._encode_run(event))
            elif type(event) is Ping:
                # before the first output the answer may still become an error with a status
                if self._keep_alive is not None and (self._begun or any(out)):
                    out.append(self._keep_alive)
            else:
                for told in (event,) if type(event) in _AS_THEY_ARE else self._told(event):
                    out += map(wire, encode(told))
        encoded = b"".join(out)
        self._begun = self._begun or bool(encoded)
        return encoded

    def _encode_run(self, run: _Run) -> bytes:
        """Deltas of one part: what is made of the whole of them is made of each."""
        whole = self._told_delta(run.whole)
        if whole is None:
            return b""
        encoded = self._encoder.more(whole, run.texts)
        if encoded is not None:
            return encoded
        deltas = [type(whole)(whole.index, text) for text in run.texts]
        return b"".join([self._wire(frame) for delta in deltas for frame in self._encoder.feed(delta)])

    def _told(self, event: StreamEvent) -> Iterable[StreamEvent]:
        """The event as the client is told it: its own names for tools, other vendors' state where it can be carried."""
        if type(event) is TextDelta or type(event) is ReasoningDelta or type(event) is ToolInputDelta:
            delta = self._told_delta(event)
            return () if delta is None else (delta,)
        if self._recorder is not None:
            self._recorder.observe(event)
        if self._names is None:
            return (event,) if self._carrier is None else self._carrier.event(event)
        named = self._names.event(event)
        if self._carrier is None:
            return named
        return [carried for told in named for carried in self._carrier.event(told)]

    def _told_delta(self, delta: Delta) -> Delta | None:
        """The same for the commonest of events; None for what is told when it is whole."""
        if self._recorder is not None and type(delta) is ReasoningDelta:
            self._recorder.observe(delta)
        if self._names is not None and type(delta) is ToolInputDelta and self._names.holds(delta):
            return None
        return delta if self._carrier is None else self._carrier.delta(delta)
