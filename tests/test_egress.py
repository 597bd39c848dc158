"""The gateway calls whom its operator has named, and nobody else: whatever stands in a request."""

from __future__ import annotations

import ast
import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols import SERVED, codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, call, http_scope, sse_response
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.faultup import FaultServer, fault_server, response
from tests.samples import chat_answer, chat_request, chat_stream, gemini_answer, messages_answer, responses_answer
from tests.sources import nodes

pytestmark = pytest.mark.anyio

ANSWERS: dict[Protocol, bytes] = {
    "openai_chat": chat_answer(),
    "openai_responses": responses_answer(),
    "anthropic_messages": messages_answer(),
    "gemini_generate": gemini_answer(),
}
PATHS: dict[Protocol, str] = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/smart:generateContent",
}
PAIRS = [pytest.param(client, vendor, id=f"{client}-{vendor}") for client in PATHS for vendor in PATHS]


def asked(client: Protocol, url: str = "", **fields: Any) -> JSONObject:
    """A request, with a picture at this address."""
    match client:
        case "openai_chat":
            picture: JSONObject = {"type": "image_url", "image_url": {"url": url}}
            content = [{"type": "text", "text": "What is it?"}, *([picture] if url else [])]
            return {"model": "smart", "messages": [{"role": "user", "content": content}], **fields}
        case "openai_responses":
            picture = {"type": "input_image", "image_url": url, "detail": "auto"}
            content = [{"type": "input_text", "text": "What is it?"}, *([picture] if url else [])]
            return {"model": "smart", "input": [{"role": "user", "content": content}], **fields}
        case "anthropic_messages":
            picture = {"type": "image", "source": {"type": "url", "url": url}}
            content = [{"type": "text", "text": "What is it?"}, *([picture] if url else [])]
            return {"model": "smart", "max_tokens": 9, "messages": [{"role": "user", "content": content}], **fields}
        case "gemini_generate":
            picture = {"fileData": {"fileUri": url, "mimeType": "image/png"}}
            parts = [{"text": "What is it?"}, *([picture] if url else [])]
            return {"contents": [{"role": "user", "parts": parts}], **fields}
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


def gateway(vendor: Protocol, base_url: str, **options: Any) -> Gateway:
    config = parse_config(
        {
            "providers": {"vendor": {"protocol": vendor, "base_url": base_url, "api_key": "upstream-key"}},
            "models": {"smart": {"targets": ["vendor/the-model"]}},
        },
        environ={},
    )
    return build_app(config, access_log=None, **options)


@asynccontextmanager
async def vendor_of(protocol: Protocol) -> AsyncIterator[FaultServer]:
    headers = (b"content-type: application/json",)
    async with fault_server([response(ANSWERS[protocol], headers=headers)]) as vendor:
        yield vendor


async def ask(app: Gateway, client: Protocol, body: JSONObject, **scope: Any) -> Answer:
    try:
        return await call(app, http_scope(path=PATHS[client], **scope), dumps(body))
    finally:
        await app.aclose()


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_request_cannot_say_where_it_goes(client: Protocol, vendor: Protocol) -> None:
    """F083, F049: not in the body, not in a header, not in the query."""
    async with vendor_of(vendor) as right, fault_server([response()]) as wrong:
        names = ("api_base", "base_url", "api_url", "endpoint", "azure_endpoint", "custom_host", "proxy", "url")
        elsewhere = dict.fromkeys(names, wrong.url)
        headers = [
            (name.encode(), wrong.url.encode())
            for name in (
                *("x-portkey-custom-host", "x-portkey-provider", "x-forwarded-host", "forwarded", "x-original-url"),
                *("x-rewrite-url", "x-base-url", "helicone-target-url", "openai-base-url", "host", "referer", "origin"),
            )
        ]
        query = f"base_url={wrong.url}&api_base={wrong.url}&host={wrong.url}".encode()
        answer = await ask(
            gateway(vendor, right.url), client, {**asked(client), **elsewhere}, headers=headers, query=query
        )
        assert wrong.connections == 0
        assert answer.status in (200, 400), answer.body
        for received in right.requests:
            assert "127.0.0.1" not in received.request_line
            assert [value for name, value in received.headers if name == "host"] == [urlsplit(right.url).netloc]
            assert not any(wrong.url in value for _, value in received.headers)


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_picture_is_the_vendors_to_fetch(client: Protocol, vendor: Protocol) -> None:
    """F085: the gateway passes the address on as text, or refuses it."""
    async with vendor_of(vendor) as right, fault_server([response()]) as pictures:
        answer = await ask(gateway(vendor, right.url), client, asked(client, pictures.url + "/cat.png"))
        assert answer.status in (200, 400), answer.body
        assert pictures.connections == 0
        assert right.connections == (answer.status == 200)


