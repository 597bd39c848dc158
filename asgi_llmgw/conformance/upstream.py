"""A vendor that follows scripts, on a raw socket: what it writes is what arrives, byte for byte.

The path says which protocol it is asked in, the prompt which case is wanted: it contains `[conformance CASE RUN]`.
So a gateway needs to know four models, however many cases there are, and no name has to survive its routing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from asgi_llmgw.conformance.script import JSON, KEY, Script
from asgi_llmgw.conformance.vendors import VENDORS
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, JSONObject, loads_object

BASES: Final[dict[Protocol, str]] = {
    "openai_chat": "/openai/v1",
    "openai_responses": "/openai/v1",
    "anthropic_messages": "/anthropic",
    "gemini_generate": "/gemini",
}
"""Where each protocol begins: what a gateway is given as the vendor's base URL, behind the address."""

_MARK: Final = re.compile(rb"\[conformance ([a-z0-9-]+) ([a-z0-9]+)\]")
_PAUSE: Final = 0.003
_NOTHING: Final = Script(
    (b'{"error":{"message":"The scripted vendor has nothing here.","type":"not_found_error"}}',), 404, JSON
)


def mark(case: str, run: str) -> str:
    """What a prompt contains so that the scripted vendor knows what to do."""
    return f"[conformance {case} {run}]"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the vendor got it."""

    protocol: Protocol
    stream: bool
    body: JSONObject
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedVendor:
    """The vendor. `asked` has every request by its run, in the order they came."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Asked]] = {}
        self._connections: set[asyncio.StreamWriter] = set()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request: every answer is the last one of its connection."""
        self._connections.add(writer)
        try:
            request = await _read(reader, writer)
            if request is not None:
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # the gateway left, or does not speak HTTP/1.1: its client's side will tell
        finally:
            self._connections.discard(writer)
            writer.close()

    def close(self) -> None:
        """Leave whoever is still connected."""
        for writer in self._connections:
            writer.transport.abort()

    async def _answer(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        script, key = self._script(request)
        await _write(writer, script, key.encode() or b"none")

    def _script(self, request: _Request) -> tuple[Script, str]:
        protocol = _protocol(request.path)
        marked = _MARK.search(request.body)
        if request.method != "POST" or protocol is None or marked is None:
            return _NOTHING, ""
        try:
            body = loads_object(request.body)
        except JSONError:
            return _NOTHING, ""
        stream = ":streamGenerateContent" in request.path or body.get("stream") is True
        case, run = (group.decode() for group in marked.groups())
        asked = Asked(protocol, stream, body, _key(request))
        self.asked.setdefault(run, []).append(asked)
        return VENDORS[protocol].script(case, stream=stream) or _NOTHING, asked.key


@asynccontextmanager
async def scripted_vendor(host: str, port: int) -> AsyncIterator[tuple[ScriptedVendor, str]]:
    """A vendor that listens, and its address; port 0 takes any that is free.

    Raises:
        ConfigError: it cannot listen there.
    """
    vendor = ScriptedVendor()
    try:
        server = await asyncio.start_server(vendor.serve_connection, host, port)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    try:
        yield vendor, f"http://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        vendor.close()
        await server.wait_closed()


def _protocol(path: str) -> Protocol | None:
    plain = path.partition("?")[0]
    if plain.endswith("/chat/completions"):
        return "openai_chat"
    if plain.endswith("/responses"):
        return "openai_responses"
    if plain.endswith("/messages"):
        return "anthropic_messages"
    if plain.endswith((":generateContent", ":streamGenerateContent")):
        return "gemini_generate"
    return None


def _key(request: _Request) -> str:
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if name in request.headers:
            return request.headers[name]
    return request.headers.get("authorization", "").removeprefix("Bearer ")


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Request | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _Request(method, path, headers, await _read_chunks(reader))
    return _Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)


async def _write(writer: asyncio.StreamWriter, script: Script, key: bytes) -> None:
    lines = [
        f"HTTP/1.1 {script.status} {HTTPStatus(script.status).phrase if script.status != 529 else 'Overloaded'}",
        *(f"{name}: {value}" for name, value in script.headers),
        "transfer-encoding: chunked",
        "connection: close",
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    for piece in script.pieces:
        data = piece.replace(KEY, key)
        if data:
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        if script.slow:
            await asyncio.sleep(_PAUSE)
    if script.ending == "end":
        writer.write(b"0\r\n\r\n")
    await writer.drain()
