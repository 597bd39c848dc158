"""A vendor that answers whatever it is asked with the recording it was given, and a gateway before it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.gateway import Gateway
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object, as_str, loads
from tests.wire import Recording

KEY = "client-key-of-the-operations"
BOUNDARY = "boundary-of-the-operations"
AUDIO = b"RIFF\x00\r\n--not the boundary\r\n" + bytes(range(256)) * 8


@dataclass
class Asked:
    """One request as the vendor got it."""

    line: str
    head: bytes
    body: bytes


@dataclass
class Vendor:
    """Answers with `answer` (status, content type, body), in pieces; keeps what it was asked."""

    url: str = ""
    answer: tuple[int, bytes, bytes] = (500, b"text/plain", b"")
    asked: list[Asked] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(head, reader)
                self.asked.append(Asked(head.split(b"\r\n")[0].removesuffix(b" HTTP/1.1").decode(), head, body))
                status, kind, answer = self.answer
                told = b"content-type: %b\r\n" % kind if kind else b""
                writer.write(b"HTTP/1.1 %d X\r\n%btransfer-encoding: chunked\r\n\r\n" % (status, told))
                for start in range(0, len(answer), 997):
                    piece = answer[start : start + 997]
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    if length is not None:
        return await reader.readexactly(int(length[1]))
    if b"chunked" not in head.lower():
        return b""
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return bytes(body)


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """Run it on a port of this machine."""
    found = Vendor()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=1 << 20)
    found.url = f"http://127.0.0.1:{cast(int, server.sockets[0].getsockname()[1])}"
    try:
        yield found
    finally:
        server.close()


def gateway(url: str) -> Gateway:
    """With one vendor of OpenAI's kind and one of Gemini's, at the same address."""
    document = {
        "keys": [{"name": "sdk", "key": KEY}, {"name": "small", "key": KEY + "-small", "models": ["text-*"]}],
        "providers": {
            "openai": {"base_url": f"{url}/v1", "api_key": "upstream-key"},
            "gemini": {"base_url": url, "api_key": "upstream-key"},
        },
        "models": {
            "as-openai": {"targets": ["openai/text-embedding-3-small"]},
            "as-gemini": {"targets": ["gemini/gemini-embedding-001"]},
            "text-embedding-005": {"targets": ["gemini/gemini-embedding-001"]},
            "gemini-*": {"targets": ["gemini/*"]},
            "*": {"targets": ["openai/*"]},
        },
        "routing": {"usage": "openai"},
    }
    return build_app(parse_config(document, environ={}), access_log=None)


def answer_of(recording: Recording) -> tuple[int, bytes, bytes]:
    """Status, content type and body of the recorded answer."""
    kind = (as_str(recording.meta.get("content_type")) or "").encode()
    binary = recording.folder / "response.bin"
    body = recording.response or recording.stream
    return recording.status, kind, binary.read_bytes() if body is None else body


def form_of(recording: Recording, model: str) -> bytes:
    """The recorded form, with a file and a model where the recorder has left them out."""
    parts = [as_object(part) for part in as_list(loads((recording.folder / "request.form.json").read_bytes()))]
    fields = [part for part in parts if "name" in part]
    if not fields:
        fields = [{"name": "model", "value": model}, {"name": "file", "filename": "a.wav", "bytes": len(AUDIO)}]
    return b"".join(map(_part, fields)) + b"--" + BOUNDARY.encode() + b"--\r\n"


def _part(part: JSONObject) -> bytes:
    name, filename, value = as_str(part["name"]), as_str(part.get("filename")), as_str(part.get("value"))
    told = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    size = as_int(part.get("bytes")) or 0
    content = (AUDIO * (size // len(AUDIO) + 1))[:size] if filename else (value or "").encode()
    return f"--{BOUNDARY}\r\n{told}\r\n\r\n".encode() + content + b"\r\n"
