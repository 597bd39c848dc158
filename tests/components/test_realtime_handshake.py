"""HandshakeMiddleware and RealtimeEntrance alone: WebSockets to those that know HTTP."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.app import build_app
from asgi_llmgw.asgi import ClientDisconnected, read_body, send_response
from asgi_llmgw.components.realtime import SOCKET_KEY, ClientSocket, HandshakeMiddleware, RealtimeEntrance
from asgi_llmgw.components.realtime.socket import sendable
from asgi_llmgw.config import parse_config
from asgi_llmgw.exchange import Exchange, Principal
from asgi_llmgw.json import as_object, loads
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope
from asgi_llmgw.upstream.websocket import Closed
from tests.realtime.client import Client, websocket_scope

pytestmark = pytest.mark.anyio


async def accepts(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, says back what it hears, and leaves with the client."""
    socket = scope[SOCKET_KEY]
    assert isinstance(socket, ClientSocket)
    await send({"type": "http.response.start", "status": 101, "headers": [(b"x-request-id", b"req_1")]})
    while not isinstance(frame := await socket.receive(), Closed):
        await socket.send(frame)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def denies(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, 401, b"{}", headers=((b"content-type", b"application/json"),))


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "http", "path": "/v1/realtime"},
        websocket_scope("/v1/responses"),
        websocket_scope("/host"),
        websocket_scope("/v1/realtime/calls"),
    ],
    ids=lambda scope: f"{scope['type']} {scope.get('path', '')}",
)
async def test_everything_else_is_handed_on_as_it_came(scope: Scope) -> None:
    seen: list[tuple[Scope, Receive, Send]] = []

    async def app(*given: object) -> None:
        seen.append(given)  # type: ignore[arg-type]

    receive, send = ScriptedReceive(), RecordingSend()
    await HandshakeMiddleware(app)(scope, receive, send)
    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope


async def test_a_handshake_is_a_get_request_without_secrets_in_its_subprotocols() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        assert await read_body(receive) == b""
        await denies(scope, receive, send)

    offered = ["realtime", "openai-insecure-api-key.secret", "openai-organization.org-1", "mine"]
    header = (b"Sec-WebSocket-Protocol", ", ".join(offered).encode())
    scope = websocket_scope(headers=[header, (b"Host", b"here")], subprotocols=offered)
    before = dict(scope)
    await Client(HandshakeMiddleware(app), scope).run()
    assert scope == before
    (found,) = seen
    assert (found["type"], found["method"], found["scheme"]) == ("http", "GET", "http")
    assert found["headers"] == [(b"host", b"here"), (b"api-key", b"secret")]
    assert found["subprotocols"] == ["realtime", "mine"]
    assert found[SOCKET_KEY].offered == ("realtime", "mine")


async def test_an_answer_101_accepts_and_frames_are_whole() -> None:
    client = Client(HandshakeMiddleware(accepts))
    client.says("text")
    client.says(b"\0bytes")
    client.leaves(4000, "bye")
    await client.run()
    assert client.sent == [
        {"type": "websocket.accept", "subprotocol": None, "headers": [(b"x-request-id", b"req_1")]},
        {"type": "websocket.send", "text": "text"},
        {"type": "websocket.send", "bytes": b"\0bytes"},
    ]


async def test_another_answer_denies_with_its_own_words() -> None:
    client = Client(HandshakeMiddleware(denies))
    await client.run()
    assert [message["type"] for message in client.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (client.sent[0]["status"], client.sent[1]["body"]) == (401, b"{}")


async def test_a_server_that_cannot_deny_with_words_closes() -> None:
    client = Client(HandshakeMiddleware(denies), websocket_scope(extensions={}))
    await client.run()
    assert client.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_a_client_that_leaves_early_is_told_to_who_waits_for_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        assert (await receive())["type"] == "http.disconnect"
        await send_response(send, 499, b"")

    client = Client(HandshakeMiddleware(app))
    client.leaves(1006)
    await client.run()
    assert client.sent == []


async def test_who_never_connects_is_nobody() -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("there is no client")

    client = Client(HandshakeMiddleware(never), connects=False)
    client.leaves(1006)
    await client.run()
    assert client.sent == []


async def test_an_app_that_fails_after_accepting_closes_with_1011() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 101})
        raise RuntimeError("oh")

    client = Client(HandshakeMiddleware(app))
    with pytest.raises(RuntimeError, match="oh"):
        await client.run()
    assert client.sent[-1] == {"type": "websocket.close", "code": 1011, "reason": ""}


