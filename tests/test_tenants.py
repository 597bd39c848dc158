"""Many tenants at once, each with secrets of its own: nothing of one ever reaches another."""

from __future__ import annotations

import ast
import asyncio
import copy
import gc
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import anyio
import pytest

from asgi_llmgw._types import Headers, Receive, Scope, Send
from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.components.auth import AuthMiddleware, Key, hash_key
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.testing import SSE_HEADERS, FakeUpstream, RecordingSend, ScriptedReceive, call, http_scope, sse_response
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.samples import CHAT_ROLE, DONE, chat_chunk, chat_request, chat_stream, messages_stream
from tests.sources import PACKAGE, nodes

pytestmark = pytest.mark.anyio

CANARY = re.compile(rb"canary-\d+-\d+-\d+")
TENANTS, STREAMS, ROUNDS = 20, 10, 3
PATHS: dict[Protocol, str] = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/any:streamGenerateContent",
}


@dataclass
class Echo:
    """An upstream that streams the canary it was asked with back in pieces, whenever it likes."""

    chance: random.Random
    open_calls: int = 0
    keys: set[tuple[bytes, bytes]] = field(default_factory=set)

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[Echoed]:
        self.open_calls += 1
        try:
            yield Echoed(request, self.chance)
        finally:
            self.open_calls -= 1

    async def aclose(self) -> None:
        return None


class Echoed:
    status = 200
    headers: Headers = SSE_HEADERS

    def __init__(self, request: UpstreamRequest, chance: random.Random) -> None:
        self._request = request
        self._chance = chance

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        (canary,) = set(CANARY.findall(self._request.body))
        words = [f"{canary.decode()} "] * 6
        messages = b"anthropic-version" in dict(self._request.headers)
        frames = messages_stream(*words) if messages else chat_stream(*words, usage=True)
        for chunk in frames:
            for _ in range(self._chance.randrange(3)):
                await asyncio.sleep(0)
            cut = self._chance.randrange(len(chunk))
            for piece in (chunk[:cut], chunk[cut:]):
                if piece:
                    yield piece

    async def aread(self, *, limit: int) -> bytes:
        return b"".join([chunk async for chunk in self.aiter_raw()])[:limit]


def key_of(tenant: int) -> str:
    return f"key-of-tenant-{tenant:04}"


def house(upstream: Any, log: list[bytes]) -> Gateway:
    config = parse_config(
        {
            "keys": [{"name": f"tenant-{number}", "key": key_of(number)} for number in range(TENANTS)],
            "providers": {
                "one": {"protocol": "openai_chat", "base_url": "https://one.example/v1", "api_key": "k1"},
                "two": {"kind": "anthropic", "base_url": "https://two.example", "api_key": "k2"},
            },
            "models": {"chat": {"targets": ["one/m"]}, "messages": {"targets": ["two/m"]}},
        },
        environ={},
    )
    return build_app(config, upstream=upstream, access_log=log.append)


def asked(protocol: Protocol, model: str, canary: str) -> tuple[str, JSONObject]:
    path = PATHS[protocol].replace("any", model)
    match protocol:
        case "openai_chat":
            return path, {"model": model, "stream": True, "messages": [{"role": "user", "content": canary}]}
        case "openai_responses":
            return path, {"model": model, "stream": True, "input": canary}
        case "anthropic_messages":
            message: JSONObject = {"role": "user", "content": canary}
            return path, {"model": model, "stream": True, "max_tokens": 9, "messages": [message]}
        case "gemini_generate":
            return path, {"contents": [{"role": "user", "parts": [{"text": canary}]}]}
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


async def one_stream(app: Gateway, chance: random.Random, tenant: int, number: int, turn: int) -> tuple[bytes, bool]:
    """What the client of one stream got, and whether it stayed to the end."""
    canary = f"canary-{turn}-{tenant}-{number}"
    path, body = asked(chance.choice(list(PATHS)), chance.choice(["chat", "messages"]), canary)
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key_of(tenant)}".encode())]
    receive, send = ScriptedReceive(dumps(body)), RecordingSend()
    serving = asyncio.create_task(app(http_scope(path=path, headers=headers), receive, send))
    leaves = chance.random() < 0.4
    if leaves:
        for _ in range(chance.randrange(1, 40)):
            await asyncio.sleep(0)
        serving.cancel() if chance.random() < 0.5 else receive.disconnect()
    await asyncio.wait({serving})
    text = send.body if send.messages else b""
    found = set(CANARY.findall(text))
    assert found <= {canary.encode()}, (canary, found)
    if not leaves:
        assert send.status == 200, text
        assert text.count(canary.encode()) >= 6
    return text, leaves


async def test_each_stream_holds_its_own_words_alone() -> None:
    """F064, F065: tenants times streams, all protocols, random leavings, round after round in the same process."""
    chance = random.Random(64)
    upstream, log = Echo(chance), list[bytes]()
    app = house(upstream, log)
    for turn in range(ROUNDS):
        streams = [(tenant, number) for tenant in range(TENANTS) for number in range(STREAMS)]
        chance.shuffle(streams)
        outcomes = await asyncio.gather(*(one_stream(app, chance, tenant, number, turn) for tenant, number in streams))
        assert sum(leaves for _, leaves in outcomes) > 20
        assert upstream.open_calls == 0
    assert len(log) == TENANTS * STREAMS * ROUNDS
    assert not CANARY.search(b"".join(log)) and b"key-of-tenant" not in b"".join(log)
    await app.aclose()


