"""OpenAI's own Python SDK and what a vendor stored for it, over real sockets and recorded bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import openai
import pytest

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import as_str, dumps, loads_object
from tests.sdk.recorded import recorded
from tests.servers import SERVERS, ServerName, background
from tests.wire import needs_wire

pytestmark = needs_wire

KEYS = {"team-a": "client-key-of-team-a", "team-b": "client-key-of-team-b"}
BACKGROUND = "background-mode-streaming-continuation-vcr"
ITEMS = dumps(
    {
        "object": "list",
        "data": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "user",
                "status": "completed",
                "content": [{"type": "input_text", "text": "Hello"}],
            }
        ],
        "first_id": "msg_1",
        "last_id": "msg_1",
        "has_more": False,
    }
)


@dataclass
class Vendor:
    """Answers each request line as told, byte by byte, and keeps what it was asked."""

    url: str = ""
    script: dict[str, tuple[int, bytes, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                line = head.split(b"\r\n")[0].removesuffix(b" HTTP/1.1").decode()
                self.asked.append(line)
                self.heads.append(head)
                missing = (404, b"application/json", b'{"error":{"message":"Response with id \'x\' not found."}}')
                status, kind, body = self.script.get(line, missing)
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % (status, kind)
                )
                for start in range(0, len(body), 97):
                    piece = body[start : start + 97]
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    found = Vendor()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{cast(int, server.sockets[0].getsockname()[1])}"
    try:
        yield found
    finally:
        server.close()


@dataclass
class House:
    """A gateway before a vendor that stores responses."""

    url: str
    vendor: Vendor

    def client(self, key: str = "team-a") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEYS[key], max_retries=0)

    def says(self, line: str, folder: str, name: str) -> bytes:
        status, kind, body = recorded(folder, name)
        self.vendor.script[line] = (status, kind, body)
        return body


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def running(request: pytest.FixtureRequest) -> Iterator[House]:
    with background() as loop:
        found = loop.enter(vendor())
        config = parse_config(
            {
                "keys": [{"name": name, "key": key} for name, key in KEYS.items()],
                "providers": {
                    "mine": {"protocol": "openai_responses", "base_url": f"{found.url}/v1", "api_key": "upstream-key"}
                },
                "models": {"smart": {"targets": ["mine/gpt-4o"]}},
            },
            environ={},
        )
        app = build_app(config, access_log=None)
        yield House(loop.enter(SERVERS[cast(ServerName, request.param)](app)), found)


@pytest.fixture
def house(running: House) -> House:
    running.vendor.script.clear()
    running.vendor.asked.clear()
    running.vendor.heads.clear()
    return running


def created(house: House, client: openai.OpenAI) -> str:
    """Make a response in the background, as a stream that the client leaves after its first event."""
    house.says("POST /v1/responses", "openai_responses", BACKGROUND)
    with client.responses.create(model="smart", input="Hello", background=True, stream=True) as stream:
        first = next(iter(stream))
    assert first.type == "response.created"
    return first.response.id


def test_retrieve_as_a_stream_from_where_it_broke_off(house: House) -> None:
    with house.client() as client:
        identifier = created(house, client)
        line = f"GET /v1/responses/{identifier}?starting_after=0&stream=true"
        house.says(line, "openai_responses_retrieve", "background-mode-streaming-starting-after-vcr-2")
        with client.responses.retrieve(identifier, stream=True, starting_after=0) as stream:
            events = list(stream)
    assert [events[0].type, events[-1].type] == ["response.queued", "response.completed"]
    assert house.vendor.asked[-1] in (line, f"GET /v1/responses/{identifier}?stream=true&starting_after=0")
    assert b"Authorization: Bearer upstream-key" in house.vendor.heads[-1].replace(b"authorization", b"Authorization")


def test_retrieve_cancel_and_list_the_input_items(house: House) -> None:
    with house.client() as client:
        identifier = created(house, client)
        path = f"/v1/responses/{identifier}"
        include = f"GET {path}?include%5B%5D=reasoning.encrypted_content"
        house.says(include, "openai_responses", "responses-create-with-followup-2")
        answer = client.responses.retrieve(identifier, include=["reasoning.encrypted_content"])
        assert "name" in answer.output_text
        cancelled = house.says(f"POST {path}/cancel", "openai_responses", "responses-create-with-followup-2")
        assert client.responses.cancel(identifier).id == as_str(loads_object(cancelled)["id"])
        house.vendor.script[f"GET {path}/input_items?limit=5"] = (200, b"application/json", ITEMS)
        items = list(client.responses.input_items.list(identifier, limit=5))
        assert [item.id for item in items] == ["msg_1"]


def test_delete(house: House) -> None:
    with house.client() as client:
        identifier = created(house, client)
        house.says(f"DELETE /v1/responses/{identifier}", "openai_responses_retrieve", "responses-delete")
        client.responses.delete(identifier)
    assert house.vendor.asked[-1] == f"DELETE /v1/responses/{identifier}"


def test_another_key_finds_nothing(house: House) -> None:
    with house.client() as client, house.client("team-b") as other:
        identifier = created(house, client)
        asked = len(house.vendor.asked)
        with pytest.raises(openai.NotFoundError, match="not found"):
            other.responses.retrieve(identifier)
        with pytest.raises(openai.NotFoundError):
            other.responses.delete(identifier)
        with pytest.raises(openai.BadRequestError) as refused:
            other.responses.create(model="smart", input="And?", previous_response_id=identifier)
        assert refused.value.code == "previous_response_not_found"
        assert len(house.vendor.asked) == asked


def test_the_vendors_own_not_found(house: House) -> None:
    with house.client() as client, pytest.raises(openai.NotFoundError, match="Response with id"):
        client.responses.retrieve("resp_from_before_the_restart")
    assert house.vendor.asked == ["GET /v1/responses/resp_from_before_the_restart"]


@pytest.mark.parametrize(
    "name", ["responses-compact-messages-3", "responses-compact-with-auto-previous-response-id-chain-5"]
)
def test_compact(house: House, name: str) -> None:
    body = house.says("POST /v1/responses/compact", "openai_responses_compact", name)
    with house.client() as client:
        compacted = client.responses.compact(model="smart", input="What is 2+2?")
    assert compacted.id == as_str(loads_object(body)["id"])
    assert compacted.usage.input_tokens > 0
    assert compacted.output[-1].type == "compaction"


@pytest.mark.parametrize("name", ["responses-count-tokens", "responses-usage-limit-exceeded"])
def test_input_tokens(house: House, name: str) -> None:
    """The vendor's own count, as it was recorded."""
    body = house.says("POST /v1/responses/input_tokens", "openai_responses_input_tokens", name)
    with house.client() as client:
        counted = client.responses.input_tokens.count(model="smart", input="The quick brown fox")
    assert counted.input_tokens == loads_object(body)["input_tokens"]
    assert counted.object == "response.input_tokens"
