"""Converse calls signed for Amazon: as Amazon's own client signs them at the same time, for the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.credentials import Credentials

from asgi_llmgw import TranslatorMiddleware
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.json import dumps, loads_object
from asgi_llmgw.protocols.base import EncodedRequest
from asgi_llmgw.providers.catalog import provider_from_catalog
from asgi_llmgw.signing import AmazonSigner
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.protocols.bedrock_converse.shapes import parameters

pytestmark = pytest.mark.anyio

REGION: Final = "eu-central-1"
SECRET: Final = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BASE: Final = "https://bedrock-runtime.eu-central-1.amazonaws.com"
MODELS: Final = [
    "amazon.nova-pro-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sign at the same time, whenever that is."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC))


async def ours(model: str, *, token: str | None, stream: bool) -> UpstreamRequest:
    """What is sent for a client of Chat Completions."""
    signer = AmazonSigner(region=REGION, credentials=Credentials("AKIDEXAMPLE", SECRET, token))
    provider = provider_from_catalog("aws", "bedrock-converse", auth="sigv4", signer=signer, places={"region": REGION})
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    app = TranslatorMiddleware(ProxyApp(provider, upstream=upstream), over="bedrock_converse", serve="openai_chat")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    content = [{"type": "text", "text": "Grüße"}, picture]
    body = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": content}], "stream": stream}
    await call(app, http_scope(), dumps(body))
    return upstream.requests[0]


def theirs(call_: UpstreamRequest, *, token: str | None, stream: bool) -> dict[str, bytes]:
    """The headers, the address and the body that Amazon's own client sends for the arguments of this call."""
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
        sent["url"] = request.url.encode()
        return AWSResponse(request.url, 200, {}, _Nothing())

    def with_our_spaces(request: Any, **_: object) -> None:
        # the same JSON, byte for byte; and a header that only we send has to be signed too
        sent["body"] = request.data
        request.data = call_.body
        request.headers["Accept"] = dict(call_.headers)[b"accept"].decode()

    client.meta.events.register("before-send.bedrock-runtime", note)
    client.meta.events.register("before-sign.bedrock-runtime", with_our_spaces)
    arguments = parameters(EncodedRequest(call_.url.removeprefix(BASE), call_.body))
    (client.converse_stream if stream else client.converse)(**arguments)
    return sent


class _Nothing:
    """An empty answer, as botocore reads one."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        return iter([b"{}"])

    def read(self, *_: object) -> bytes:
        return b"{}"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("token", [None, "session-token"], ids=["user", "role"])
@pytest.mark.parametrize("model", MODELS)
async def test_the_same_call_has_the_same_signature(
    model: str, token: str | None, stream: bool, report: Callable[[str, int], None]
) -> None:
    request = await ours(model, token=token, stream=stream)
    expected = theirs(request, token=token, stream=stream)
    headers = dict(request.headers)
    assert request.url.encode() == expected["url"]
    assert loads_object(request.body) == loads_object(expected["body"])
    for name in ("authorization", "x-amz-date", "content-type"):
        assert headers[name.encode()] == expected[name], name
    assert headers.get(b"x-amz-security-token") == expected.get("x-amz-security-token")
    assert len(headers) == len(request.headers)
    report("Converse calls signed as botocore's own client signs them", 1)
