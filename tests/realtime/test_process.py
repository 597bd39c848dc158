"""Realtime sessions in a process of its own that is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.processes import end, serving
from tests.realtime.vendor import CREATED, echo, vendor_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
async def test_sessions_have_the_time_to_drain_and_are_told_to_come_again(server: str, tmp_path: Path) -> None:
    async with vendor_of(echo) as vendor, aiohttp.ClientSession() as session:
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'[server]\ndrain_seconds = 1\n[providers.vendor]\nprotocol = "openai_chat"\nbase_url = "{vendor.url}"\n'
            'auth = "none"\n[models."voice"]\ntargets = ["vendor/voice"]\n'
        )
        with serving("--server", server, "--config", str(path)) as (process, address):
            async with session.ws_connect(f"http://{address}/v1/realtime?model=voice") as client:
                assert await client.receive_str() == CREATED
                ending = asyncio.create_task(asyncio.to_thread(end, process, signal.SIGTERM))
                while (await session.get(f"http://{address}/ready")).status != 503:
                    pass
                await client.send_str("still here")
                assert await client.receive_str() == "still here"
                message = await client.receive()
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
                assert await vendor.ended.get() == 1001
            out, err = await ending
    assert process.returncode == 0
    assert "Traceback" not in err
    (line,) = [line for line in map(json.loads, out.splitlines()) if line["endpoint"] == "/v1/realtime"]
    assert (line["status"], line["error"]["code"]) == (101, "shutting_down")
