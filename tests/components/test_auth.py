"""AuthMiddleware alone."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from asgi_llmgw._types import Headers, Message, Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.auth import AuthMiddleware, Key, hash_key
from asgi_llmgw.errors import AuthError, ConfigError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation, Principal
from asgi_llmgw.json import as_object
from asgi_llmgw.routing.endpoints import ENDPOINTS, Endpoint, EndpointRow, match_endpoint
from asgi_llmgw.testing import Answer, FakeClock, RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

SECRET = "sk-team-a-0123456789abcdefghij"
OTHER_SECRET = "sk-team-a-0123456789abcdefghik"
TEAM_A = Key("team-a", hash_key(SECRET), models=("gpt-*",))
TEAM_B = Key("team-b", hash_key(OTHER_SECRET))


class Inner:
    """An app that keeps the scope it was called with."""

    def __init__(self) -> None:
        self.scope: Scope | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        if scope["type"] == "http":
            await send_response(send, 200, b"{}")

    @property
    def principal(self) -> Principal | None:
        assert self.scope is not None
        found = self.scope[SCOPE_KEY].principal
        assert found is None or isinstance(found, Principal)
        return found


async def ask(
    headers: Headers = (), query: bytes = b"", *, keys: tuple[Key, ...] = (TEAM_A, TEAM_B)
) -> tuple[Answer, Inner]:
    inner = Inner()
    answer = await call(AuthMiddleware(inner, keys=keys), http_scope(headers=headers, query=query))
    return answer, inner


def code(answer: Answer) -> object:
    return as_object(as_object(answer.json)["error"])["code"]


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param(((b"authorization", b"Bearer " + SECRET.encode()),), b"", id="bearer"),
        pytest.param(((b"authorization", b"bearer " + SECRET.encode()),), b"", id="F058-lower_case"),
        pytest.param(((b"authorization", b"BEARER   " + SECRET.encode()),), b"", id="F058-several_spaces"),
        pytest.param(((b"x-api-key", SECRET.encode()),), b"", id="x_api_key"),
        pytest.param(((b"X-Api-Key", SECRET.encode()),), b"", id="F017-upper_case_name"),
        pytest.param(((b"x-goog-api-key", SECRET.encode()),), b"", id="x_goog_api_key"),
        pytest.param(((b"api-key", b" " + SECRET.encode() + b" "),), b"", id="api_key_with_spaces"),
        pytest.param((), b"alt=sse&key=" + SECRET.encode(), id="query"),
        pytest.param(((b"x-goog-api-key", SECRET.encode()),), b"key=" + SECRET.encode(), id="same_in_two_places"),
        pytest.param(((b"x-api-key", SECRET.encode()), (b"x-api-key", SECRET.encode())), b"", id="same_twice"),
        pytest.param(
            ((b"authorization", b"Bearer "), (b"x-api-key", SECRET.encode())), b"", id="empty_bearer_beside_a_key"
        ),
    ],
)
async def test_a_known_key_is_let_in(headers: Headers, query: bytes) -> None:
    answer, inner = await ask(headers, query)
    assert answer.status == 200
    assert inner.principal == Principal("team-a", ("gpt-*",))


async def test_keys_that_differ_in_their_last_letter_are_different_callers() -> None:
    """F057"""
    _, inner = await ask(((b"x-api-key", OTHER_SECRET.encode()),))
    assert inner.principal == Principal("team-b")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param((), b"", id="nothing"),
        pytest.param(((b"x-api-key", b""),), b"key=", id="empty"),
        pytest.param(((b"x-api-key", b"' OR 1=1--"),), b"", id="F051-sql"),
        pytest.param(((b"x-api-key", b"a" * 1_000_000),), b"", id="F051-1MB"),
        pytest.param(((b"x-api-key", b"a\0b"),), b"", id="F051-NUL"),
        pytest.param(((b"x-api-key", b"a\r\nb: c"),), b"", id="F051-CRLF"),
        pytest.param(((b"x-api-key", "ключ🔑".encode()),), b"", id="F051-emoji"),
        pytest.param(((b"x-api-key", b"\xff\xfe"),), b"", id="F051-not_utf8"),
        pytest.param(((b"x-api-key", b"sk-ant-api03-canary"),), b"", id="F052-upstream_key"),
        pytest.param(((b"x-api-key", SECRET[:-1].encode()),), b"", id="F053-almost"),
        pytest.param(((b"x-api-key", SECRET.upper().encode()),), b"", id="F057-case"),
        pytest.param(((b"x-api-key", TEAM_A.digest.encode()),), b"", id="the_digest_itself"),
        pytest.param(((b"x-api-key", hash_key(SECRET).encode()),), b"", id="the_hash_itself"),
        pytest.param(((b"authorization", SECRET.encode()),), b"", id="F058-no_scheme"),
        pytest.param(((b"authorization", b"Basic " + SECRET.encode()),), b"", id="F058-basic"),
        pytest.param(((b"authorization", b"Bearer\t" + SECRET.encode()),), b"", id="F058-tab"),
        pytest.param(((b"authorization", b"Bearer"),), b"", id="F058-no_token"),
        pytest.param(((b"authorization", b"Bearer " + SECRET.encode() + b" x"),), b"", id="F058-two_tokens"),
        pytest.param(((b"x_api_key", SECRET.encode()),), b"", id="F011-underscore"),
        pytest.param(((b"cookie", b"key=" + SECRET.encode()),), b"", id="cookie"),
        pytest.param((), b"KEY=" + SECRET.encode(), id="query_in_upper_case"),
        pytest.param((), b"key=%ff%zz", id="F082-bad_percent"),
    ],
)
async def test_everybody_else_gets_one_and_the_same_401(headers: Headers, query: bytes) -> None:
    """F051, F052, F053: one constant message that repeats nothing."""
    answer, inner = await ask(headers, query)
    nothing, _ = await ask(((b"x-request-id", b"x"),))
    assert answer.status == 401
    assert inner.scope is None
    assert code(answer) == "invalid_api_key"
    assert (
        as_object(as_object(answer.json)["error"])["message"] == as_object(as_object(nothing.json)["error"])["message"]
    )
    assert b"canary" not in answer.body


async def test_an_underscore_header_beside_a_real_one_is_nothing() -> None:
    """F011"""
    answer, inner = await ask(((b"x_api_key", OTHER_SECRET.encode()), (b"x-api-key", SECRET.encode())))
    assert answer.status == 200
    assert inner.principal is not None and inner.principal.name == "team-a"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param(((b"authorization", b"Bearer a"), (b"x-api-key", b"b")), b"", id="F055-two_headers"),
        pytest.param(((b"x-api-key", SECRET.encode()), (b"x-goog-api-key", b"b")), b"", id="F055-one_of_them_known"),
        pytest.param(((b"x-api-key", SECRET.encode()),), b"key=b", id="F055-query"),
        pytest.param((), b"key=a&key=b", id="F055-query_twice"),
        pytest.param((), b"key=a&%6bey=b", id="F055-query_twice_percent"),
        pytest.param(((b"x-api-key", b"a"), (b"x-api-key", b"b")), b"", id="F055-one_header_twice"),
        pytest.param((((b"authorization", b"Bearer " + SECRET.encode())),) * 2, b"", id="F056-authorization_twice"),
    ],
)
async def test_several_credentials_are_refused(headers: Headers, query: bytes) -> None:
    answer, inner = await ask(headers, query)
    assert answer.status == 400
    assert code(answer) == "ambiguous_credentials"
    assert inner.scope is None
    assert SECRET.encode() not in answer.body


async def test_an_expired_key_is_answered_like_an_unknown_one() -> None:
    """F059: from the second on at which it expires."""
    clock = FakeClock()
    expires = datetime.fromtimestamp(clock() + 10, UTC)
    app = AuthMiddleware(Inner(), keys=[Key("brief", hash_key(SECRET), expires=expires)], clock=clock)
    scope = http_scope(headers=((b"x-api-key", SECRET.encode()),))
    assert (await call(app, scope)).status == 200
    clock.advance(10)
    refused = await call(app, scope)
    unknown = await call(app, http_scope(headers=((b"x-api-key", b"unknown"),)))
    assert refused.status == 401
    assert as_object(refused.json)["error"] == as_object(unknown.json)["error"]


async def test_the_answer_comes_before_the_body_is_invited() -> None:
    """F023: nothing is received, so a server sends no `100 Continue`."""
    receive = ScriptedReceive(b"{}")
    send = RecordingSend()
    scope = http_scope(headers=((b"expect", b"100-continue"), (b"x-api-key", b"bad")))
    await AuthMiddleware(Inner(), keys=[TEAM_A])(scope, receive, send)
    assert send.status == 401
    assert receive.calls == 0


@pytest.mark.parametrize(
    ("query", "blanked"),
    [
        (b"key=" + SECRET.encode(), b"key="),
        (b"alt=sse&key=" + SECRET.encode() + b"&x=%20y", b"alt=sse&key=&x=%20y"),
        (b"%6bey=" + SECRET.encode(), b"key="),
        (b"alt=sse&x", b"alt=sse&x"),
        (b"monkey=1", b"monkey=1"),
    ],
)
async def test_a_key_in_the_query_is_blanked_in_the_copy_handed_on(query: bytes, blanked: bytes) -> None:
    """F213"""
    inner = Inner()
    scope = http_scope(query=query)
    await call(AuthMiddleware(inner, anonymous=Principal("anyone")), scope)
    assert inner.scope is not None
    assert inner.scope["query_string"] == blanked
    assert scope["query_string"] == query
    assert SCOPE_KEY not in scope


async def test_nothing_in_the_request_makes_somebody_else_of_the_caller() -> None:
    """F060"""
    headers = ((b"x-api-key", SECRET.encode()), (b"x-forwarded-user", b"admin"), (b"x-llmgw-models", b"*"))
    _, inner = await ask(headers, b"role=admin&models=*")
    assert inner.principal == Principal("team-a", ("gpt-*",))


@pytest.mark.parametrize("operation", ["health", "ready", "metrics"])
async def test_public_operations_need_no_key(operation: Operation) -> None:
    exchange = Exchange("req_1", operation=operation)
    answer = await call(AuthMiddleware(Inner(), keys=[TEAM_A]), {**http_scope("GET"), SCOPE_KEY: exchange})
    assert answer.status == 200
    assert exchange.principal is None


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.template)
async def test_every_route_but_the_public_ones_needs_a_key(row: EndpointRow) -> None:
    """F080: made from the table, so that a new route cannot forget it."""
    for method in row.methods:
        found = match_endpoint(method, row.template, ())
        assert isinstance(found, Endpoint)
        exchange = Exchange("req_1", operation=found.operation, client_protocol=found.protocol)
        app = AuthMiddleware(Inner(), keys=[TEAM_A])
        answer = await call(app, {**http_scope(method, row.template), SCOPE_KEY: exchange})
        refused = 400 if row.protocol == "gemini_generate" else 401  # Google's own clients know it so
        assert answer.status == (200 if row.template in ("/health", "/ready", "/metrics") else refused)


async def test_what_is_public_can_be_chosen() -> None:
    exchange = Exchange("req_1", operation="metrics")
    public: tuple[Operation, ...] = ("health",)
    app = AuthMiddleware(Inner(), keys=[TEAM_A], public=public)
    answer = await call(app, {**http_scope("GET"), SCOPE_KEY: exchange})
    assert answer.status == 401


async def test_a_refusal_is_recorded() -> None:
    exchange = Exchange("req_1")
    await call(AuthMiddleware(Inner(), keys=[TEAM_A]), {**http_scope(), SCOPE_KEY: exchange})
    assert (exchange.outcome, exchange.status) == ("rejected", 401)
    assert exchange.failure is not None and exchange.failure.kind == "invalid_credentials"


async def test_without_keys_nobody_is_let_in() -> None:
    answer, _ = await ask(((b"x-api-key", SECRET.encode()),), keys=())
    assert answer.status == 401


async def test_an_open_gateway_takes_everybody_whatever_they_present() -> None:
    inner = Inner()
    headers = ((b"authorization", b"Bearer sk-dummy"), (b"x-api-key", b"other"))
    await call(AuthMiddleware(inner, anonymous=Principal("anyone")), http_scope(headers=headers))
    assert inner.principal == Principal("anyone")


async def test_anonymous_callers_beside_keys_are_those_who_present_nothing() -> None:
    inner = Inner()
    app = AuthMiddleware(inner, keys=[TEAM_A], anonymous=Principal("guest"))
    await call(app, http_scope(headers=()))
    assert inner.principal == Principal("guest")
    assert (await call(app, http_scope(headers=((b"x-api-key", b"wrong"),)))).status == 401


async def test_a_hosts_own_check_decides_about_keys_we_do_not_know() -> None:
    asked: list[str | None] = []

    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        asked.append(secret)
        return Principal("host-user") if secret == "jwt" else None

    inner = Inner()
    app = AuthMiddleware(inner, keys=[TEAM_A], verify=verify)
    assert (await call(app, http_scope(headers=((b"authorization", b"Bearer jwt"),)))).status == 200
    assert inner.principal == Principal("host-user")
    assert (await call(app, http_scope(headers=()))).status == 401
    assert (await call(app, http_scope(headers=((b"x-api-key", b"x" * 5000),)))).status == 401
    assert (await call(app, http_scope(headers=((b"x-api-key", SECRET.encode()),)))).status == 200
    assert asked == ["jwt", None]


async def test_a_hosts_own_check_may_say_why_not() -> None:
    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        raise AuthError("Your account is closed.", kind="forbidden", code="account_closed")

    answer = await call(AuthMiddleware(Inner(), verify=verify))
    assert answer.status == 403
    assert code(answer) == "account_closed"


@dataclass
class User:
    """What Starlette's authentication puts into the scope."""

    is_authenticated: bool
    display_name: str


