"""Vertex AI: the requests that Google's and Anthropic's own clients send, with tokens of Google's own library."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, cast

import anthropic
import anyio
import httpx
import httpx2
import pytest
from google import genai
from google.auth import exceptions
from google.auth.credentials import Credentials as GoogleCredentials
from google.genai import types
from google.oauth2.credentials import Credentials as UserCredentials

from asgi_llmgw import build_app
from asgi_llmgw._types import Headers
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, dumps, loads_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.providers.catalog import provider_from_catalog
from asgi_llmgw.signing import GoogleSigner
from asgi_llmgw.signing.google import Credentials
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest

pytestmark = pytest.mark.anyio

TOKEN: Final = "ya29.token"
TURNS: Final[JSONObject] = {"max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}
QUESTION: Final[list[anthropic.types.MessageParam]] = [{"role": "user", "content": "Hello"}]
VERSION: Final = {"anthropic_version": "vertex-2023-10-16"}
"""The version we speak; the newest of Anthropic's clients would say another one by themselves."""
REGIONS: Final = ["global", "europe-west4", "us", "eu"]


class Counting(GoogleCredentials):
    """Credentials whose token is another one each time."""

    def __init__(self, lasts: timedelta = timedelta(hours=1)) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fetched = 0
        self._lasts = lasts

    def refresh(self, request: object) -> None:
        self.fetched += 1
        self.token = f"token-{self.fetched}"
        # google-auth keeps times without a zone
        self.expiry = datetime.now() + self._lasts


def ours_is(credentials: object) -> Credentials:
    return cast("Credentials", credentials)


def vertex(kind: str, region: str, credentials: object = None) -> Provider:
    signer = GoogleSigner(credentials=ours_is(credentials or UserCredentials(token=TOKEN)))  # type: ignore[no-untyped-call]
    return provider_from_catalog("v", kind, signer=signer, places={"project": "my-project", "region": region})


async def sent(provider: Provider, path: str, body: JSONObject) -> UpstreamRequest:
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    await call(ProxyApp(provider, upstream=upstream), http_scope(path=path), dumps(body))
    return upstream.requests[0]


def value_of(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_claude_is_asked_as_anthropic_s_own_client_does(
    region: str, stream: bool, report: Callable[[str, int], None]
) -> None:
    theirs: list[httpx2.Request] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        theirs.append(request)
        return httpx2.Response(200, json={})

    with anthropic.AnthropicVertex(
        region=region,
        project_id="my-project",
        credentials=UserCredentials(token=TOKEN),  # type: ignore[no-untyped-call]
        http_client=httpx2.Client(transport=httpx2.MockTransport(note)),
    ) as client:
        client.messages.create(
            model="claude-sonnet-4-5@20250929",
            max_tokens=10,
            messages=[{"role": "user", "content": "Hello"}],
            stream=stream,
            extra_body=VERSION,
        )
    body: JSONObject = {"model": "claude-sonnet-4-5@20250929", **TURNS, "stream": stream}
    request = await sent(vertex("vertex-claude", region), "/v1/messages", body)
    assert request.url == str(theirs[0].url)
    assert loads_object(request.body) == loads_object(theirs[0].content)
    assert value_of(request.headers, b"authorization") == theirs[0].headers["authorization"].encode()
    assert value_of(request.headers, b"anthropic-version") is None
    report("Vertex requests equal to those of the vendors' own clients", 1)


async def test_claude_counts_tokens_as_anthropic_s_own_client_does() -> None:
    theirs: list[httpx2.Request] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        theirs.append(request)
        return httpx2.Response(200, json={"input_tokens": 1})

    with anthropic.AnthropicVertex(
        region="global",
        project_id="my-project",
        access_token=TOKEN,
        http_client=httpx2.Client(transport=httpx2.MockTransport(note)),
    ) as client:
        client.messages.count_tokens(model="claude-sonnet-4-5", messages=QUESTION, extra_body=VERSION)
    dressed = vertex("vertex-claude", "global").envelope
    assert dressed is not None
    base = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global"
    body = dumps({"model": "claude-sonnet-4-5", "messages": TURNS["messages"]})
    request = dressed.request(f"{base}/v1/messages/count_tokens", (), body)
    assert request.url == str(theirs[0].url)
    assert loads_object(request.body) == loads_object(theirs[0].content)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_gemini_is_asked_where_google_s_own_client_asks(
    region: str, stream: bool, report: Callable[[str, int], None]
) -> None:
    theirs: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        theirs.append(request)
        return httpx.Response(200, json={})

    client = genai.Client(
        vertexai=True,
        project="my-project",
        location=region,
        credentials=UserCredentials(token=TOKEN),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(
            api_version="v1", httpx_client=httpx.Client(transport=httpx.MockTransport(note))
        ),
    )
    if stream:
        list(client.models.generate_content_stream(model="gemini-2.5-pro", contents="Hello"))
    else:
        client.models.generate_content(model="gemini-2.5-pro", contents="Hello")
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body: JSONObject = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    scope = http_scope(
        path=f"/v1beta/models/gemini-2.5-pro:{action.partition('?')[0]}", query=action.partition("?")[2].encode()
    )
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    await call(ProxyApp(vertex("vertex", region), upstream=upstream), scope, dumps(body))
    (request,) = upstream.requests
    assert request.url == str(theirs[0].url)
    assert loads_object(request.body)["contents"] == [{"parts": [{"text": "Hello"}], "role": "user"}]
    assert loads_object(theirs[0].content)["contents"] == loads_object(request.body)["contents"]
    assert value_of(request.headers, b"authorization") == theirs[0].headers["authorization"].encode()
    report("Vertex requests equal to those of the vendors' own clients", 1)


async def test_a_token_is_fetched_once_and_again_when_it_expires() -> None:
    credentials = Counting()
    signer = GoogleSigner(credentials=ours_is(credentials), transport=object())
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(signer.sign, "POST", "https://v.example", (), b"")
    assert credentials.fetched == 1
    credentials.expiry = datetime(2020, 1, 1)
    headers = await signer.sign("POST", "https://v.example", ((b"authorization", b"Bearer old"), (b"x", b"y")), b"")
    assert headers == ((b"x", b"y"), (b"authorization", b"Bearer token-2"))


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (exceptions.RefreshError("invalid_grant: canary"), "credential"),  # type: ignore[no-untyped-call]
        (exceptions.TransportError("canary"), "unreachable"),  # type: ignore[no-untyped-call]
    ],
)
async def test_a_token_that_cannot_be_had_is_no_fault_of_the_caller_s(error: Exception, failure: str) -> None:
    class Refusing(Counting):
        def refresh(self, request: object) -> None:
            raise error

    signer = GoogleSigner(credentials=ours_is(Refusing()), transport=object())
    with pytest.raises(UpstreamError) as caught:
        await signer.sign("POST", "https://v.example", (), b"")
    assert caught.value.failure == failure
    assert "canary" not in caught.value.message


