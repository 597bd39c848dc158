from __future__ import annotations

import time

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body, send_response
from asgi_llmgw.components.router import RouterMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Principal, Target
from asgi_llmgw.json import as_object, dumps
from asgi_llmgw.routing.health import Health
from asgi_llmgw.routing.policy import Balancer
from asgi_llmgw.routing.routes import Route, RouteTable
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope
from tests.samples import chat_request

pytestmark = pytest.mark.anyio

TABLE = RouteTable(
    [
        Route("smart", (Target("claude", "claude-sonnet-4-5"), Target("openai", "gpt-4o"))),
        Route("gpt-*", (Target("openai", "*"),), on_loss="reject"),
    ]
)


class Inner:
    def __init__(self) -> None:
        self.body = b""
        self.exchange = Exchange("none")
        self.called = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called = True
        self.exchange = scope[SCOPE_KEY]
        self.body = await read_body(receive)
        await send_response(send, 200, b"{}")


def code(body: object) -> object:
    return as_object(as_object(body)["error"])["code"]  # type: ignore[arg-type]


async def test_finds_the_route_and_hands_the_body_on_whole() -> None:
    inner = Inner()
    body = dumps(chat_request("smart", stream=True))
    send = RecordingSend()
    await RouterMiddleware(inner, table=TABLE)(http_scope(), ScriptedReceive(body[:7], body[7:]), send)
    assert inner.body == body
    assert (inner.exchange.model, inner.exchange.route, inner.exchange.stream) == ("smart", "smart", True)
    assert [target.provider for target in inner.exchange.targets] == ["claude", "openai"]


async def test_a_glob_passes_the_clients_name_on() -> None:
    inner = Inner()
    await call(RouterMiddleware(inner, table=TABLE), body=chat_request("gpt-4o-mini"))
    assert inner.exchange.targets == (Target("openai", "gpt-4o-mini"),)
    assert (inner.exchange.route, inner.exchange.on_loss) == ("gpt-*", "reject")


async def test_a_model_that_is_forbidden_looks_like_one_that_does_not_exist() -> None:
    """F067, X1."""
    inner = Inner()
    app = RouterMiddleware(inner, table=TABLE)
    exchange = Exchange("r", principal=Principal("team", ("gpt-*",)))
    forbidden = await call(app, {**http_scope(), SCOPE_KEY: exchange}, chat_request("smart"))
    unknown = await call(app, body=chat_request("smarx"))
    assert forbidden.status == unknown.status == 404
    assert forbidden.body.replace(b"smart", b"smarx") == unknown.body
    assert code(unknown.json) == "model_not_found"
    assert not inner.called


async def test_of_the_fallbacks_those_follow_that_the_caller_may_use() -> None:
    first, spare, secret = Target("claude", "one"), Target("openai", "two"), Target("openai", "three")
    table = RouteTable(
        [
            Route("smart", (first,), fallbacks=("secret", "spare", "gone")),
            Route("spare", (spare, first)),
            Route("secret", (secret,)),
        ]
    )
    inner = Inner()
    app = RouterMiddleware(inner, table=table, balancer=Balancer(Health(clock=time.monotonic)))
    for models, targets in (
        (("*",), (first, secret, spare)),
        (("smart", "spare"), (first, spare)),
        (("smart",), (first,)),
    ):
        exchange = Exchange("r", headers=((b"session-id", b"one"),), principal=Principal("team", models))
        await call(app, {**http_scope(), SCOPE_KEY: exchange}, chat_request("smart"))
        assert inner.exchange.targets == targets
        assert inner.exchange.session == ("one" if len(targets) > 1 else None)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4\nx",
        "gpt-4\u2028",
        "gpt-4 ",
        " gpt-4",
        "gpt-" + "x" * 70_000,
        "gpt-\x00",
        "gрt-4o",
        "",
    ],
)
async def test_strange_names_are_unknown_models(model: str) -> None:
    """F070: control characters, spaces, look-alikes, 64 KB."""
    inner = Inner()
    answer = await call(RouterMiddleware(inner, table=TABLE), body=chat_request(model))
    assert answer.status in (400, 404)
    assert len(answer.body) < 4096
    assert not inner.called


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b'{"model":"gpt-4o","model":"gpt-5","messages":[]}', "model", id="F034_two_models"),
        pytest.param(b'{"model":"gpt-4o","mod\\u0065l":"gpt-5","messages":[]}', "model", id="F034_escaped"),
        pytest.param(b'{"model":"gpt-4o","stream":true,"stream":false}', "stream", id="F034_two_streams"),
        pytest.param(b'{"model":1}', "model", id="F037_model_is_a_number"),
        pytest.param(b'{"messages":[]}', "model", id="F037_no_model"),
        pytest.param(b'{"model":"gpt-4o","stream":"yes"}', "stream", id="F033_stream_is_a_string"),
    ],
)
async def test_ambiguous_and_mistyped_heads_are_refused(body: bytes, param: str) -> None:
    answer = await call(RouterMiddleware(Inner(), table=TABLE), body=body)
    assert answer.status == 400
    assert as_object(as_object(answer.json)["error"])["param"] == param


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd", b"br", b"gzip, gzip"])
async def test_compressed_bodies_are_refused(encoding: bytes) -> None:
    """F041, F042, F043, F044, F045: a body that is never inflated cannot be a bomb, nor cut or broken."""
    headers = ((b"content-type", b"application/json"), (b"content-encoding", encoding))
    answer = await call(RouterMiddleware(Inner(), table=TABLE), http_scope(headers=headers), b"\x1f\x8b")
    assert answer.status == 415
    twice = (*headers, (b"content-encoding", b"identity"))
    answer = await call(RouterMiddleware(Inner(), table=TABLE), http_scope(headers=twice), b"\x1f\x8b")
    assert answer.status == 415