@pytest.mark.parametrize(
    ("user", "trusted", "status"),
    [
        pytest.param(User(True, "ada"), True, 200, id="authenticated"),
        pytest.param(User(False, ""), True, 401, id="unauthenticated"),
        pytest.param(User(True, ""), True, 401, id="nameless"),
        pytest.param(User(True, "ada"), False, 401, id="not_trusted"),
        pytest.param({"is_authenticated": True, "display_name": "ada"}, True, 401, id="not_a_user"),
        pytest.param(None, True, 401, id="none"),
    ],
)
async def test_a_hosts_user_is_taken_only_on_request(user: object, trusted: bool, status: int) -> None:
    inner = Inner()
    app = AuthMiddleware(inner, keys=[TEAM_A], trust_scope_user=trusted)
    answer = await call(app, {**http_scope(headers=()), "user": user})
    assert answer.status == status
    if status == 200:
        assert inner.principal == Principal("ada")


async def test_a_websocket_is_denied() -> None:
    """F081: nothing behind this component is reached without a key."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    inner = Inner()
    await AuthMiddleware(inner)({"type": "websocket", "path": "/"}, ScriptedReceive(), send)
    assert sent[0]["type"] == "websocket.close"
    assert inner.scope is None


async def test_lifespan_passes_straight_through() -> None:
    inner = Inner()
    scope: Scope = {"type": "lifespan"}
    await AuthMiddleware(inner)(scope, ScriptedReceive(), RecordingSend())
    assert inner.scope is scope


def test_no_key_shows_itself() -> None:
    """F210"""
    app = AuthMiddleware(Inner(), keys=[TEAM_A])
    for shown in (repr(TEAM_A), str(TEAM_A), repr(copy.copy(TEAM_A)), repr(app)):
        assert TEAM_A.digest not in shown
        assert SECRET not in shown
    assert SECRET.encode() not in pickle.dumps(TEAM_A)


def test_a_key_may_be_hashed_with_or_without_the_prefix() -> None:
    digest = hash_key(SECRET)
    assert digest.startswith("sha256:")
    assert Key("a", digest) == Key("a", digest.removeprefix("sha256:"))


@pytest.mark.parametrize(
    ("name", "digest", "expires"),
    [
        pytest.param("", hash_key("a"), None, id="no_name"),
        pytest.param("a", "", None, id="no_digest"),
        pytest.param("a", SECRET, None, id="the_secret_itself"),
        pytest.param("a", "sha256:" + "A" * 64, None, id="upper_case"),
        pytest.param("a", hash_key("a"), datetime(2027, 1, 1), id="no_time_zone"),
    ],
)
def test_a_key_that_cannot_work_is_refused(name: str, digest: str, expires: datetime | None) -> None:
    with pytest.raises(ConfigError) as caught:
        Key(name, digest, expires=expires)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("second", [Key("team-a", hash_key("x")), Key("x", hash_key(SECRET))])
def test_two_keys_share_neither_name_nor_secret(second: Key) -> None:
    with pytest.raises(ConfigError):
        AuthMiddleware(Inner(), keys=[TEAM_A, second])
