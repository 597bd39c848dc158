"""Where an answer comes from: `groundingMetadata` and `citationMetadata`.

Their offsets count bytes of UTF-8 from the beginning of the candidate's text; ours count characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.ir import CitationPart, Diagnostic
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str

from .wire import PROTOCOL

_SOURCES: Final = ("web", "retrievedContext", "maps")
_NO_PLACE: Final = ("searchEntryPoint", "webSearchQueries", "retrievalMetadata", "googleMapsWidgetContextToken")


class Grounding:
    """Collects the metadata of a candidate, which comes with the last chunks, in part more than once."""

    __slots__ = ("_citations", "_grounding")

    def __init__(self) -> None:
        self._citations: list[JSONObject] = []
        self._grounding: list[JSONObject] = []

    def feed(self, candidate: JSONObject) -> None:
        """Take what one chunk says."""
        grounding = as_object(candidate.get("groundingMetadata"))
        if grounding and grounding not in self._grounding:
            self._grounding.append(grounding)
        metadata = as_object(candidate.get("citationMetadata"))
        for item in as_list(metadata.get("citationSources")) + as_list(metadata.get("citations")):
            if isinstance(item, dict) and item not in self._citations:
                self._citations.append(item)

    def citations(self, text: str) -> Iterator[CitationPart]:
        """All of them, with offsets into the text of the candidate."""
        if not self._grounding and not self._citations:
            return
        data = text.encode("utf-8", "surrogatepass")
        for grounding in self._grounding:
            yield from _supports(grounding, data)
        for item in self._citations:
            start, end = _span(item, data)
            yield CitationPart(
                url=as_str(item.get("uri")),
                title=as_str(item.get("title")),
                start=start,
                end=end,
                protocol=PROTOCOL,
                raw={"citation": item},
            )

    def diagnostics(self, choice: int) -> Iterator[Diagnostic]:
        """What of it is no citation."""
        for name in _NO_PLACE:
            if any(grounding.get(name) for grounding in self._grounding):
                yield Diagnostic(f"candidates[{choice}].groundingMetadata.{name}", "dropped", "info")


def _supports(grounding: JSONObject, data: bytes) -> Iterator[CitationPart]:
    chunks = [as_object(chunk) for chunk in as_list(grounding.get("groundingChunks"))]
    supports = [as_object(support) for support in as_list(grounding.get("groundingSupports"))]
    if not supports:
        for chunk in chunks:
            yield _citation(chunk, {}, data)
    for support in supports:
        segment = as_object(support.get("segment"))
        for index in map(as_int, as_list(support.get("groundingChunkIndices"))):
            if index is not None and 0 <= index < len(chunks):
                yield _citation(chunks[index], segment, data)


def _citation(chunk: JSONObject, segment: JSONObject, data: bytes) -> CitationPart:
    source = next((as_object(chunk[name]) for name in _SOURCES if name in chunk), {})
    start, end = _span(segment, data)
    raw: dict[str, JSONValue] = {"groundingChunk": chunk}
    if segment:
        raw["segment"] = segment
    return CitationPart(
        url=as_str(source.get("uri")),
        title=as_str(source.get("title")),
        start=start,
        end=end,
        quote=as_str(segment.get("text")),
        protocol=PROTOCOL,
        raw=raw,
    )


def _span(place: JSONObject, data: bytes) -> tuple[int | None, int | None]:
    """From bytes to characters; a start of 0 is not written, and a span without an end is none."""
    end = as_int(place.get("endIndex"))
    if end is None:
        return None, None
    return _characters(data, as_int(place.get("startIndex")) or 0), _characters(data, end)


def _characters(data: bytes, offset: int) -> int:
    return len(data[: max(offset, 0)].decode("utf-8", "ignore"))
