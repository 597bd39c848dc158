"""Whole answers of Responses, read."""

from __future__ import annotations

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChatResponse,
    Choice,
    MediaPart,
    Opaque,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    UnknownPart,
)
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps_text,
    loads_object,
)
from asgi_llmgw.protocols.openai.errors import error_of
from asgi_llmgw.protocols.openai.tokens import decode_tokens

from .errors import error_of_response
from .parts import citation
from .usage import decode_usage
from .wire import CALL_TYPES, NAME, finish_in, flat_name


def decode_response(body: bytes) -> ChatResponse:
    """The answer a vendor sent.

    Raises:
        UpstreamError: it is an error in spite of its status.
        InvalidUpstreamResponse: it cannot be read.
    """
    try:
        data = loads_object(body)
    except JSONError:
        raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
    if data.get("status") == "failed":
        raise error_of_response(data)
    if data.get("error"):
        raise error_of(200, data)
    output = data.get("output")
    if not isinstance(output, list):
        raise InvalidUpstreamResponse("the upstream's answer has no output")
    reader = OutputReader()
    parts = [part for item in output for part in reader.parts(as_object(item))]
    choice = Choice(
        parts=tuple(parts),
        finish=finish_in(data, calls=any(isinstance(part, ToolCallPart) for part in parts)),
        logprobs=tuple(reader.logprobs) or None,
    )
    return ChatResponse(
        choices=(choice,),
        id=as_str(data.get("id")) or "",
        model=as_str(data.get("model")) or "",
        created=as_int(data.get("created_at")),
        usage=decode_usage(data.get("usage")),
        service_tier=as_str(data.get("service_tier")) or None,
    )


class OutputReader:
    """Reads items in order; sources are placed in the whole text, whose length so far is `length`."""

    def __init__(self) -> None:
        self.length = 0
        self.logprobs: list[TokenLogprob] = []

    def parts(self, item: JSONObject) -> list[OutputPart]:
        """The parts an item holds; one that is empty holds none."""
        kind = as_str(item.get("type")) or "message"
        if kind == "message":
            phase = as_str(item.get("phase"))
            return [part for value in as_list(item.get("content")) for part in self._content(as_object(value), phase)]
        if kind == "reasoning":
            thought = decode_reasoning(item)
            return [thought] if thought.text or thought.opaque is not None else []
        if kind in CALL_TYPES:
            return [decode_call(item)]
        return [decode_whole(item)]

    def _content(self, part: JSONObject, phase: str | None) -> list[OutputPart]:
        kind = part.get("type")
        text = as_str(part.get("text")) or ""
        if kind == "refusal":
            refusal = as_str(part.get("refusal")) or ""
            return [RefusalPart(refusal)] if refusal else []
        if kind != "output_text":
            return [UnknownPart(NAME, part, as_str(kind) or "")]
        offset = self.length
        self.length += len(text)
        self.logprobs += decode_tokens(part.get("logprobs")) or ()
        notes = [citation(as_object(note), offset) for note in as_list(part.get("annotations"))]
        return [*([TextPart(text, phase=phase)] if text else []), *notes]


def decode_reasoning(item: JSONObject) -> ReasoningPart:
    """A reasoning item: its summary, or where there is none the thoughts themselves."""
    summary, content = texts_of(item.get("summary")), texts_of(item.get("content"))
    encrypted = as_str(item.get("encrypted_content"))
    opaque = Opaque(NAME, "encrypted", encrypted, as_str(item.get("id"))) if encrypted else None
    return ReasoningPart("\n\n".join(summary or content), opaque)


def texts_of(value: JSONValue) -> list[str]:
    """The texts in a list of parts, without the empty ones."""
    return [text for part in as_list(value) if (text := as_str(as_object(part).get("text")))]


def decode_call(item: JSONObject) -> ToolCallPart:
    """A call."""
    name = flat_name(as_str(item.get("namespace")), as_str(item.get("name")) or "")
    identifier = as_str(item.get("call_id")) or ""
    if item.get("type") == "custom_tool_call":
        return ToolCallPart(identifier, name, text_of(item.get("input")), "custom")
    return ToolCallPart(identifier, name, text_of(item.get("arguments")))


def text_of(value: JSONValue) -> str:
    """Arguments as text; some servers send the object itself."""
    if value is None or isinstance(value, str):
        return value or ""
    return dumps_text(value)


def decode_whole(item: JSONObject) -> OutputPart:
    """An item that comes at once: a picture, or something only Responses has."""
    result = as_str(item.get("result"))
    if item.get("type") == "image_generation_call" and result:
        form = as_str(item.get("output_format")) or "png"
        return MediaPart("image", Base64Source(result), f"image/{form}")
    return UnknownPart(NAME, item, as_str(item.get("type")) or "")