def state_of(module: ModuleType) -> dict[str, object]:
    """A copy of what a module could change by accident."""
    return {
        name: copy.copy(value)
        for name, value in vars(module).items()
        if isinstance(value, dict | list | set | bytearray) and not name.startswith("__")
    }


def ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.startswith("asgi_llmgw")}


async def test_requests_leave_nothing_behind_in_the_modules() -> None:
    """F065: no module-level container grows, shrinks or changes, and no default argument does."""
    upstream = Echo(random.Random(65))
    app = house(upstream, [])
    await asyncio.gather(*(one_stream(app, random.Random(number), number, 0, 0) for number in range(TENANTS)))
    before = {name: state_of(module) for name, module in ours().items()}
    await asyncio.gather(*(one_stream(app, random.Random(number), number, 1, 1) for number in range(TENANTS)))
    assert {name: state_of(module) for name, module in ours().items() if name in before} == before
    await app.aclose()


def test_no_default_argument_can_be_changed() -> None:
    """F065."""
    for path, found in nodes().items():
        for node in found:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for default in [*node.args.defaults, *node.args.kw_defaults]:
                    assert not isinstance(default, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp), (
                        path,
                        node.name,
                    )


async def test_what_hosts_keep_in_the_scope_is_not_touched() -> None:
    """F066: neither the scope nor the state that all requests of a server share."""
    upstream = FakeUpstream([sse_response(*chat_stream("Hi"))])
    app = build_app(
        parse_config({"providers": {"v": {"kind": "openai", "api_key": "k"}}}, environ={}),
        upstream=upstream,
        access_log=None,
    )
    shared = {"pool": ["of the host"], "tenant": "a"}
    state = {"shared": shared}
    scope = {**http_scope(headers=[(b"content-type", b"application/json")], query=b"a=1"), "state": state}
    before = copy.deepcopy({name: value for name, value in scope.items() if name != "state"})
    answer = await call(app, scope, chat_request("gpt-4o", stream=True))
    assert answer.status == 200
    assert {name: value for name, value in scope.items() if name != "state"} == before
    assert scope["state"] is state and state == {"shared": {"pool": ["of the host"], "tenant": "a"}}
    await app.aclose()


def test_no_identity_travels_in_a_context_variable() -> None:
    """F061: the one there is tells of a connection, and is set anew by each call."""
    found = {
        ast.unparse(node.args[0])
        for part in nodes().values()
        for node in part
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "ContextVar"
    }
    assert found == {"'asgi_llmgw_connection_reused'"}


SLOW = re.compile(r"\b(scrypt|pbkdf2\w*|bcrypt|argon2\w*|crypt)\b", re.IGNORECASE)


def test_no_slow_hash_stands_in_a_requests_way() -> None:
    """F054: one of those blocks everybody for 50 ms."""
    assert [path.name for path in PACKAGE.rglob("*.py") if SLOW.search(path.read_text())] == []


async def test_ten_thousand_wrong_keys_leave_no_trace_in_memory() -> None:
    """F068, F051: a wrong key is digested, refused and forgotten."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("a wrong key came in")

    app = AuthMiddleware(inside, keys=[Key("a", hash_key("the-right-one"))])

    async def guess(number: int) -> None:
        headers = [(b"authorization", b"Bearer wrong-%d-" % number + b"x" * (number % 500))]
        assert (await call(app, http_scope(headers=headers), b"{}")).status == 401

    for number in range(100):
        await guess(number)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(10_000):
        await guess(number)
    gc.collect()
    assert sys.getallocatedblocks() - before < 1_000


async def test_words_that_come_late_go_to_nobody_else() -> None:
    """F064, F110: a stream that was given up sends its rest to no other."""
    late = anyio.Event()
    upstream = FakeUpstream(
        [
            sse_response(CHAT_ROLE, chat_chunk({"content": "canary-0-0-0"}), late, chat_chunk({"content": "late"})),
            sse_response(CHAT_ROLE, chat_chunk({"content": "mine"}), chat_chunk({}, "stop"), DONE),
        ]
    )
    config = parse_config({"providers": {"v": {"kind": "openai", "api_key": "k"}}}, environ={})
    app = build_app(config, upstream=upstream, access_log=None)
    body = dumps(chat_request("gpt-4o", stream=True))
    seen = asyncio.Event()
    first, receive = RecordingSend(lambda chunk: seen.set()), ScriptedReceive(body)
    serving = asyncio.create_task(app(http_scope(), receive, first))
    await seen.wait()
    receive.disconnect()
    await serving
    late.set()
    second = await call(app, body=body)
    assert b"mine" in second.body and b"canary" not in second.body and b"late" not in second.body
    await app.aclose()