ADDRESSES = [
    *("http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://127.0.0.1:1/", "http://0.0.0.0/"),
    *("http://[::]/", "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://0177.0.0.1/", "http://127.1/"),
    *("http://[64:ff9b::7f00:1]/", "http://localhost./", "http://a@127.0.0.1/", "http://rebinding.example/"),
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "https://expired.example/", "ftp://x/"),
    *("http://slow.example/endless", "http://bomb.example/x.png.gz", "http://wrong-mime.example/x.exe"),
]


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_no_address_in_a_request_is_ever_looked_up_or_connected_to(
    client: Protocol, vendor: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F086, F088, F089, F090: there is no fetching in the gateway, so there is nothing to check, rebind or bound."""
    reached: list[object] = []

    def reach(*arguments: object, **options: object) -> None:
        reached.append(arguments)
        raise OSError("nobody goes there")

    monkeypatch.setattr(socket.socket, "connect", reach)
    monkeypatch.setattr(socket.socket, "connect_ex", reach)
    monkeypatch.setattr(socket, "getaddrinfo", reach)
    upstream = FakeUpstream([FakeResponse([ANSWERS[vendor]])])
    app = gateway(vendor, "https://v.example", upstream=upstream)
    for address in ADDRESSES:
        answer = await call(app, http_scope(path=PATHS[client]), dumps(asked(client, address)))
        assert answer.status in (200, 400), (address, answer.body)
        assert not answer.body.startswith(b"root:")
    await app.aclose()
    assert reached == []
    assert {urlsplit(request.url).netloc for request in upstream.requests} <= {"v.example"}


async def test_a_picture_inside_the_request_is_bounded_by_the_request() -> None:
    """F089: `data:` of 100 MB is a body of 100 MB."""
    upstream = FakeUpstream([FakeResponse([chat_answer()])])
    app = gateway("openai_chat", "https://v.example", upstream=upstream)
    body = dumps(asked("openai_chat", "data:image/png;base64," + "A" * 34 * 1024 * 1024))
    answer = await call(app, http_scope(), body)
    assert answer.status == 413
    assert upstream.requests == []


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from(
    ["@evil.example", "../../..", "//evil.example/x", "\\evil.example", "x?y#z", "%2e%2e%2f", ":80@evil.example", "a/b"]
)


@given(
    model=NAMES, protocol=st.sampled_from(SERVED), base=st.sampled_from(["https://v.example", "http://v.example:81/x"])
)
def test_no_model_name_leads_to_another_origin(model: str, protocol: Protocol, base: str) -> None:
    """F084: scheme, host and port are the configuration's, whatever path a codec writes."""
    provider = Provider(name="v", base_url=base, protocols=(protocol,))
    body = dumps({"model": "m", "messages": [], "input": "", "contents": []})
    try:
        encoded = codec(protocol).with_model(PATHS[protocol], body, model)
    except ValueError:
        # a lone surrogate, which cannot be written
        return
    parts, configured = urlsplit(provider.url(protocol, encoded.path)), urlsplit(base)
    assert (parts.scheme, parts.netloc) == (configured.scheme, configured.netloc)


@pytest.mark.parametrize(
    "path", ["@evil.example/v1", "/v1.evil.example/", ":81/x", "evil", "", "/v1", "\\evil.example"]
)
def test_a_path_that_is_none_is_not_put_behind_an_origin(path: str) -> None:
    """F084: it fails closed."""
    provider = Provider(name="v", base_url="https://v.example", protocols=("openai_chat",))
    with pytest.raises(ConfigError):
        provider.url("openai_chat", path)


def test_every_call_goes_to_an_address_that_a_provider_gave() -> None:
    """F084: no code writes one of its own."""
    found = 0
    for part in nodes().values():
        for node in part:
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UpstreamRequest":
                url = next(word.value for word in node.keywords if word.arg == "url")
                assert isinstance(url, ast.Call) and ast.unparse(url.func).endswith("rovider.url"), ast.unparse(node)
                found += 1
    assert found >= 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [200, 302, 400, 503])
