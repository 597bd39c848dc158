"""EndpointsMiddleware alone."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.endpoints import EndpointsMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import as_object
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio


class Inner:
    """An app that keeps the scope it was called with."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send_response(send, 200, b"{}")

    @property
    def exchange(self) -> Exchange:
        found = self.scopes[0][SCOPE_KEY]
        assert isinstance(found, Exchange)
        return found


async def test_tells_the_operation_the_protocol_and_the_template() -> None:
    inner = Inner()
    scope = http_scope(path="/v1/v1/chat/completions")
    before = dict(scope)
    await call(EndpointsMiddleware(inner), scope)
    assert inner.exchange.operation == "chat"
    assert inner.exchange.client_protocol == "openai_chat"
    assert inner.exchange.endpoint == "/v1/chat/completions"
    assert scope == before


async def test_tells_the_model_of_the_path() -> None:
    inner = Inner()
    await call(EndpointsMiddleware(inner), http_scope("GET", "/v1/models/meta/llama:free"))
    assert inner.exchange.operation == "model"
    assert inner.exchange.model == "meta/llama:free"


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        pytest.param("/gw/v1/chat/completions", "/gw", id="F074-path_whole"),
        pytest.param("/v1/chat/completions", "/gw", id="F074-path_stripped"),
        pytest.param("/api/gw/v1/chat/completions", "/api/gw", id="F075-nested"),
        pytest.param("/v1/chat/completions", "/v1", id="mounted_at_v1"),
        pytest.param("/gw/v1/chat/completions", "/gw/", id="slash_after_the_mount_point"),
    ],
)
async def test_finds_its_paths_below_a_mount_point(path: str, root_path: str) -> None:
    inner = Inner()
    answer = await call(EndpointsMiddleware(inner), http_scope(path=path, root_path=root_path))
    assert answer.status == 200


async def test_a_mount_point_ends_at_a_segment() -> None:
    """F076"""
    answer = await call(EndpointsMiddleware(Inner()), http_scope(path="/gwx/v1/chat/completions", root_path="/gw"))
    assert answer.status == 404


@pytest.mark.parametrize("host", [b"ok/health?x=", b"#", b"", b"a" * 10_000])
async def test_the_host_header_decides_nothing(host: bytes) -> None:
    """F013"""
    inner = Inner()
    await call(EndpointsMiddleware(inner), http_scope(headers=[(b"host", host), (b"host", b"two")]))
    assert inner.exchange.operation == "chat"


async def test_an_unknown_path_is_answered_in_openais_shape() -> None:
    """F077, F079"""
    answer = await call(EndpointsMiddleware(Inner()), http_scope(path="/api/create"))
    assert answer.status == 404
    assert as_object(as_object(answer.json)["error"])["code"] == "unknown_url"
    assert b"location" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "get", "PoST", "CONNECT", "TRACE", "X" * 10_240])
async def test_a_wrong_method_is_told_which_ones_there_are(method: str) -> None:
    """F012, F078: no CORS by default either."""
    send = RecordingSend()
    scope = http_scope(method, headers=[(b"origin", b"https://evil.example")])
    await EndpointsMiddleware(Inner())(scope, ScriptedReceive(), send)
    assert send.finished
    assert send.status == 405
    assert send.headers[b"allow"] == b"POST"
    assert (send.body == b"") is (method == "HEAD")
    assert not any(name.startswith(b"access-control") for name in send.headers)


async def test_a_refusal_is_recorded() -> None:
    exchange = Exchange("req_1")
    answer = await call(EndpointsMiddleware(Inner()), {**http_scope("PUT"), SCOPE_KEY: exchange})
    assert answer.headers[b"x-request-id"] == b"req_1"
    assert exchange.outcome == "rejected"
    assert exchange.failure is not None and exchange.failure.kind == "method_not_allowed"
    assert exchange.endpoint == "/v1/chat/completions"


async def test_a_hosts_own_app_gets_everything_else_as_it_came() -> None:
    inner, host = Inner(), Inner()
    app = EndpointsMiddleware(inner, fallback=host)
    scope = http_scope(path="/about")
    await call(app, scope)
    await call(app, http_scope())
    assert host.scopes[0] is scope
    assert len(host.scopes) == len(inner.scopes) == 1


async def test_websockets_belong_to_the_host_if_there_is_one() -> None:
    host = Inner()
    scope: Scope = {"type": "websocket", "path": "/chat"}
    await EndpointsMiddleware(Inner(), fallback=host)(scope, ScriptedReceive(), RecordingSend())
    assert host.scopes[0] is scope


async def test_tells_the_stored_response_of_the_path() -> None:
    inner = Inner()
    await call(EndpointsMiddleware(inner), http_scope("DELETE", "/v1/responses/resp_1"))
    assert (inner.exchange.operation, inner.exchange.response_id) == ("stored_response", "resp_1")
    assert inner.exchange.model is None


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket"])
async def test_an_upgrade_that_a_server_hands_on_is_answered_426(upgrade: bytes) -> None:
    """F081: coding agents try a WebSocket first and take this answer, and no other, for "use HTTP"."""
    headers = ((b"connection", b"Upgrade"), (b"upgrade", upgrade))
    answer = await call(EndpointsMiddleware(Inner()), http_scope("GET", "/v1/responses", headers=headers))
    assert answer.status == 426
    assert as_object(as_object(answer.json)["error"])["code"] == "websockets_not_served"
    plain = await call(EndpointsMiddleware(Inner()), http_scope("GET", "/v1/responses", headers=()))
    assert plain.status == 405


@pytest.mark.parametrize("path", ["/v1/responses", "/responses", "/v1/v1/responses"])
async def test_a_websocket_at_our_own_path_is_not_the_hosts(path: str) -> None:
    """F081"""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    host = Inner()
    scope: Scope = {"type": "websocket", "path": path, "extensions": {"websocket.http.response": {}}}
    await EndpointsMiddleware(Inner(), fallback=host)(scope, ScriptedReceive(), send)
    assert host.scopes == []
    assert sent[0]["status"] == 426


async def test_a_websocket_is_denied_before_it_is_accepted() -> None:
    """F020, F081"""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await EndpointsMiddleware(Inner())({"type": "websocket", "path": "/"}, ScriptedReceive(), send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


async def test_an_unknown_scope_type_is_an_exception_that_names_it() -> None:
    """F020"""
    with pytest.raises(ValueError, match="foo"):
        await EndpointsMiddleware(Inner())({"type": "foo"}, ScriptedReceive(), RecordingSend())


async def test_lifespan_goes_to_the_app() -> None:
    inner, host = Inner(), Inner()
    scope: Scope = {"type": "lifespan"}
    await EndpointsMiddleware(inner, fallback=host)(scope, ScriptedReceive(), RecordingSend())
    assert inner.scopes[0] is scope
    assert host.scopes == []
