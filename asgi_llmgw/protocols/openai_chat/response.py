"""Whole answers of Chat Completions, read and written."""

from __future__ import annotations

from typing import Final, assert_never

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChatResponse,
    Choice,
    CitationPart,
    MediaPart,
    OutputPart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps,
    dumps_text,
    loads_object,
)
from asgi_llmgw.protocols.base import Diagnostics, EncodedResponse, StreamContext
from asgi_llmgw.protocols.data_urls import parse_data_url
from asgi_llmgw.protocols.openai.errors import error_of
from asgi_llmgw.protocols.openai.words import SERVICE_TIERS

from .carriers import all_details, google_extra, google_signature, place_signatures, reasoning_parts
from .media import image_url
from .plain_answer import plain_answer
from .usage import decode_logprobs, decode_usage, encode_logprobs, encode_usage
from .wire import NAME, finish_in, finish_out

_PLAIN_ENDINGS: Final = frozenset({"stop", "length"})


def decode_response(body: bytes) -> ChatResponse:
    """The answer a vendor sent.

    Raises:
        UpstreamError: it is an error in spite of its status.
        InvalidUpstreamResponse: it cannot be read.
    """
    plain = plain_answer(body)
    if plain is not None:
        return plain
    try:
        data = loads_object(body)
    except JSONError:
        raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
    if data.get("error"):
        raise error_of(200, data)
    raw_choices = as_list(data.get("choices"))
    if not raw_choices:
        raise InvalidUpstreamResponse("the upstream's answer has no choices")
    choices = tuple(_decode_choice(choice, position, data) for position, choice in enumerate(raw_choices))
    return ChatResponse(
        choices=choices,
        id=as_str(data.get("id")) or "",
        model=as_str(data.get("model")) or "",
        created=as_int(data.get("created")),
        usage=decode_usage(data.get("usage")),
        service_tier=as_str(data.get("service_tier")) or None,
        system_fingerprint=as_str(data.get("system_fingerprint")) or None,
        legacy_functions=any(_legacy_call(as_object(choice).get("message")) for choice in raw_choices),
    )


def _legacy_call(message: JSONValue) -> JSONObject | None:
    """`function_call`, unless it is a placeholder."""
    call = as_object(as_object(message).get("function_call"))
    return call if call.get("name") else None


def _decode_choice(value: JSONValue, position: int, data: JSONObject) -> Choice:
    choice = as_object(value)
    if choice.get("error"):
        raise error_of(200, choice)
    message = choice.get("message")
    finish = as_str(choice.get("finish_reason"))
    if not isinstance(message, dict) and not finish:
        raise InvalidUpstreamResponse("the upstream's answer has a choice without a message")
    parts = decode_message(as_object(message))
    if not any(isinstance(part, CitationPart) for part in parts):
        parts += link_citations(data)
    logprobs = decode_logprobs(choice.get("logprobs"), "content")
    if logprobs is None:
        logprobs = decode_logprobs(choice.get("logprobs"), "refusal")
    index = as_int(choice.get("index"))
    return Choice(
        parts=tuple(parts),
        finish=finish_in(finish, calls=any(isinstance(part, ToolCallPart) for part in parts)),
        index=position if index is None else index,
        logprobs=logprobs,
    )


def decode_message(message: JSONObject) -> list[OutputPart]:
    """The parts of a message; empty strings and placeholders are nothing."""
    parts: list[Part] = [*reasoning_parts(message), *decode_content(message.get("content"))]
    refusal = as_str(message.get("refusal"))
    if refusal:
        parts.append(RefusalPart(refusal))
    parts += (image for item in as_list(message.get("images")) if (image := decode_image(as_object(item))))
    audio = decode_audio(as_object(message.get("audio")))
    if audio is not None:
        parts.append(audio)
    parts += (citation(as_object(note)) for note in as_list(message.get("annotations")))
    parts += (call for item in as_list(message.get("tool_calls")) if (call := decode_call(as_object(item))))
    legacy = _legacy_call(message)
    if legacy is not None:
        parts.append(ToolCallPart("", as_str(legacy.get("name")) or "", arguments_text(legacy.get("arguments"))))
    return [part for part in place_signatures(message, parts) if not isinstance(part, ToolResultPart)]


def decode_content(content: JSONValue) -> list[OutputPart]:
    """Text, or the lists of parts that Mistral's thinking models answer with."""
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    parts: list[OutputPart] = []
    for item in as_list(content):
        part = as_object(item)
        match part.get("type"):
            case "text" if isinstance(text := part.get("text"), str):
                if text:
                    parts.append(TextPart(text))
            case "thinking":
                thought = part.get("thinking")
                texts = [as_str(as_object(piece).get("text")) or "" for piece in as_list(thought)]
                parts.append(ReasoningPart(thought if isinstance(thought, str) else "".join(texts)))
            case _:
                parts.append(UnknownPart(NAME, part, as_str(part.get("type")) or ""))
    return parts