async def test_without_any_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(**_: Any) -> None:
        raise exceptions.DefaultCredentialsError("canary")  # type: ignore[no-untyped-call]

    monkeypatch.setattr("google.auth.default", nothing)
    with pytest.raises(UpstreamError, match="no Google credentials") as caught:
        await GoogleSigner().sign("POST", "https://v.example", (), b"")
    assert caught.value.failure == "credential"


ERROR: Final[JSONObject] = {"error": {"code": 404, "message": "Publisher Model x not found.", "status": "NOT_FOUND"}}


@pytest.mark.parametrize("body", [dumps(ERROR), dumps([ERROR])], ids=["object", "list"])
async def test_an_error_of_google_s_is_told_in_anthropic_s_words(body: bytes) -> None:
    upstream = FakeUpstream([FakeResponse([body], status=404)])
    app = ProxyApp(vertex("vertex-claude", "global"), upstream=upstream)
    answer = await call(app, http_scope(path="/v1/messages"), dumps({"model": "x", **TURNS}))
    told = loads_object(answer.body)
    assert (answer.status, told["type"]) == (404, "error")
    assert told["error"] == {"type": "not_found_error", "message": "Publisher Model x not found."}


async def test_an_error_of_anthropic_s_and_a_page_stay_as_they_are() -> None:
    envelope = vertex("vertex-claude", "global").envelope
    assert envelope is not None
    for body in (b'{"type":"error","error":{"type":"api_error","message":"x"}}', b"<html>"):
        assert envelope.error(500, (), body) == body


async def test_a_stream_of_claude_s_is_anthropic_s_own() -> None:
    events = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        b'"model":"c","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
        b'"text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":'
        b'"text_delta","text":"Hi"}}\n\nevent: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
        b'{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    upstream = FakeUpstream([FakeResponse([events], headers=((b"content-type", b"text/event-stream"),))] * 2)
    app = ProxyApp(vertex("vertex-claude", "global"), upstream=upstream)
    body: JSONObject = {"model": "c", **TURNS, "stream": True}
    answer = await call(app, http_scope(path="/v1/messages"), dumps(body))
    assert answer.body == events
    translated = TranslatorMiddleware(app, serve="openai_chat", over="anthropic_messages")
    chat = await call(translated, http_scope(), dumps({**body, "stream_options": {"include_usage": True}}))
    assert b'"content":"Hi"' in chat.body and chat.body.endswith(b"data: [DONE]\n\n")


def test_it_is_configured_by_project_and_region() -> None:
    environ = {"GOOGLE_CLOUD_PROJECT": "my-project"}
    document = {"providers": {"vertex": {"region": "europe-west4"}, "vertex-claude": {}}}
    providers = parse_config(document, environ=environ).providers_by_name()
    assert providers["vertex"].base_url == (
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west4"
    )
    assert providers["vertex-claude"].base_url == (
        "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global"
    )
    assert all(provider.usable() and provider.credentials() == () for provider in providers.values())


async def test_a_token_of_ones_own_is_sent_as_it_is() -> None:
    document = {
        "providers": {"vertex": {"project": "p", "auth": "bearer", "api_key": "mine"}},
        "models": {"smart": {"targets": ["vertex/gemini-2.5-pro"]}},
    }
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    await call(gateway, http_scope(), dumps({"model": "smart", "messages": TURNS["messages"]}))
    assert value_of(upstream.requests[0].headers, b"authorization") == b"Bearer mine"
