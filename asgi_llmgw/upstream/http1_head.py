"""Heads of requests over HTTP/1.1, as bytes. What comes with every call is worked out once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import RequestError

from .base import UpstreamRequest
from .common import OURS, TOKEN, USER_AGENT, bad_header, header_name, unreachable

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:[^\x00-\x20\x7f/?#\\]*@)?"  # who we are is told in headers alone
    r"(?P<host>\[[0-9a-f:.]+\]|[^\x00-\x20\x7f/?#:@\[\]\\]+)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)"
    r"(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)
"""https://www.rfc-editor.org/rfc/rfc9110#name-http-uri-scheme, less what would break out of a line."""

_WITH_A_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods of which the length is told even if it is nothing."""
_USER_AGENT: Final = f"\r\nuser-agent: {USER_AGENT}".encode()

_BARE: Final[tuple[Headers, bytes]] = ((), _USER_AGENT)


class Origin(NamedTuple):
    """Where a connection leads to."""

    tls: bool
    host: str
    port: int


Known: TypeAlias = dict[Origin, tuple[Headers, bytes]]
"""The headers that were sent last to each origin, and their lines: with most calls the very same ones come again."""


def request_head(request: UpstreamRequest, known: Known) -> tuple[Origin, bytes]:
    """Where the call goes, and all that is sent before its body.

    Raises:
        RequestError: a header or a method that would break out of its line.
        UpstreamError: an address that leads nowhere.
    """
    origin, start = _start(request.method, request.url)
    headers, lines = known.get(origin, _BARE)
    if headers is not request.headers:
        lines = _lines(request.headers)
        known[origin] = request.headers, lines
    return origin, b"%b%b%b\r\n\r\n" % (start, lines, _framing(request))


@lru_cache(maxsize=512)
def _start(method: str, url: str) -> tuple[Origin, bytes]:
    """The lines that tell where to."""
    if not TOKEN.fullmatch(method.encode("ascii", "replace")):
        raise RequestError("The method of the request cannot be passed on.", code="invalid_method")
    found = _URL.fullmatch(url)
    if found is None:
        raise unreachable()
    tls = found["scheme"].lower() == "https"
    port = int(found["port"] or (443 if tls else 80))
    try:
        host = found["host"].lower().encode("ascii" if found["host"].isascii() else "idna").decode()
    except UnicodeError as exc:
        raise unreachable() from exc
    if port > 65535:
        raise unreachable()
    named = host if port == (443 if tls else 80) else f"{host}:{port}"
    target = found["target"] if found["target"].startswith("/") else "/" + found["target"]
    start = f"{method} {target} HTTP/1.1\r\nhost: {named}\r\naccept-encoding: identity"
    return Origin(tls, host.strip("[]"), port), start.encode()


def _lines(headers: Headers) -> bytes:
    """The call's own headers, and ourselves named."""
    lines = [label + value for name, value in headers if (label := _label(name))]
    block = b"".join(lines)
    # no more ends of lines than lines, so that none of the values brings its own
    if not block.count(b"\n") == block.count(b"\r") == len(lines) or b"\0" in block or not _is_text(block):
        raise bad_header()
    return block if b"\r\nuser-agent: " in block else block + _USER_AGENT


@lru_cache(maxsize=256)
def _label(name: bytes) -> bytes:
    """How the line of a header begins; nothing for one that is ours to write."""
    return b"" if name in OURS else f"\r\n{header_name(name)}: ".encode()


def _is_text(block: bytes) -> bool:
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _framing(request: UpstreamRequest) -> bytes:
    """How the end of the body is found."""
    length = len(request.body) if request.pieces is None else request.length
    if length is None:
        return b"\r\ntransfer-encoding: chunked"
    return b"\r\ncontent-length: %d" % length if length or request.method in _WITH_A_BODY else b""
