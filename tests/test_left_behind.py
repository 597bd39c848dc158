"""Nothing of a request waits for the garbage collector: a large body would wait with it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from asgi_llmgw.answer import Answer
from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.json import Document, JSONObject
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope

pytestmark = pytest.mark.anyio
QUESTION: JSONObject = {"model": "demo", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def collected() -> Iterator[list[object]]:
    """What the collector has to find, of all that is made inside."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [type(left) for left in gc.garbage if isinstance(left, (Exchange, Answer, Document))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_request_that_is_over_is_gone(path: str, stream: bool) -> None:
    app = build_app(parse_config({}, environ={}), access_log=None)
    body: JSONObject = {**QUESTION, "stream": stream}
    assert (await call(app, http_scope(path=path), body)).status == 200
    with collected() as left:
        assert (await call(app, http_scope(path=path), body)).status == 200
    assert left == []
    await app.aclose()


async def test_nor_does_one_that_failed() -> None:
    """What an error remembers of where it was raised leads back to the request."""
    config = parse_config(
        {
            "providers": {
                "vendor": {"protocol": "openai_chat", "base_url": "http://vendor.example/v1", "api_key": "k"}
            },
            "models": {"smart": {"targets": ["vendor/m"]}},
            "retry": {"attempts": 1},
        },
        environ={},
    )
    refusals = [FakeResponse([b'{"error":{"message":"no"}}'], status=400) for _ in range(2)]
    app = build_app(config, upstream=FakeUpstream([*refusals, FakeResponse([b"<html>"], status=200)]), access_log=None)
    bodies: list[JSONObject] = [{**QUESTION, "model": "smart"}, {**QUESTION, "model": "unknown"}, {"model": 1}]
    for body in bodies:
        await call(app, http_scope(), body)
    with collected() as left:
        for body in bodies:
            assert (await call(app, http_scope(), body)).status >= 400
        assert (await call(app, http_scope(), bodies[0])).status >= 400
    assert left == []
    await app.aclose()
