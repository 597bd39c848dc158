"""What every wire protocol's codec can do. Codecs are stateless; a stream's state lives in its decoder and encoder."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import msgspec

from asgi_llmgw.errors import ErrorKind, GatewayError, InvalidRequest, UpstreamError
from asgi_llmgw.ir import ChatRequest, ChatResponse, Delta, Diagnostic, StreamEvent
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, dumps, dumps_lines, loads_request
from asgi_llmgw.sse import ServerSentEvent, without_separators

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
STATE_MARK: Final = b"asgi-llmgw/1"
"""How a binary field begins that holds another vendor's reasoning. Its base64 is the same in both alphabets."""


class RequestHead(msgspec.Struct, frozen=True):
    """The two things a gateway must know before it forwards a request."""

    model: str
    stream: bool


class EncodedRequest(msgspec.Struct, frozen=True):
    """A request ready for the wire: `path` with its version and query (`/v1/messages`), `body`, and what was lost."""

    path: str
    body: bytes
    diagnostics: tuple[Diagnostic, ...] = ()


class EncodedResponse(msgspec.Struct, frozen=True):
    """An answer ready for the wire, and what was lost."""

    body: bytes
    diagnostics: tuple[Diagnostic, ...] = ()


class EncodedError(msgspec.Struct, frozen=True):
    """An error in a protocol's own shape."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", JSON),)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a vendor or a model that change what we send. Each flag says where it was read.

    Args:
        max_output_tokens: what Anthropic's required `max_tokens` is when the client gave none
            (https://docs.anthropic.com/en/api/messages).
        max_tokens_field: servers that imitate OpenAI's older API know `max_tokens` only
            (https://platform.openai.com/docs/api-reference/chat/create).
        system_role: reasoning models of OpenAI's call the system prompt `developer`; foreign servers refuse that name.
        stream_usage: the server understands `stream_options.include_usage`.
        seed_field: what the server calls `seed` (Mistral: https://docs.mistral.ai/api).
        refused_fields: fields of a Chat Completions request that the server answers with an error; they are left out
            (such as https://console.groq.com/docs/openai).
        reasoning_field: in which field of a Chat Completions turn the server wants its model's thoughts back, as some
            demand beside tool calls (https://api-docs.deepseek.com/guides/thinking_mode); None: nowhere.
        sampling: the model takes temperature, top_p and top_k; the newest Anthropic models refuse them.
        temperature_with_top_p: the model takes both at once; Anthropic's 4.1 to 4.6 models take one of the two.
        forced_tool_choice: the model takes a forced tool choice.
        thinking: how an Anthropic model is told to think: `adaptive` (with an effort), `budget`, or not at all. On
            Bedrock others are told by `reasoning_config` (Nova 2) or `reasoning_effort` (OpenAI's open models).
        native_structured_output: the model takes a JSON Schema for its answer.
        json_schema: a Gemini endpoint takes JSON Schema as it is; otherwise schemas are cut down to its OpenAPI subset
            (https://ai.google.dev/api/caching#Schema).
        tool_call_ids: a Gemini model sends and takes ids with function calls (3.x does, 2.x does not).
        thought_signatures: a Gemini model refuses replayed function calls without a thought signature (3.x does).
        thinking_level: a Gemini model takes `thinkingLevel` (3.x), otherwise `thinkingBudget`.
        function_response_media: a Gemini model takes media inside a function response (3.x does).
        top_k_field: where Bedrock's Converse has `top_k` for a model, in its additional fields: Anthropic's `top_k`,
            Amazon's `inferenceConfig.topK`; None: nowhere
            (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html).
        cache_points: the parts of a Converse request in which a model takes cache points: `tools`, `system`, `messages`
            (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
        mid_system: what becomes of system messages in the middle of a conversation where the target has one place for
            them only: `hoist` moves them to the front, `user` leaves them in place as marked user text, `system` sends
            them in place as system messages.
    """

    max_output_tokens: int = 4096
    max_tokens_field: str = "max_completion_tokens"
    system_role: str | None = None
    stream_usage: bool = True
    seed_field: str = "seed"
    refused_fields: tuple[str, ...] = ()
    reasoning_field: str | None = None
    sampling: bool = True
    temperature_with_top_p: bool = True
    forced_tool_choice: bool = True
    thinking: str = "budget"
    native_structured_output: bool = True
    json_schema: bool = True
    tool_call_ids: bool = False
    thought_signatures: bool = False
    thinking_level: bool = False
    function_response_media: bool = False
    top_k_field: str | None = "top_k"
    cache_points: tuple[str, ...] = ("tools", "system", "messages")
    mid_system: str = "hoist"


def new_id(prefix: str) -> str:
    """An identifier nobody can guess: `prefix` and 24 letters and digits."""
    return prefix + secrets.token_hex(12)


class StreamContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream encoder must know of the request it answers.

    Args:
        model: the model name the client used; None passes the vendor's on.
        include_usage: the client wants the usage told (Chat Completions says nothing otherwise).
        include_thoughts: the client wants to see reasoning where its protocol makes that optional.
        clock: seconds since the epoch.
        new_id: makes the ids the vendor did not give.
        request: what was asked, for protocols whose answers repeat it (Responses).
    """

    model: str | None = None
    include_usage: bool = False
    include_thoughts: bool = True
    clock: Callable[[], float] = time.time
    new_id: Callable[[str], str] = new_id
    request: ChatRequest | None = None


class FrameCutter(Protocol):
    """Bytes of a stream in, whole server-sent events out, as bytes; the chunks may be cut anywhere."""

    def feed(self, chunk: bytes, /) -> bytes:
        """The events that this chunk completes.

        Raises:
            InvalidUpstreamResponse: it cannot be read.
        """
        ...

    def close(self) -> bytes:
        """What is left at the end of input.

        Raises:
            InvalidUpstreamResponse: the last event is not whole.
        """
        ...


class StreamDecoder(Protocol):
    """Frames of one upstream stream in, events out. Broken input becomes a `StreamFault`, never an exception."""

    def feed(self, frame: ServerSentEvent, /) -> Iterable[StreamEvent]: ...

    @property
    def plain(self) -> bool:
        """Whether the last frame held one delta and nothing else that counts: with another text in it, it would tell
        that text and change nothing else."""
        ...

    def more(self, delta: Delta, /) -> None:
        """Such frames have come again, and were not read: this is all they brought."""
        ...

    def close(self) -> Iterable[StreamEvent]:
        """End of input. No terminal frame seen: a `StreamFault`, never a made-up stop."""
        ...


class StreamEncoder(Protocol):
    """Events in, frames for the client out; close sequences included."""

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]: ...

    def feed(self, event: StreamEvent, /) -> Iterable[ServerSentEvent]: ...

    def more(self, whole: Delta, texts: list[str], /) -> bytes | None:
        """The frames of many deltas, none of them empty; `whole` is all in one. None where each of them must be fed."""
        ...

    def close(self) -> Iterable[ServerSentEvent]: ...


class UpstreamCodec(Protocol):
    """One wire protocol as a vendor speaks it. `path` is the URL path with its query: Gemini keeps model and method
    there."""

    name: str
    frame_newline: bytes

    def peek(self, path: str, body: bytes, /) -> RequestHead: ...

    def with_model(
        self, path: str, body: bytes, model: str, also: Mapping[str, JSONValue] | None = None, /
    ) -> EncodedRequest:
        """The same request for another model, with other members set in the same step."""
        ...

    def tool_name(self, name: str, /) -> str:
        """What a tool is called on this wire: the same name if it fits, else a pure function of it."""
        ...

    def encode_request(self, request: ChatRequest, /, *, profile: Profile) -> EncodedRequest: ...

    def decode_response(self, body: bytes, /) -> ChatResponse: ...

    def decode_error(self, status: int, body: bytes, /) -> UpstreamError: ...

    def encode_error(self, error: GatewayError, /, *, request_id: str | None = None) -> EncodedError: ...

    def encode_stream_error(self, error: GatewayError, /) -> ServerSentEvent: ...

    def stream_decoder(self) -> StreamDecoder: ...


class Codec(UpstreamCodec, Protocol):
    """A wire protocol both ways: as a vendor speaks it, and as clients do."""

    def decode_request(self, path: str, body: bytes, /) -> ChatRequest: ...

    def encode_response(self, response: ChatResponse, /, *, context: StreamContext) -> EncodedResponse: ...

    def stream_encoder(self, context: StreamContext, /) -> StreamEncoder: ...


def same_frames(before: bytes, texts: list[str], after: bytes) -> bytes:
    """Frames on the wire that differ in their text alone: what stands before it in each, and after it."""
    if len(texts) == 1:
        frames = b"%b%b%b" % (before, dumps(texts[0]), after)
    else:
        frames = before + dumps_lines(texts).replace(b"\n", after + before)[: -len(before)]
    return frames if frames.isascii() else without_separators(frames)


class Diagnostics:
    """Collects what an encoder loses on its way."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []

    def dropped(self, path: str, detail: str = "", *, info: bool = False) -> None:
        """The target has no place for it."""
        self._items.append(Diagnostic(path, "dropped", "info" if info else "warning", detail))

    def approximated(self, path: str, detail: str = "", *, info: bool = False) -> None:
        """The target says it a little differently."""
        self._items.append(Diagnostic(path, "approximated", "info" if info else "warning", detail))

    def clamped(self, path: str, detail: str = "", *, info: bool = False) -> None:
        """The value is outside the target's range."""
        self._items.append(Diagnostic(path, "clamped", "info" if info else "warning", detail))

    def renamed(self, path: str, detail: str = "") -> None:
        """A name does not fit the target's alphabet or length."""
        self._items.append(Diagnostic(path, "renamed", "info", detail))

    def defaulted(self, path: str, detail: str = "") -> None:
        """The target requires a value the client did not give."""
        self._items.append(Diagnostic(path, "defaulted", "info", detail))

    def items(self) -> tuple[Diagnostic, ...]:
        """All of them, each once, in order."""
        return tuple(dict.fromkeys(self._items)) if self._items else ()


def unsupported(path: str, detail: str) -> InvalidRequest:
    """The error for a request that would be answered wrongly if this were dropped."""
    return InvalidRequest(detail, kind="unsupported", param=path, code="unsupported_parameter")


def parse_request(body: bytes) -> JSONObject:
    """A client's body as an object.

    Raises:
        InvalidRequest: it is not one.
    """
    try:
        return loads_request(body)
    except JSONError as exc:
        kind: ErrorKind = "request_too_large" if exc.code == "json_too_large" else "bad_request"
        raise InvalidRequest(f"The request body is not usable JSON: {exc}", kind=kind, code=exc.code) from None


_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


def safe_tool_call_id(raw: str) -> str:
    """An id every vendor takes: unchanged if it fits, else a pure function of it, so calls and results still meet."""
    if _SAFE_ID.match(raw):
        return raw
    return "call_" + hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def safe_tool_name(raw: str, *, limit: int = 64) -> str:
    """A tool name every vendor takes: unchanged if it fits, else cleaned, cut and made unique by 8 digits of a hash."""
    if len(raw) <= limit and raw and not _UNSAFE.search(raw):
        return raw
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_UNSAFE.sub('_', raw)[: limit - 9]}_{digest}"
