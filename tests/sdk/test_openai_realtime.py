"""OpenAI's own SDK holds realtime sessions through the gateway."""

from __future__ import annotations

import asyncio
import json
import shutil

import openai
import pytest
from aiohttp import web
from websockets.exceptions import InvalidStatus

from tests.realtime.conftest import KEY, MODEL, house
from tests.realtime.conftest import OpenHouse as OpenHouse
from tests.realtime.vendor import CREATED, Refused, response_done, says

pytestmark = pytest.mark.anyio
__all__ = ("house",)

DELTA = (
    '{"type":"response.output_text.delta","event_id":"e","response_id":"r","item_id":"i","output_index":0,'
    '"content_index":0,"delta":"Hi"}'
)


IN_NODE = """
const [address, key] = process.argv.slice(1);
const socket = new WebSocket(address, ['realtime', `openai-insecure-api-key.${key}`, 'openai-project.proj_1']);
const seen = [];
socket.onmessage = (event) => { seen.push(JSON.parse(event.data).type); };
socket.onclose = (event) => { console.log(JSON.stringify([socket.protocol, event.code, seen])); };
"""
"""What OpenAI's SDK does in a browser, which it does over TLS alone."""


async def test_a_session_runs_to_its_end(house: OpenHouse) -> None:
    async with house(says(CREATED, DELTA, response_done(3, 1))) as running:
        client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=KEY)
        async with client.realtime.connect(model=MODEL) as connection:
            kinds = [event.type async for event in connection]
        await client.close()
    assert kinds == ["session.created", "response.output_text.delta", "response.done"]


async def test_what_it_sends_reaches_the_vendor(house: OpenHouse) -> None:
    async def session(socket: web.WebSocketResponse) -> None:
        await socket.send_str(CREATED)
        heard.append((await socket.receive_json())["type"])
        await socket.close()

    heard: list[str] = []
    async with house(session) as running:
        client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=KEY)
        async with client.realtime.connect(model=MODEL) as connection:
            await connection.response.create()
            async for _ in connection:
                pass
        await client.close()
    assert heard == ["response.create"]


async def test_it_is_told_why_it_may_not_come_in(house: OpenHouse) -> None:
    async with house(Refused(401)) as running:
        for key, model, status in (("wrong", MODEL, 401), (KEY, "unknown", 404), (KEY, MODEL, 502)):
            client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key)
            with pytest.raises(InvalidStatus) as refused:
                async with client.realtime.connect(model=model):
                    pass
            assert refused.value.response.status_code == status
            await client.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("house", ["uvicorn"], indirect=True)  # Node 20 cannot read what hypercorn compresses
async def test_a_browsers_websocket_brings_its_key_as_a_subprotocol(house: OpenHouse) -> None:
    async with house(says(CREATED, response_done(3, 1), code=4000)) as running:
        address = f"{running.url.replace('http', 'ws')}/v1/realtime?model={MODEL}"
        command = ("node", "--experimental-websocket", "--no-warnings", "-e", IN_NODE, "--", address, KEY)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert json.loads(out) == ["realtime", 4000, ["session.created", "response.done"]]
        assert running.vendor.headers[0]["sec-websocket-protocol"] == "realtime"
        assert KEY not in str(running.vendor.headers)
