"""`data:` URLs, in which pictures and files travel inside JSON."""

from __future__ import annotations

import base64
from urllib.parse import unquote_to_bytes

from asgi_llmgw.ir import Base64Source, UrlSource
from asgi_llmgw.protocols.fields import invalid


def parse_data_url(url: str) -> tuple[str | None, str] | None:
    """Media type and standard base64 of a `data:` URL (RFC 2397), None for any other address.

    Raises:
        ValueError: it begins like one and is not.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise ValueError("a data URL needs a comma")
    media_type, *parameters = (word.strip() for word in head.split(";"))
    if any(word.lower() == "base64" for word in parameters):
        text = "".join(unquote_to_bytes(payload).decode("ascii").split()).replace("-", "+").replace("_", "/")
        text = text.rstrip("=")
        text += "=" * (-len(text) % 4)
        base64.b64decode(text, validate=True)
    else:
        text = base64.b64encode(unquote_to_bytes(payload)).decode()
    return media_type.lower() or "text/plain", text


def data_url(media_type: str | None, data: str) -> str:
    """The `data:` URL of bytes that are base64 already."""
    return f"data:{media_type or 'application/octet-stream'};base64,{data}"


def source_of_url(url: str, path: str) -> tuple[Base64Source | UrlSource, str | None]:
    """A source and its media type, where the URL tells it.

    Raises:
        InvalidRequest: a `data:` URL that cannot be read.
    """
    try:
        parsed = parse_data_url(url)
    except ValueError as exc:
        raise invalid(path, f"Invalid '{path}': not a readable data URL ({exc}).") from None
    if parsed is None:
        return UrlSource(url), None
    media_type, data = parsed
    return Base64Source(data), media_type
