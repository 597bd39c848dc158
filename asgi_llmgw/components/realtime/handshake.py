"""A WebSocket begins as an HTTP request, and that is what the components between server and vendor get to see.

So they know, limit, count and log it as any other request, and nothing of them is about WebSockets: an answer 101
accepts it, any other one denies it, and the end of the answer's body is its end. The innermost app finds the frames in
the scope.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.asgi import headers_of, route_path
from asgi_llmgw.components.realtime.socket import SOCKET_KEY, ClientSocket
from asgi_llmgw.render import POLICY_VIOLATION
from asgi_llmgw.routing.endpoints import Endpoint, match_endpoint

ACCEPTED: Final = 101
KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""Browsers cannot set headers, so their key is in a subprotocol: https://platform.openai.com/docs/guides/realtime."""
_ACCOUNT: Final = ("openai-organization.", "openai-project.")
"""Subprotocols that name an account of the vendor's; the account is the operator's."""
_LAST_WORD: Final = 1.0
_SCHEMES: Final = {"ws": "http", "wss": "https"}
_DENIAL: Final = "websocket.http.response"


class HandshakeMiddleware:
    """Hands realtime WebSockets on as GET requests with a `ClientSocket` in their scope; all else as it comes.

    A key among the subprotocols becomes an `api-key` header. Where the server cannot deny with an answer of ours, the
    client gets the server's 403.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or not _is_realtime(scope):
            await self._app(scope, receive, send)
            return
        if (await receive())["type"] != "websocket.connect":
            return
        offered = [str(name) for name in scope.get("subprotocols") or ()]
        socket = ClientSocket(receive, send, offered=_without_secrets(offered))
        answer = _Answer(socket, send, whole=_DENIAL in (scope.get("extensions") or {}))
        try:
            await self._app(_request(scope, socket, offered), _receiving(socket), answer)
        finally:
            with anyio.move_on_after(_LAST_WORD, shield=True):
                await answer.finish()


class _Answer:
    """A `send` for an HTTP answer that speaks to a WebSocket."""

    def __init__(self, socket: ClientSocket, send: Send, *, whole: bool) -> None:
        self._socket = socket
        self._send = send
        self._whole = whole

    async def __call__(self, message: Message) -> None:
        socket = self._socket
        if socket.gone is not None:
            return
        more = bool(message.get("more_body", False))
        if message["type"] == "http.response.start" and message["status"] == ACCEPTED:
            await socket.accept(message.get("headers") or ())
        elif socket.accepted:
            if not more:
                await socket.close()
        elif self._whole:
            await self._send({**message, "type": message["type"].replace("http.response", _DENIAL, 1)})
        elif not more and message["type"] == "http.response.body":
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})

    async def finish(self) -> None:
        """Close what was accepted and not closed: the app was cut off, or has failed."""
        if self._socket.accepted:
            await self._socket.close()


def _receiving(socket: ClientSocket) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receiving() -> Message:
        if messages:
            return messages.pop()
        await socket.left()
        return {"type": "http.disconnect"}

    return receiving


def _request(scope: Scope, socket: ClientSocket, offered: Iterable[str]) -> Scope:
    keys = (name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL))
    given: Headers = tuple((b"api-key", key.encode("latin-1", "replace")) for key in keys)
    headers = [pair for pair in headers_of(scope) if not pair[0].startswith(b"sec-websocket-")]
    scheme = str(scope.get("scheme") or "ws")
    return {
        **scope,
        "type": "http",
        "method": "GET",
        "scheme": _SCHEMES.get(scheme, scheme),
        "headers": [*headers, *given],
        "subprotocols": list(socket.offered),
        SOCKET_KEY: socket,
    }


def _without_secrets(offered: Iterable[str]) -> list[str]:
    return [name for name in offered if not name.startswith((KEY_PROTOCOL, *_ACCOUNT))]


def _is_realtime(scope: Scope) -> bool:
    found = match_endpoint("GET", route_path(scope), headers_of(scope))
    return isinstance(found, Endpoint) and found.operation == "realtime"
