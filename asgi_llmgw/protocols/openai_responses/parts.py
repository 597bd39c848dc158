"""The content of messages and of tools' results, read."""

from __future__ import annotations

import msgspec

from asgi_llmgw.ir import (
    CacheMark,
    CitationPart,
    Extension,
    MediaPart,
    Part,
    RefusalPart,
    TextPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, as_int, as_object, as_str
from asgi_llmgw.protocols.fields import Fields, invalid, wrong_type

from .media import decode_audio, decode_file, decode_image
from .wire import NAME, PART_FIELDS


def citation(note: JSONObject, offset: int = 0) -> CitationPart:
    """An entry of `annotations`. Its place is counted from the beginning of its part, which is at `offset`."""
    start, end = as_int(note.get("start_index")), as_int(note.get("end_index"))
    return CitationPart(
        url=as_str(note.get("url")),
        title=as_str(note.get("title")) or as_str(note.get("filename")),
        start=None if start is None else start + offset,
        end=None if end is None else end + offset,
        protocol=NAME,
        raw=note,
    )


class ContentDecoder:
    """Reads content; `extensions` is what stood in it and means something to nobody else."""

    __slots__ = ("extensions",)

    def __init__(self) -> None:
        self.extensions: list[Extension] = []

    def content(self, item: Fields, key: str, *, phase: str | None = None) -> list[Part]:
        """A text, or a list of parts.

        Raises:
            InvalidRequest: it cannot be read.
        """
        value = item.data.get(key)
        if isinstance(value, str):
            return [TextPart(value, phase=phase)]
        if not isinstance(value, list):
            raise wrong_type(item.at(key), "a string or an array", value)
        parts: list[Part] = []
        for part in item.objects(key):
            parts += self._part(part, phase)
        return parts

    def result(self, item: Fields) -> tuple[TextPart | MediaPart | UnknownPart, ...]:
        """The output of a tool."""
        parts = self.content(item, "output") if item.has("output") else []
        return tuple(part for part in parts if isinstance(part, (TextPart, MediaPart, UnknownPart)))

    def _part(self, part: Fields, phase: str | None) -> list[Part]:
        kind = part.required_text("type")
        for key, value in part.data.items():
            if key not in PART_FIELDS.get(kind, {key}) and value is not None:
                self.extensions.append(Extension(NAME, part.at(key), value))
        mark = part.object("prompt_cache_breakpoint")
        cache = CacheMark(mark.text("ttl")) if mark is not None else None
        match kind:
            case "input_text" | "output_text" | "text":
                text = TextPart(part.required_text("text"), cache, phase=phase)
                return [text, *(citation(as_object(note)) for note in part.array("annotations"))]
            case "refusal":
                return [RefusalPart(part.required_text("refusal"))]
            case "input_image":
                return [msgspec.structs.replace(decode_image(part), cache=cache)]
            case "input_file":
                return [msgspec.structs.replace(decode_file(part), cache=cache)]
            case "input_audio":
                return [decode_audio(part)]
            case _:
                supported = ", ".join(repr(name) for name in PART_FIELDS)
                raise invalid(part.at("type"), f"Invalid value: '{kind}'. Supported values are: {supported}.")
