"""Answers a component gives by itself: an error in the client's protocol, a small JSON document, a refused WebSocket.

Nothing but health checks may be kept by a shared cache, so each answer says `private, no-store`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from asgi_llmgw._types import Headers, Scope, Send
from asgi_llmgw.errors import GatewayError, RequestError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols import codec, upstream_codec

NO_STORE: Final = (b"cache-control", b"private, no-store")
DEFAULT_PROTOCOL: Final[Protocol] = "openai_chat"
"""What an error is written in when nobody knows what the client speaks."""

POLICY_VIOLATION: Final = 1008
_MAX_TEXT: Final = 1000


def request_id_headers(protocol: Protocol | None, request_id: str) -> list[tuple[bytes, bytes]]:
    """`x-request-id`, and the header the client's protocol has for it (https://docs.anthropic.com/en/api/errors)."""
    value = request_id.encode("ascii", "replace")
    headers = [(b"x-request-id", value)]
    if protocol == "anthropic_messages":
        headers.append((b"request-id", value))
    return headers


def lost_headers(exchange: Exchange) -> Headers:
    """What a translation has lost, for whoever looks: how many things, and of which kinds."""
    if not exchange.diagnostics or exchange.on_loss == "allow":
        return ()
    lost = [item for item in exchange.diagnostics if item.severity != "info"]
    if not lost:
        return ()
    codes = ",".join(sorted({item.code for item in lost}))
    return ((b"x-llmgw-diagnostics", f"{len(lost)}; codes={codes}".encode()),)


async def send_error(
    send: Send,
    error: GatewayError,
    protocol: Protocol | None,
    *,
    request_id: str,
    extra_headers: Iterable[tuple[bytes, bytes]] = (),
    head: bool = False,
    status: int | None = None,
) -> None:
    """Answer with an error in the client's own shape.

    Args:
        protocol: what the client speaks; None if that is unknown.
        status: instead of the one the error has in that protocol.
        extra_headers: more headers for this answer (`allow`).
        head: the request was a HEAD: the answer has no body.
    """
    encoded = upstream_codec(protocol or DEFAULT_PROTOCOL).encode_error(_bounded(error), request_id=request_id)
    headers = [*encoded.headers, NO_STORE, *request_id_headers(protocol, request_id), *extra_headers]
    if error.retry_after is not None and all(name != b"retry-after" for name, _ in headers):
        headers.append((b"retry-after", str(max(0, math.ceil(error.retry_after))).encode()))
    await send_document(send, status or encoded.status, encoded.body, headers=headers, head=head)


async def send_json(
    send: Send,
    status: int,
    value: object,
    *,
    request_id: str | None = None,
    extra_headers: Iterable[tuple[bytes, bytes]] = (),
    head: bool = False,
) -> None:
    """Answer with a JSON document."""
    headers = [(b"content-type", b"application/json"), NO_STORE, *extra_headers]
    if request_id is not None:
        headers += request_id_headers(None, request_id)
    await send_document(send, status, dumps(value), headers=headers, head=head)


async def send_document(
    send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]], head: bool = False
) -> None:
    """One whole answer; for a HEAD its length is told and its body left out."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": b"" if head else body, "more_body": False})


UPGRADE_REQUIRED: Final = 426
"""What clients of Responses that try a WebSocket first take for "use HTTP"; after other answers they try again."""


def no_websockets() -> RequestError:
    """There are no WebSockets here."""
    return RequestError(
        "WebSockets are not served here: send the request with POST and take the answer as server-sent events.",
        kind="method_not_allowed",
        code="websockets_not_served",
    )


async def deny_websocket(scope: Scope, send: Send) -> None:
    """Refuse a WebSocket before it is accepted: with a 426, or where the server cannot say that, its 403.

    https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
    """
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    body = codec(DEFAULT_PROTOCOL).encode_error(no_websockets()).body
    headers = [(b"content-type", b"application/json"), NO_STORE, (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": UPGRADE_REQUIRED, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _bounded(error: GatewayError) -> GatewayError:
    """The same error with a message short enough for an error body: clients' texts come back in messages."""
    param = error.param
    if len(error.message) <= _MAX_TEXT and (param is None or len(param) <= _MAX_TEXT):
        return error
    return GatewayError(
        error.message[:_MAX_TEXT],
        kind=error.kind,
        param=None if param is None else param[:_MAX_TEXT],
        code=error.code,
        retry_after=error.retry_after,
    )
