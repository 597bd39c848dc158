"""Citations as `groundingMetadata` and `citationMetadata`: the way back from `grounding`."""

from __future__ import annotations

from collections.abc import Iterable

from asgi_llmgw.ir import CitationPart
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps
from asgi_llmgw.protocols.base import Diagnostics

from .wire import PROTOCOL


def encode_citations(citations: Iterable[CitationPart], text: str, path: str, lost: Diagnostics) -> JSONObject:
    """The candidate's members that tell where its text comes from; empty where there is nothing to tell."""
    listed: list[JSONValue] = []
    chunks: dict[bytes, tuple[int, JSONObject]] = {}
    supports: dict[bytes, tuple[JSONObject, dict[int, None]]] = {}
    for part in citations:
        raw = part.raw if part.protocol == PROTOCOL and part.raw is not None else {}
        if isinstance(raw.get("citation"), dict):
            listed.append(raw["citation"])
            continue
        own = raw.get("groundingChunk")
        chunk = own if isinstance(own, dict) else _web(part)
        if chunk is None:
            lost.dropped(path, "a citation without an address")
            continue
        index, _ = chunks.setdefault(dumps(chunk), (len(chunks), chunk))
        segment = as_object(raw.get("segment")) if own is not None else _segment(part, text)
        if segment:
            supports.setdefault(dumps(segment), (segment, {}))[1][index] = None
    told: JSONObject = {}
    if chunks:
        told["groundingMetadata"] = {
            "groundingChunks": [chunk for _, chunk in chunks.values()],
            "groundingSupports": [{"segment": s, "groundingChunkIndices": list(of)} for s, of in supports.values()],
        }
    if listed:
        told["citationMetadata"] = {"citationSources": listed}
    return told


def _web(part: CitationPart) -> JSONObject | None:
    if part.url is None:
        return None
    return {"web": {"uri": part.url} if part.title is None else {"uri": part.url, "title": part.title}}


def _segment(part: CitationPart, text: str) -> JSONObject:
    """Offsets in bytes of UTF-8, where ours count characters."""
    if part.end is None:
        return {"text": part.quote} if part.quote else {}
    start = min(part.start or 0, part.end)
    cited = text[start : part.end]
    begin = len(text[:start].encode("utf-8", "surrogatepass"))
    end = begin + len(cited.encode("utf-8", "surrogatepass"))
    return {"startIndex": begin, "endIndex": end, "text": part.quote or cited}