def decode_call(call: JSONObject) -> ToolCallPart | None:
    """One of `tool_calls`, None for a placeholder without id, name and arguments."""
    function = as_object(call.get("function"))
    custom = as_object(call.get("custom"))
    identifier = as_str(call.get("id")) or ""
    if custom.get("name") and not function.get("name"):
        return ToolCallPart(identifier, as_str(custom["name"]) or "", as_str(custom.get("input")) or "", "custom")
    name = as_str(function.get("name")) or ""
    arguments = arguments_text(function.get("arguments"))
    if not (identifier or name or arguments):
        return None
    return ToolCallPart(identifier, name, arguments, signature=google_signature(call))


def arguments_text(value: JSONValue) -> str:
    """Arguments as text; some servers send the object itself."""
    if value is None or isinstance(value, str):
        return value or ""
    return dumps_text(value)


def citation(note: JSONObject) -> CitationPart:
    """An entry of `annotations`."""
    source = as_object(note.get("url_citation"))
    return CitationPart(
        url=as_str(source.get("url")),
        title=as_str(source.get("title")),
        start=as_int(source.get("start_index")),
        end=as_int(source.get("end_index")),
        protocol=NAME,
        raw=note,
    )


def link_citations(data: JSONObject) -> list[CitationPart]:
    """Perplexity's list of addresses beside the choices."""
    return [CitationPart(url=link) for link in as_list(data.get("citations")) if isinstance(link, str)]


def decode_audio(audio: JSONObject) -> MediaPart | None:
    """Spoken output, None for a placeholder."""
    data = as_str(audio.get("data"))
    if not data:
        return None
    return MediaPart("audio", Base64Source(data), transcript=as_str(audio.get("transcript")))


def decode_image(image: JSONObject) -> MediaPart | None:
    """A picture in `message.images`, as OpenRouter has it."""
    url = as_str(as_object(image.get("image_url")).get("url")) or as_str(image.get("image_url"))
    try:
        parsed = parse_data_url(url or "")
    except ValueError:
        return None
    if parsed is None:
        return MediaPart("image", UrlSource(url)) if url else None
    return MediaPart("image", Base64Source(parsed[1]), parsed[0])


def encode_response(response: ChatResponse, context: StreamContext) -> EncodedResponse:
    """The answer as a client of Chat Completions reads it."""
    diagnostics = Diagnostics()
    created = response.created if response.created is not None else int(context.clock())
    choices: list[JSONValue] = [
        _encode_choice(choice, response.legacy_functions, context, diagnostics) for choice in response.choices
    ]
    data: JSONObject = {
        "id": response.id or context.new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": created,
        "model": context.model if context.model is not None else response.model,
        "choices": choices,
    }
    usage = None if response.usage is None else encode_usage(response.usage, diagnostics)
    if usage is not None:
        data["usage"] = usage
    tier = None if response.service_tier is None else SERVICE_TIERS.get(response.service_tier)
    if tier is not None:
        data["service_tier"] = tier
    if response.system_fingerprint is not None:
        data["system_fingerprint"] = response.system_fingerprint
    return EncodedResponse(dumps(data), diagnostics.items())


def _encode_choice(choice: Choice, legacy: bool, context: StreamContext, diagnostics: Diagnostics) -> JSONObject:
    text = _only_text(choice)
    if text is not None:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": choice.finish.kind,
        }
    path = f"choices[{choice.index}]"
    message = _MessageWriter(path, legacy, context, diagnostics)
    for part in choice.parts:
        message.add(part)
    calls = bool(message.calls)
    if choice.finish.kind in ("error", "other"):
        diagnostics.approximated(f"{path}.finish_reason", choice.finish.raw or choice.finish.kind)
    if choice.finish.kind == "content_filter" and choice.finish.detail and not message.refusal:
        message.refusal.append(choice.finish.detail)
    logprobs = choice.logprobs
    return {
        "index": choice.index,
        "message": message.finish(),
        "logprobs": None
        if logprobs is None
        else encode_logprobs(logprobs, refusal=bool(message.refusal and not message.texts)),
        "finish_reason": finish_out(choice.finish.kind, calls=calls, legacy=legacy),
    }


def _only_text(choice: Choice) -> str | None:
    """The text of a choice that is nothing else and has ended as most do."""
    if len(choice.parts) != 1 or choice.finish.kind not in _PLAIN_ENDINGS or choice.logprobs is not None:
        return None
    part = choice.parts[0]
    return part.text if isinstance(part, TextPart) and part.signature is None else None


