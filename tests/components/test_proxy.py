from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import Headers, Receive, Scope, Send
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import (
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import (
    CHAT_ERROR,
    CHAT_ROLE,
    CHAT_USAGE,
    DONE,
    chat_answer,
    chat_chunk,
    chat_request,
    chat_stream,
    frame,
    messages_answer,
)

pytestmark = pytest.mark.anyio

SECRET = "sk-upstream-secret"


def provider(**changes: object) -> Provider:
    fields: dict[str, object] = {
        "name": "openai",
        "base_url": "https://api.example/v1",
        "protocols": ("openai_chat",),
        "api_keys": (SECRET,),
        **changes,
    }
    return Provider(**fields)  # type: ignore[arg-type]


def proxy(*answers: FakeResponse | BaseException, **changes: object) -> tuple[ProxyApp, FakeUpstream]:
    upstream = FakeUpstream(list(answers))
    return ProxyApp(provider(**changes), upstream=upstream), upstream


def scope_with(exchange: Exchange, headers: Headers = ((b"content-type", b"application/json"),)) -> Scope:
    return {**http_scope(headers=headers), SCOPE_KEY: exchange}


def code_of(body: object) -> object:
    return as_object(as_object(body)["error"])["code"]  # type: ignore[arg-type]


async def test_forwards_the_body_byte_for_byte_both_ways() -> None:
    body = b'{"model": "gpt-4o",  "messages": [{"role":"user","content":"\\u00e9"}], "x": 1.50}'
    app, upstream = proxy(FakeResponse([chat_answer()]))
    answer = await call(app, body=body)
    assert upstream.requests[0].body == body
    assert upstream.requests[0].url == "https://api.example/v1/chat/completions"
    assert (answer.status, answer.body) == (200, chat_answer())


async def test_changes_nothing_but_the_model_for_an_alias() -> None:
    body = b'{"model":"smart","messages": [ {"role":"user","content":"hi"} ],"seed":12345678901234567890123}'
    app, upstream = proxy(FakeResponse([chat_answer()]))
    await call(app, scope_with(Exchange("r", upstream_model="gpt-4o")), body)
    assert upstream.requests[0].body == body.replace(b'"smart"', b'"gpt-4o"')


async def test_client_credentials_and_other_headers_never_leave() -> None:
    """F097, F098, F099, F101."""
    headers = (
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer client-key"),
        (b"cookie", b"session=1"),
        (b"x-api-key", b"client-key"),
        (b"x-goog-api-key", b"client-key"),
        (b"api-key", b"client-key"),
        (b"proxy-authorization", b"Basic client-key"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-host", b"evil"),
        (b"connection", b"x-foo"),
        (b"x-foo", b"1"),
        (b"te", b"trailers"),
        (b"accept-encoding", b"br, zstd"),
        (b"openai-beta", b"assistants=v2"),
    )
    app, upstream = proxy(FakeResponse([chat_answer()]), forward_headers=frozenset({b"openai-beta"}))
    await call(app, http_scope(headers=headers), chat_request())
    sent = dict(upstream.requests[0].headers)
    assert sent == {
        b"content-type": b"application/json",
        b"accept": b"application/json",
        b"openai-beta": b"assistants=v2",
        b"authorization": b"Bearer " + SECRET.encode(),
    }


async def test_only_our_own_headers_reach_the_client() -> None:
    """F102, F104: the vendor's cookies, organisation, limits and lengths stay here."""
    odd: Headers = (
        (b"content-type", b"application/json"),
        (b"set-cookie", b"a=b"),
        (b"openai-organization", b"org-secret"),
        (b"x-ratelimit-remaining-requests", b"1"),
        (b"content-length", b"5"),
        (b"content-encoding", b"gzip"),
        (b"location", b"https://evil"),
        (b"alt-svc", b"h3"),
    )
    app, _ = proxy(FakeResponse([chat_answer()], headers=odd))
    answer = await call(app, body=chat_request())
    assert set(answer.headers) == {b"content-type", b"content-length", b"cache-control"}
    assert int(answer.headers[b"content-length"]) == len(chat_answer())


async def test_does_not_call_without_a_key() -> None:
    """F097: an unset key never sends the client's."""
    app, upstream = proxy(FakeResponse([chat_answer()]), api_keys=())
    answer = await call(app, body=chat_request())
    assert (answer.status, code_of(answer.json)) == (503, "provider_not_configured")
    assert upstream.requests == []


async def test_streams_chunk_for_chunk_as_they_come() -> None:
    chunks = chat_stream("Hel", "lo", usage=True)
    app, _ = proxy(sse_response(*chunks))
    send = RecordingSend()
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    exchange = Exchange("r")
    await app(scope_with(exchange), ScriptedReceive(body), send)
    assert send.chunks == [*chunks, b""]
    assert send.headers[b"x-accel-buffering"] == b"no"
    assert exchange.usage is not None and exchange.usage.output_tokens == 3
    assert exchange.finish_reason == "stop"
    assert exchange.first_token is not None


async def test_asks_for_usage_and_takes_it_out_again() -> None:
    """U2, U3: the gateway knows what a stream cost although the client did not ask."""
    told = [chunk.replace(b'"choices":[{', b'"usage":null,"choices":[{') for chunk in chat_stream("Hello")]
    upstream_chunks = [*told[:-1], CHAT_USAGE, DONE]
    app, upstream = proxy(sse_response(*upstream_chunks))
    exchange = Exchange("r")
    send = RecordingSend()
    await app(scope_with(exchange), ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert loads_object(upstream.requests[0].body)["stream_options"] == {"include_usage": True}
    assert exchange.usage is not None and exchange.usage.input_tokens == 9
    assert send.body == b"".join(chat_stream("Hello"))


async def test_an_answer_that_is_no_answer_is_a_bad_gateway() -> None:
    """F130, F106."""
    for body in (b"<html>secret stack</html>", b"", b"null", b"[]", b'{"choices":', b'{"choices":[]}'):
        app, _ = proxy(FakeResponse([body]))
        answer = await call(app, body=chat_request())
        assert answer.status == 502, body
        assert b"secret" not in answer.body


async def test_an_error_inside_a_good_status_is_an_error() -> None:
    """F131."""
    app, _ = proxy(FakeResponse([dumps(CHAT_ERROR)]))
    answer = await call(app, body=chat_request())
    assert answer.status >= 500


async def test_an_error_as_the_first_event_is_a_status() -> None:
    """F146, F14: nothing was sent yet, so the client gets an HTTP error."""
    app, _ = proxy(sse_response(frame(CHAT_ERROR)))
    exchange = Exchange("r")
    send = RecordingSend()
    await app(scope_with(exchange), ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert send.status == 500
    assert exchange.outcome == "upstream_error"


async def test_a_cut_stream_ends_in_an_error_event() -> None:
    """T9, P4, F149: never a success terminator."""
    app, _ = proxy(sse_response(CHAT_ROLE, chat_chunk({"content": "Hel"})))
    exchange = Exchange("r")
    send = RecordingSend()
    await app(scope_with(exchange), ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert send.finished
    assert b"[DONE]" not in send.body
    last = send.body.strip().split(b"\n\n")[-1]
    assert b'"error"' in last
    assert exchange.outcome == "upstream_error"


async def test_a_transport_that_breaks_inside_a_frame_still_ends_in_a_readable_error() -> None:
    """F149, F163."""
    broken = UpstreamError("The connection broke.", failure="unreachable")
    half = chat_chunk({"content": "lo"})[:20]
    app, _ = proxy(sse_response(CHAT_ROLE, chat_chunk({"content": "Hel"}), half, broken))
    send = RecordingSend()
    body = dumps(chat_request(stream=True, stream_options={"include_usage": False}))
    await app(http_scope(), ScriptedReceive(body), send)
    assert send.finished
    assert as_object(loads_object(send.body.strip().split(b"data: ")[-1])["error"])["message"]


async def test_a_reset_after_the_last_event_is_a_success() -> None:
    """F149: the answer was whole."""
    broken = UpstreamError("The connection broke.", failure="unreachable")
    chunks = chat_stream("Hi", usage=True)
    app, _ = proxy(sse_response(*chunks, broken))
    exchange = Exchange("r")
    send = RecordingSend()
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    await app(scope_with(exchange), ScriptedReceive(body), send)
    assert send.body == b"".join(chunks)
    assert exchange.failure is None and exchange.outcome is None


async def test_an_empty_stream_is_never_an_empty_success() -> None:
    """F150."""
    app, _ = proxy(sse_response())
    answer = await call(app, body=chat_request(stream=True))
    assert answer.status == 502


async def test_the_vendors_refusal_of_a_request_keeps_its_bytes() -> None:
    """F138."""
    refusal = dumps(
        {
            "error": {
                "message": "Invalid value: 'x'.",
                "type": "invalid_request_error",
                "param": "messages[0].role",
                "code": "invalid_value",
            }
        }
    )
    app, _ = proxy(FakeResponse([refusal], status=400))
    answer = await call(app, body=chat_request())
    assert (answer.status, answer.body) == (400, refusal)


async def test_a_refused_credential_is_our_problem_and_is_not_shown() -> None:
    """F107: 401 would tell the client to change a key of its own."""
    body = dumps({"error": {"message": f"Incorrect API key provided: {SECRET}", "type": "invalid_request_error"}})
    app, _ = proxy(FakeResponse([body], status=401))
    exchange = Exchange("r")
    send = RecordingSend()
    await app(scope_with(exchange), ScriptedReceive(dumps(chat_request())), send)
    assert send.status in (502, 503)
    assert SECRET.encode() not in send.body
    assert isinstance(exchange.failure, UpstreamError) and exchange.failure.failure == "credential"


async def test_redirects_are_bad_gateways() -> None:
    """F092."""
    app, upstream = proxy(FakeResponse([b""], status=302, headers=((b"location", b"https://evil"),)))
    answer = await call(app, body=chat_request())
    assert answer.status == 502
    assert len(upstream.requests) == 1


async def test_retry_after_reaches_the_client() -> None:
    """F136."""
    body = dumps({"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}})
    app, _ = proxy(FakeResponse([body], status=429, headers=((b"retry-after", b"7"),)))
    answer = await call(app, body=chat_request())
    assert (answer.status, answer.headers[b"retry-after"]) == (429, b"7")


async def test_a_client_that_leaves_before_the_first_byte_closes_the_call() -> None:
    """F109, F111."""
    gate = anyio.Event()
    app, upstream = proxy(FakeResponse([gate]))
    receive = ScriptedReceive(dumps(chat_request()))
    send = RecordingSend()
    exchange = Exchange("r")
    async with anyio.create_task_group() as group:
        group.start_soon(app, scope_with(exchange), receive, send)
        while upstream.open_calls == 0:
            await anyio.lowlevel.checkpoint()
        receive.disconnect()
    assert upstream.open_calls == 0
    assert exchange.outcome == "client_disconnected"
    assert send.status == 499


async def test_a_client_that_leaves_mid_stream_closes_the_call_and_keeps_what_was_counted() -> None:
    """F110, L8."""
    gate = anyio.Event()
    seen = anyio.Event()
    app, upstream = proxy(sse_response(CHAT_ROLE, chat_chunk({"content": "Hi"}), gate))
    receive = ScriptedReceive(dumps(chat_request(stream=True, stream_options={"include_usage": True})))
    exchange = Exchange("r")

    def note(chunk: bytes) -> None:
        if b"Hi" in chunk:
            seen.set()

    async with anyio.create_task_group() as group:
        group.start_soon(app, scope_with(exchange), receive, RecordingSend(note))
        await seen.wait()
        receive.disconnect()
    assert upstream.open_calls == 0
    assert exchange.outcome == "client_disconnected"


async def test_a_server_that_raises_on_send_counts_as_a_client_that_left() -> None:
    """F114."""
    app, upstream = proxy(sse_response(*chat_stream("Hi")))
    exchange = Exchange("r")

    async def send(message: object) -> None:
        raise OSError("gone")

    await app(scope_with(exchange), ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert exchange.outcome == "client_disconnected"
    assert upstream.open_calls == 0


async def test_the_disconnect_watcher_neither_spins_nor_outlives_the_call() -> None:
    """F115."""
    app, _ = proxy(FakeResponse([chat_answer()]))
    receive = ScriptedReceive(dumps(chat_request()))
    await app(http_scope(), receive, RecordingSend())
    assert receive.calls <= 2


async def test_an_answer_that_never_ends_is_cut_off() -> None:
    """F132, F118."""
    upstream = FakeUpstream([sse_response(*[chat_chunk({"content": "x" * 1000})] * 100)])
    app = ProxyApp(provider(), upstream=upstream, max_answer=10_000)
    send = RecordingSend()
    await app(http_scope(), ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert len(send.body) < 15_000
    assert b'"error"' in send.body


async def test_serves_the_providers_own_protocol() -> None:
    app, upstream = proxy(
        FakeResponse([messages_answer()]),
        protocols=("anthropic_messages",),
        base_url="https://api.anthropic.example",
        auth="x-api-key",
        headers=((b"anthropic-version", b"2023-06-01"),),
    )
    body = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    answer = await call(app, http_scope(path="/v1/messages"), dumps(body))
    assert answer.body == messages_answer()
    assert upstream.requests[0].url == "https://api.anthropic.example/v1/messages"
    sent = dict(upstream.requests[0].headers)
    assert sent[b"x-api-key"] == SECRET.encode()
    assert sent[b"anthropic-version"] == b"2023-06-01"


async def test_the_path_is_built_from_the_model_alone() -> None:
    """F069, F070."""
    app, upstream = proxy(
        FakeResponse([b'{"candidates":[]}']),
        protocols=("gemini_generate",),
        base_url="https://gemini.example",
        auth="x-goog-api-key",
    )
    scope = {
        **http_scope(path="/v1beta/models/x:generateContent"),
        SCOPE_KEY: Exchange("r", upstream_model="../../v1/files?key=evil#x"),
    }
    await call(app, scope, b'{"contents":[]}')
    url = upstream.requests[0].url
    assert url.startswith("https://gemini.example/v1beta/models/")
    assert "/files" not in url and "?" not in url and "#" not in url


async def test_bad_bodies_are_answered_here() -> None:
    """F037."""
    app, upstream = proxy(FakeResponse([chat_answer()]))
    for body in (b"", b"null", b"[]", b'"x"', b'{"messages":[]}', b"{} {}"):
        answer = await call(app, body=body)
        assert answer.status == 400, body
    assert upstream.requests == []


async def test_the_secret_is_in_no_repr() -> None:
    app, upstream = proxy(FakeResponse([chat_answer()]))
    await call(app, body=chat_request())
    assert SECRET not in repr(provider()) + repr(upstream.requests[0])


async def test_connection_failures_are_told_in_shape() -> None:
    """F125, F126."""
    for failure, status in (
        (UpstreamError("No connection.", failure="unreachable"), 502),
        (UpstreamError("Too slow.", failure="timeout", kind="upstream_timeout"), 504),
    ):
        app, _ = proxy(failure)
        answer = await call(app, body=chat_request())
        assert answer.status == status
        assert as_object(as_object(answer.json)["error"])["message"]


async def test_other_scopes_are_left_alone() -> None:
    app, _ = proxy(FakeResponse([]))

    async def unused(*args: object) -> None:
        raise AssertionError("nothing is to be said")

    receive: Receive = unused  # type: ignore[assignment]
    send: Send = unused
    await app({"type": "lifespan"}, receive, send)


async def test_the_clients_version_of_the_protocol_goes_with_its_body() -> None:
    """F101: a newer SDK sends a body of a newer version."""
    app, upstream = proxy(
        FakeResponse([messages_answer()]),
        protocols=("anthropic_messages",),
        headers=((b"anthropic-version", b"2023-06-01"), (b"x-own", b"1")),
        forward_headers=frozenset({b"anthropic-version"}),
    )
    headers = ((b"content-type", b"application/json"), (b"anthropic-version", b"2026-10-21"), (b"x-own", b"2"))
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    await call(app, http_scope(path="/v1/messages", headers=headers), dumps(body))
    sent = [(name, value) for name, value in upstream.requests[0].headers if name in (b"anthropic-version", b"x-own")]
    assert sorted(sent) == [(b"anthropic-version", b"2026-10-21"), (b"x-own", b"1")]
