"""Realtime sessions from a client's socket to a vendor's, under real servers."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI

from tests.realtime.conftest import AUTHORIZED, KEY, MODEL, OpenHouse
from tests.realtime.vendor import CREATED, Refused, echo, response_done, says
from tests.servers import SERVERS
from tests.serving.raw import until

pytestmark = pytest.mark.anyio


async def test_frames_go_both_ways_as_they_are(house: OpenHouse) -> None:
    texts = ['{"type": "response.create"}', '{"type":"é\\u00e9 \U0001f600"}', "not json", ""]
    async with house() as running, running.connect() as client:
        assert await client.receive_str() == CREATED
        for text in texts:
            await client.send_str(text)
            assert await client.receive_str() == text
        await client.send_bytes(b"\0\xff" * 300_000)
        assert await client.receive_bytes() == b"\0\xff" * 300_000
        assert running.vendor.targets == ["/v1/realtime?model=the-model"]
        assert running.vendor.headers[0]["authorization"] == "Bearer first-key"
        assert KEY not in str(running.vendor.headers)


async def test_a_session_is_logged_and_counted_once_it_is_over(house: OpenHouse) -> None:
    done = says(CREATED, response_done(20, 5, 8), '{"type":"x","response.done":1}', response_done(30, 7))
    async with house(done) as running, running.connect() as client:
        async for _ in client:
            pass
        assert client.close_code == 1000
        await until(lambda: bool(running.log))
        (line,) = running.log
        assert (line["status"], line["outcome"], line["endpoint"]) == (101, "completed", "/v1/realtime")
        assert (line["api_key"], line["model"], line["provider"]) == ("team", MODEL, "vendor")
        assert (line["input_tokens"], line["output_tokens"], line["cached_tokens"]) == (50, 12, 8)
        caller = {"api_key": "team", "provider": "vendor", "model": MODEL}
        assert running.counted("llm_requests_total", endpoint="/v1/realtime", **caller) == 1
        assert running.counted("llm_tokens_total", type="input", **caller) == 50
        assert running.counted("llm_tokens_total", type="output", **caller) == 12


async def test_a_running_session_is_a_stream_in_flight(house: OpenHouse) -> None:
    async with house() as running:
        async with running.connect() as client:
            await client.receive_str()
            assert running.counted("llm_streams_in_flight") == 1
        await until(lambda: bool(running.log))
        assert running.counted("llm_streams_in_flight") == 0


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4321])
async def test_the_clients_goodbye_reaches_the_vendor(house: OpenHouse, code: int) -> None:
    async with house() as running:
        client = await running.connect()
        await client.receive_str()
        before = time.monotonic()
        await client.close(code=code)
        # hypercorn does not tell how a client has left
        assert await running.vendor.ended.get() == (1001 if running.server == "hypercorn" else code)
        assert time.monotonic() - before < 0.1
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] == "completed"


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4321])
async def test_the_vendors_goodbye_reaches_the_client(house: OpenHouse, code: int) -> None:
    async with house(says(CREATED, code=code, reason="enough")) as running, running.connect() as client:
        await client.receive_str()
        message = await client.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, code, "enough")
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] == "completed"


async def test_a_client_that_is_cut_off_ends_the_vendors_session(house: OpenHouse) -> None:
    """F109"""
    async with house() as running:
        client = await running.connect()
        await client.receive_str()
        before = time.monotonic()
        client._response.connection.transport.abort()
        assert await running.vendor.ended.get() is not None
        assert time.monotonic() - before < 0.1
        await until(lambda: bool(running.log))
        assert running.log[0]["status"] == 101


async def test_a_vendor_that_is_cut_off_ends_the_clients_session(house: OpenHouse) -> None:
    async with house() as running, running.connect() as client:
        await client.receive_str()
        running.vendor.sessions[0]._req.transport.abort()
        message = await client.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] == "upstream_error"
        assert running.log[0]["error"]["failure"] == "unreachable"


@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key"])
async def test_a_wrong_key_is_refused_before_the_handshake_ends(house: OpenHouse, header: str) -> None:
    async with house() as running:
        status, error = await running.refused(headers={header: "Bearer wrong"})
        assert (status, error["code"]) == (401, "invalid_api_key")
        assert running.vendor.targets == []
        assert running.log[0]["status"] == 401


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"headers": AUTHORIZED}, id="authorization"),
        pytest.param({"headers": {"api-key": KEY}}, id="api-key"),
        pytest.param({"headers": {}, "query": f"?model={MODEL}&key={KEY}"}, id="query"),
        pytest.param({"headers": {}, "protocols": ("realtime", f"openai-insecure-api-key.{KEY}")}, id="subprotocol"),
    ],
)
async def test_the_key_may_come_where_clients_put_it(house: OpenHouse, options: dict[str, object]) -> None:
    async with house() as running, running.connect(**options) as client:
        assert await client.receive_str() == CREATED
        assert client.protocol == ("realtime" if "protocols" in options else None)
        assert KEY not in str(running.vendor.headers) + str(running.vendor.targets)
        assert running.vendor.headers[0].get("sec-websocket-protocol") == client.protocol


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        pytest.param("", 400, "missing_required_parameter", id="no_model"),
        pytest.param("?model=", 400, "missing_required_parameter", id="empty_model"),
        pytest.param(f"?model={MODEL}&model=other", 400, "missing_required_parameter", id="two_models"),
        pytest.param("?model=%FF", 400, "invalid_query", id="not_utf8"),
        pytest.param("?model=unknown", 404, "model_not_found", id="unknown_model"),
        pytest.param(f"?model={MODEL}&call_id=rtc_1", 400, "unsupported_session", id="somebodys_call"),
        pytest.param("?intent=transcription", 400, "unsupported_session", id="no_model_at_all"),
    ],
)
async def test_an_address_that_names_no_model_is_refused(house: OpenHouse, query: str, status: int, code: str) -> None:
    async with house() as running:
        found, error = await running.refused(query)
        assert (found, error["code"]) == (status, code)
        assert running.vendor.targets == []


async def test_a_key_that_may_not_use_the_model_is_refused(house: OpenHouse) -> None:
    async with house(limits={"models": ["gpt-4o"]}) as running:
        assert (await running.refused())[0] == 404


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/elsewhere"])
async def test_other_paths_have_no_websockets(house: OpenHouse, path: str) -> None:
    """F081"""
    async with house() as running:
        status, error = await running.refused(path=path)
        assert (status, error["code"]) == (426, "websockets_not_served")


async def test_a_request_without_an_upgrade_is_told_so(house: OpenHouse) -> None:
    url = f"/v1/realtime?model={MODEL}"
    async with house() as running, running.session.get(running.url + url, headers=AUTHORIZED) as answer:
        assert answer.status == 426
        assert (await answer.json())["error"]["code"] == "websocket_required"


REFUSALS = [
    pytest.param(Refused(401, b'{"error":{"code":"invalid_api_key"}}'), "credential", id="status_401"),
    pytest.param(Refused(429, b"{}", (("retry-after", "7"),)), "rate_limit", id="status_429"),
    pytest.param(Refused(404, b'{"error":{"code":"model_not_found"}}'), "model_access", id="status_404"),
    pytest.param(says(code=3000, reason="invalid_request_error.invalid_api_key"), "credential", id="closed_3000"),
    pytest.param(says(code=1013), "transient", id="closed_1013"),
    pytest.param(says(), "invalid_response", id="closed_1000"),
    pytest.param(
        says('{"type":"error","error":{"type":"invalid_request_error","code":"invalid_api_key","message":"no"}}'),
        "credential",
        id="error_event",
    ),
]


@pytest.mark.parametrize(("refusal", "failure"), REFUSALS)
async def test_a_vendor_that_refuses_leaves_the_session_to_the_next_key(
    house: OpenHouse, refusal: object, failure: str
) -> None:
    async with house(refusal, echo) as running, running.connect() as client:
        assert await client.receive_str() == CREATED
        keys = [headers["authorization"] for headers in running.vendor.headers]
        assert keys[0] == "Bearer first-key"
        if failure in ("credential", "rate_limit", "model_access"):
            assert keys[1] == "Bearer second-key"
        await client.close()
        await until(lambda: bool(running.log))
        assert [tried["failure"] for tried in running.log[0]["tried"]] == [failure, None]
        assert running.counted("llm_attempts_total", provider="vendor", result=failure) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Refused(404, b"<html>Not Found</html>"), id="status_404"),
        pytest.param(Refused(405), id="status_405"),
        pytest.param(Refused(426), id="status_426"),
        pytest.param(Refused(200, b"hello"), id="status_200"),
        pytest.param(Refused(302, b"", (("location", "/v1/elsewhere"),)), id="redirect"),
    ],
)
async def test_a_server_without_sessions_is_none_the_worse_for_it(house: OpenHouse, answer: Refused) -> None:
    async with house(answer, answer, echo) as running:
        status, error = await running.refused()
        assert (status, error["code"]) == (400, "unsupported_operation")
        async with running.connect() as client:
            assert await client.receive_str() == CREATED


async def test_where_every_key_is_refused_so_is_the_client(house: OpenHouse) -> None:
    async with house(Refused(401)) as running:
        status, _ = await running.refused()
        assert status == 502
        assert len(running.vendor.targets) == 2
        assert running.log[0]["outcome"] == "upstream_error"


async def test_a_session_holds_its_slot_until_it_is_over(house: OpenHouse) -> None:
    async with house(limits={"concurrency": 1}) as running:
        async with running.connect() as client:
            await client.receive_str()
            assert (await running.refused())[0] == 429
            assert running.counted("llm_limited_total", api_key="team", limit="key_concurrency") == 1
        await until(lambda: len(running.log) == 2)
        async with running.connect() as client:
            assert await client.receive_str() == CREATED


async def test_tokens_are_settled_at_what_the_responses_used(house: OpenHouse) -> None:
    done = says(CREATED, response_done(3000, 1000), response_done(2000, 1000))
    async with house(done, echo, limits={"tpm": 9000}) as running:
        async with running.connect() as client:
            async for _ in client:
                pass
        await until(lambda: bool(running.log))
        async with running.connect() as client:
            # 7000 were used, and 1024 and the model's name are held for this one
            assert 900 < int(client._response.headers["x-ratelimit-remaining-tokens"]) <= 976


async def test_what_runs_when_the_time_to_drain_is_over_is_told_to_come_again(house: OpenHouse) -> None:
    async with house(server={"drain_seconds": 0.05}) as running, running.connect() as client:
        await client.receive_str()
        await running.gateway.drained()
        message = await client.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        assert await running.vendor.ended.get() == 1001
        assert running.log[0]["error"]["code"] == "shutting_down"
        assert (await running.refused())[0] == 503


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_origins_may_not_come_in_without_a_key_of_their_own(house: OpenHouse, origin: str) -> None:
    async with house(keys=False) as running:
        status, error = await running.refused(headers={"origin": origin})
        assert (status, error["code"]) == (403, "foreign_origin")
        async with running.connect(headers={}, origin=running.url) as client:
            assert await client.receive_str() == CREATED
    async with house() as running, running.connect(origin=origin) as client:
        assert await client.receive_str() == CREATED


async def test_a_client_that_takes_nothing_slows_the_vendor_down(house: OpenHouse) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def flood(session: web.WebSocketResponse) -> None:
        nonlocal sent
        await session.send_str(CREATED)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await session.send_bytes(b"x" * 100_000)
            except (TimeoutError, ConnectionError):
                stuck.set()
                return
            sent += 1

    async with house(flood) as running, running.connect() as client:
        await client.receive_str()
        client._response.connection.transport.pause_reading()
        await stuck.wait()
        client._response.connection.transport.abort()
        assert sent < 1000


@pytest.mark.parametrize(("mount", "path"), [("/v1", "/v1/realtime"), ("/gw", "/gw/v1/realtime")])
async def test_a_mounted_gateway_holds_sessions_below_its_mount_point(house: OpenHouse, mount: str, path: str) -> None:
    """F074"""
    async with house() as running:
        host = FastAPI()
        host.mount(mount, running.gateway)
        async with SERVERS[running.server](host) as url:
            async with running.session.ws_connect(f"{url}{path}?model={MODEL}", headers=AUTHORIZED) as client:
                assert await client.receive_str() == CREATED
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await running.session.ws_connect(f"{url}{path}?model={MODEL}")
            assert refused.value.status == 401