@pytest.mark.parametrize("error", [OSError(), RuntimeError("after sending 'websocket.close'")])
async def test_what_servers_raise_for_clients_that_have_gone_is_one_thing(error: Exception) -> None:
    async def send(message: Message) -> None:
        raise error

    socket = ClientSocket(ScriptedReceive(), send)
    with pytest.raises(ClientDisconnected):
        await socket.send("hello")
    await socket.close()


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        *((1000, 1000), (1001, 1001), (1005, 1000), (1006, 1001), (1004, 1001), (1015, 1001), (1011, 1011)),
        *((1014, 1014), (0, 1001), (2999, 1001), (3000, 3000), (4999, 4999), (5000, 1001)),
    ],
)
def test_only_codes_that_may_be_sent_are_sent(code: int, sent: int) -> None:
    assert sendable(code) == sent


async def test_a_long_farewell_is_cut_between_two_characters() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    socket = ClientSocket(ScriptedReceive(), send)
    socket.farewell = Closed(4000, "é" * 100)
    await socket.close()
    await socket.close()
    assert sent == [{"type": "websocket.close", "code": 4000, "reason": "é" * 61}]


async def test_the_model_of_the_address_becomes_the_body() -> None:
    bodies: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append(loads(await read_body(receive)))
        await denies(scope, receive, send)

    client = Client(HandshakeMiddleware(RealtimeEntrance(app)), websocket_scope(query=b"model=a%2Fb%20c&x=1"))
    await client.run()
    assert bodies == [{"model": "a/b c"}]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param(b"https://here:8080", 401, id="own"),
        pytest.param(b"HTTP://HERE:8080", 401, id="own_in_capitals"),
        pytest.param(b"https://here", 403, id="other_port"),
        pytest.param(b"https://here:8080.evil", 403, id="begins_alike"),
        pytest.param(b"null", 403, id="none_of_its_own"),
        pytest.param(b"", 403, id="empty"),
        pytest.param(b"http://[", 403, id="no_address"),
    ],
)
async def test_only_pages_of_the_own_origin_come_in(origin: bytes, status: int) -> None:
    scope = websocket_scope(headers=[(b"host", b"here:8080"), (b"origin", origin)])
    client = Client(HandshakeMiddleware(RealtimeEntrance(denies)), scope)
    await client.run()
    assert client.sent[0]["status"] == status


async def test_a_request_without_a_socket_is_told_what_is_missing() -> None:
    answer = await call(RealtimeEntrance(denies), http_scope("GET", "/v1/realtime", query=b"model=x"))
    assert answer.status == 426
    assert as_object(as_object(answer.json)["error"])["code"] == "websocket_required"


async def test_a_client_that_leaves_at_the_door_is_noted() -> None:
    exchange = Exchange(request_id="req_1")
    receive = ScriptedReceive(b"")
    receive._messages.clear()
    receive.disconnect()
    send = RecordingSend()
    await RealtimeEntrance(denies)({**http_scope("GET", "/v1/realtime"), "asgi_llmgw": exchange}, receive, send)
    assert (exchange.outcome, send.status) == ("client_disconnected", 499)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param({"verify": True}, 403, id="the_host_says_who"),
        pytest.param({"trust_scope_user": True}, 403, id="the_hosts_sessions_do"),
        pytest.param({}, 400, id="keys_alone"),
    ],
)
async def test_whom_a_cookie_may_vouch_for_comes_from_pages_of_the_own_origin(
    options: dict[str, bool], status: int
) -> None:
    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        return Principal("host")

    config = parse_config({"keys": [{"name": "team", "key": "a-long-enough-secret"}]}, environ={})
    gateway = build_app(
        config,
        verify=verify if options.get("verify") else None,
        trust_scope_user=options.get("trust_scope_user", False),
        access_log=None,
    )
    headers = [(b"host", b"here"), (b"origin", b"https://there"), (b"api-key", b"a-long-enough-secret")]
    client = Client(gateway, websocket_scope(headers=headers))
    await client.run()
    assert client.sent[0]["status"] == status