async def test_a_vendor_cannot_send_the_client_elsewhere(stream: bool, status: int) -> None:
    """F094, F102."""
    headers = [
        (b"content-type", b"text/event-stream" if stream else b"application/json"),
        (b"location", b"https://evil.example"),
        (b"content-location", b"https://evil.example"),
        (b"refresh", b"0; url=https://evil.example"),
        (b"alt-svc", b'h3="evil.example:443"'),
        (b"link", b"<https://evil.example>; rel=preload"),
        (b"access-control-allow-origin", b"https://evil.example"),
        (b"strict-transport-security", b"max-age=0"),
        (b"clear-site-data", b'"*"'),
        (b"set-cookie", b"evil.example=1"),
    ]
    body = b"".join(chat_stream("Hi")) if stream and status == 200 else chat_answer()
    upstream = FakeUpstream([FakeResponse([body], status=status, headers=tuple(headers))])
    app = gateway("openai_chat", "https://v.example", upstream=upstream)
    answer = await call(app, body=chat_request(stream=stream))
    passed = {name for name, _ in headers} - {b"content-type"}
    assert not passed & answer.headers.keys()
    assert not any(b"evil" in value for value in answer.headers.values())


@pytest.mark.parametrize(
    "address",
    [
        "https://user:hunter2secret@v.example/v1",
        "file:///hunter2secret",
        "hunter2secret.example/v1",
        "//hunter2secret.example",
        "ftp://hunter2secret.example",
        "gopher://hunter2secret.example",
        "unix:///hunter2secret.sock",
        "https://v.example/v1?key=hunter2secret",
        "https://v.example/v1#hunter2secret",
        "https://[hunter2secret",
        "",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_and_not_repeated(address: str) -> None:
    """F095."""
    with pytest.raises(ConfigError) as caught:
        gateway("openai_chat", address)
    assert "base_url" in str(caught.value)
    assert "hunter2secret" not in str(caught.value) + repr(caught.value)


class Names:
    """The machine's look-up of names, as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answer: OSError | None) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._never = asyncio.Event()
        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", self.look_up)

    async def look_up(self, host: str, *arguments: object, **options: object) -> list[object]:
        self.asked.append(host)
        if self._answer is None:
            await self._never.wait()
            return []
        raise self._answer


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 502, id="unknown"),
        pytest.param(socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), 502, id="failing"),
        pytest.param(None, 504, id="silent"),
    ],
)
async def test_a_name_that_cannot_be_looked_up_is_told_in_time(
    answer: OSError | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F096: the time to connect is the time to look up, too; and the client does not learn the name."""
    names = Names(monkeypatch, answer=answer)
    upstream = AiohttpUpstream()
    request = UpstreamRequest(url="https://vendor-name.example/v1", timeouts=Timeouts(connect=0.05))
    with pytest.raises(UpstreamError) as caught:
        async with asyncio.timeout(5), upstream.open(request):
            pass
    assert names.asked == ["vendor-name.example"]
    assert caught.value.status in (502, 503, 504) and (caught.value.failure == "timeout") == (status == 504)
    assert "vendor-name" not in caught.value.message
    await upstream.aclose()


async def test_a_streamed_answer_knows_its_vendor_alone() -> None:
    """F083, F094."""
    upstream = FakeUpstream([sse_response(*chat_stream("Hi"))])
    app = gateway("openai_chat", "https://v.example/v1", upstream=upstream)
    await call(app, body=chat_request(stream=True, api_base="https://evil.example"))
    assert [request.url for request in upstream.requests] == ["https://v.example/v1/chat/completions"]
