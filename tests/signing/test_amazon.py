"""Calls signed for Amazon: byte for byte what Amazon's own client sends at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.credentials import Credentials

from asgi_llmgw import build_app
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.json import dumps
from asgi_llmgw.providers.catalog import provider_from_catalog
from asgi_llmgw.signing import AmazonSigner, lacks, make_signer
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest

pytestmark = pytest.mark.anyio

REGION: Final = "eu-central-1"
SECRET: Final = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MODELS: Final = [
    "anthropic.claude-3-haiku-20240307-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:1234:application-inference-profile/a b+c~é",
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sign at the same time, whenever that is."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC))


def question(model: str, *, stream: bool = False) -> bytes:
    turns = [{"role": "user", "content": "Grüße"}]
    return dumps({"model": model, "max_tokens": 10, "messages": [*turns], **({"stream": True} if stream else {})})


async def ours(model: str, *, token: str | None, stream: bool) -> UpstreamRequest:
    """What the gateway sends."""
    signer = AmazonSigner(region=REGION, credentials=Credentials("AKIDEXAMPLE", SECRET, token))
    provider = provider_from_catalog("aws", "bedrock", auth="sigv4", signer=signer, places={"region": REGION})
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    await call(ProxyApp(provider, upstream=upstream), http_scope(path="/v1/messages"), question(model, stream=stream))
    return upstream.requests[0]


def theirs(model: str, body: bytes, *, token: str | None, stream: bool) -> dict[str, bytes]:
    """The headers and the address that Amazon's own client sends for this body."""
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name=REGION,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        aws_session_token=token,
    )
    sent: dict[str, bytes] = {}

    def note(request: Any, **_: object) -> AWSResponse:
        sent.update({name.lower(): value for name, value in request.headers.items() if isinstance(value, bytes)})
        sent["url"], sent["body"] = request.url.encode(), request.body
        return AWSResponse(request.url, 200, {}, _Nothing())

    def accept(request: Any, **_: object) -> None:
        request.headers["Accept"] = "application/vnd.amazon.eventstream"

    client.meta.events.register("before-send.bedrock-runtime", note)
    if stream:
        # a header that only we send: it has to be signed too
        client.meta.events.register("before-sign.bedrock-runtime", accept)
        client.invoke_model_with_response_stream(modelId=model, body=body, contentType="application/json")
    else:
        client.invoke_model(modelId=model, body=body, contentType="application/json", accept="application/json")
    return sent


class _Nothing:
    """An empty answer, as botocore reads one."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        return iter([b"{}"])

    def read(self, *_: object) -> bytes:
        return b""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("token", [None, "session-token"], ids=["user", "role"])
@pytest.mark.parametrize("model", MODELS)
async def test_the_same_request_has_the_same_signature(
    model: str, token: str | None, stream: bool, report: Callable[[str, int], None]
) -> None:
    request = await ours(model, token=token, stream=stream)
    expected = theirs(model, request.body, token=token, stream=stream)
    headers = dict(request.headers)
    assert request.url.encode() == expected["url"]
    assert request.body == expected["body"]
    for name in ("authorization", "x-amz-date", "content-type"):
        assert headers[name.encode()] == expected[name], name
    assert headers.get(b"x-amz-security-token") == expected.get("x-amz-security-token")
    assert len(headers) == len(request.headers)
    report("calls signed as botocore's own client signs them", 1)


async def test_the_secret_key_is_nowhere() -> None:
    request = await ours(MODELS[0], token=None, stream=False)
    signer = AmazonSigner(region=REGION, credentials=Credentials("AKIDEXAMPLE", SECRET))
    assert SECRET not in repr(request) + repr(signer) + str(request.headers)


async def test_credentials_are_those_that_amazons_own_tools_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    document = {
        "providers": {"bedrock": {"auth": "sigv4", "region": REGION}},
        "models": {"smart": {"targets": [f"bedrock/{MODELS[0]}"]}},
    }
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    await call(gateway, http_scope(path="/v1/messages"), question("smart"))
    (authorization,) = [value for name, value in upstream.requests[0].headers if name == b"authorization"]
    assert b"Credential=AKIDOFTHEENVIRONMENT/20261123/eu-central-1/bedrock/aws4_request" in authorization


async def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(UpstreamError, match="no AWS credentials") as caught:
        await AmazonSigner(region=REGION).sign("POST", "https://x.example/", (), b"")
    assert caught.value.failure == "credential"


def test_a_region_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"providers\.bedrock\.region: is missing"):
        parse_config({"providers": {"bedrock": {"auth": "sigv4"}}}, environ={})
    with pytest.raises(ConfigError, match="needs a region"):
        make_signer("sigv4")


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_llmgw.signing.find_spec", lambda name: None)
    assert lacks("sigv4") == "bedrock"
    assert lacks("bearer") is None
    with pytest.raises(ConfigError, match=r'pip install "asgi-llmgw\[bedrock\]"'):
        make_signer("sigv4", region=REGION)
    with pytest.raises(ConfigError, match=r'providers\.vertex\.auth: .*pip install "asgi-llmgw\[vertex\]"'):
        parse_config({"providers": {"vertex": {"project": "p"}}}, environ={})