async def test_other_media_types_are_refused() -> None:
    """F047."""
    for kind in (b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded", b"image/png"):
        answer = await call(
            RouterMiddleware(Inner(), table=TABLE), http_scope(headers=((b"content-type", kind),)), b"{}"
        )
        assert answer.status == 415, kind


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"application/vnd.api+json", b""])
async def test_json_types_are_taken(kind: bytes) -> None:
    inner = Inner()
    headers = ((b"content-type", kind),) if kind else ()
    await call(RouterMiddleware(inner, table=TABLE), http_scope(headers=headers), chat_request())
    assert inner.called


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    """F039."""
    receive = ScriptedReceive(b"x")
    send = RecordingSend()
    scope = http_scope(headers=((b"content-length", b"1001"),))
    await RouterMiddleware(Inner(), table=TABLE, max_body=1000)(scope, receive, send)
    assert (send.status, receive.calls) == (413, 0)


async def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    """F040."""
    receive = ScriptedReceive(*[b"x" * 300] * 100)
    send = RecordingSend()
    await RouterMiddleware(Inner(), table=TABLE, max_body=1000)(http_scope(), receive, send)
    assert send.status == 413
    assert receive.calls < 6


async def test_a_client_that_leaves_during_its_body_is_not_dispatched() -> None:
    """F004, F113."""
    inner = Inner()

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    send = RecordingSend()
    exchange = Exchange("r")
    await RouterMiddleware(inner, table=TABLE)({**http_scope(), SCOPE_KEY: exchange}, receive, send)
    assert (send.status, exchange.outcome) == (499, "client_disconnected")
    assert not inner.called


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 1_000_000, id="F027_arrays"),
        pytest.param(b'{"a":' * 100_000, id="F027_objects"),
        pytest.param(b'{"model":"gpt-4o","temperature":NaN}', id="F033_nan"),
        pytest.param(b'{"model":"gpt-\\ud800"}', id="F035"),
        pytest.param(b'{"model":"gpt-\xff"}', id="F036_utf8"),
        pytest.param('{"model":"gpt-4o"}'.encode("utf-16"), id="F036_utf16"),
        pytest.param(b'{"model":"gpt-4o"} {}', id="F037_two_documents"),
        pytest.param(b"", id="F037_empty"),
        pytest.param(b'{"model":"gpt-\x01"}', id="F038"),
    ],
)
async def test_junk_is_a_400_in_shape(body: bytes) -> None:
    inner = Inner()
    answer = await call(RouterMiddleware(inner, table=TABLE), body=body)
    assert answer.status == 400
    assert set(as_object(as_object(answer.json)["error"])) == {"message", "type", "param", "code"}
    assert not inner.called