class _MessageWriter:
    """Sorts the parts of an answer into the fields of one message."""

    def __init__(self, path: str, legacy: bool, context: StreamContext, diagnostics: Diagnostics) -> None:
        self._path = path
        self._legacy = legacy
        self._context = context
        self._diagnostics = diagnostics
        self._count = 0
        self._reasoning: list[ReasoningPart] = []
        self._notes: list[JSONValue] = []
        self._images: list[JSONValue] = []
        self._audio: JSONObject | None = None
        self._signature: JSONObject | None = None
        self.texts: list[str] = []
        self.refusal: list[str] = []
        self.calls: list[JSONObject] = []

    def add(self, part: OutputPart) -> None:
        """Take one part."""
        path = f"{self._path}.parts[{self._count}]"
        self._count += 1
        match part:
            case TextPart():
                self.texts.append(part.text)
                self._signature = google_extra(part.signature) or self._signature
            case ReasoningPart():
                self._reasoning.append(part)
            case RefusalPart():
                self.refusal.append(part.text)
            case ToolCallPart():
                self._add_call(part, path)
            case CitationPart():
                note = encode_citation(part)
                if note is None:
                    self._diagnostics.dropped(path, "a citation without an address")
                else:
                    self._notes.append(note)
            case MediaPart():
                self._add_media(part, path)
            case UnknownPart():
                self._diagnostics.dropped(path, f"{part.protocol} {part.kind}".strip())
            case _:
                assert_never(part)

    def _add_call(self, part: ToolCallPart, path: str) -> None:
        if self._legacy and self.calls:
            self._diagnostics.dropped(path, "the functions form has one call only")
            return
        if self._legacy:
            self.calls.append({"name": part.name, "arguments": part.arguments or "{}"})
            return
        identifier = part.id or self._context.new_id("call_")
        self.calls.append(encode_call(part, identifier))

    def _add_media(self, part: MediaPart, path: str) -> None:
        if part.kind == "image" and (image := encode_image(part, len(self._images))) is not None:
            self._images.append(image)
        elif part.kind == "audio" and self._audio is None and isinstance(part.source, Base64Source):
            self._audio = encode_audio(part, part.source, self._context)
        else:
            self._diagnostics.dropped(path, f"{part.kind} output")

    def finish(self) -> JSONObject:
        """The message."""
        silent = bool(self.calls or self.refusal or self._images or self._audio)
        message: JSONObject = {
            "role": "assistant",
            "content": "".join(self.texts) if self.texts or not silent else None,
            "refusal": "".join(self.refusal) if self.refusal else None,
        }
        if self._context.include_thoughts:
            thoughts = "".join(part.text for part in self._reasoning)
            details = all_details(self._reasoning)
            if thoughts:
                message["reasoning_content"] = thoughts
            if details:
                message["reasoning_details"] = details
        if self._notes:
            message["annotations"] = self._notes
        if self._images:
            message["images"] = self._images
        if self._audio is not None:
            message["audio"] = self._audio
        if self.calls and self._legacy:
            message["function_call"] = self.calls[0]
        elif self.calls:
            message["tool_calls"] = [*self.calls]
        if self._signature is not None:
            message["extra_content"] = self._signature
        return message


def encode_call(part: ToolCallPart, identifier: str) -> JSONObject:
    """An entry of `tool_calls`."""
    call: JSONObject
    if part.kind == "custom":
        call = {"id": identifier, "type": "custom", "custom": {"name": part.name, "input": part.arguments}}
    else:
        function: JSONObject = {"name": part.name, "arguments": part.arguments or "{}"}
        call = {"id": identifier, "type": "function", "function": function}
    extra = google_extra(part.signature)
    if extra is not None:
        call["extra_content"] = extra
    return call


def encode_citation(part: CitationPart) -> JSONObject | None:
    """An entry of `annotations`, None where there is no address to name."""
    if part.raw is not None and part.protocol == NAME:
        return part.raw
    if part.url is None:
        return None
    return {
        "type": "url_citation",
        "url_citation": {
            "url": part.url,
            "title": part.title or "",
            "start_index": part.start or 0,
            "end_index": part.end or 0,
        },
    }


def encode_image(part: MediaPart, index: int) -> JSONObject | None:
    """An entry of `images`; the `index` lets SDKs add streams up."""
    url = image_url(part)
    if url is None:
        return None
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


def encode_audio(part: MediaPart, source: Base64Source, context: StreamContext) -> JSONObject:
    """The `audio` of a message. It cannot be referred to later, so it expires at once."""
    return {
        "id": context.new_id("audio_"),
        "data": source.data,
        "expires_at": int(context.clock()),
        "transcript": part.transcript or "",
    }
