"""Forms through the whole gateway: passed on while they come, sent again only where nothing has gone out."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import Message, Scope
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.testing import FakeResponse, RecordingSend, ScriptedReceive, call, http_scope
from asgi_llmgw.uploads import LOOK_AHEAD
from tests.test_operations import SMALL, TEAM, House, code, house, scope

__all__ = ("house",)
pytestmark = pytest.mark.anyio

FORM = b"multipart/form-data; boundary=b"
HEARD = b'{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":3,"total_tokens":17}}'
DOWN = FakeResponse([b'{"error":{"message":"down"}}'], status=500)
LARGE = b"\x00sound" * (LOOK_AHEAD // 4)
PATH = "/v1/audio/transcriptions"


def model(name: str) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % name.encode()


def file(content: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n' % content


END = b"--b--\r\n"


def asking(length: int | None = None, **more: bytes) -> Scope:
    found = scope(PATH, kind=FORM, **more)  # type: ignore[arg-type]
    if length is not None:
        found["headers"].append((b"content-length", str(length).encode()))
    return found


def pieces(body: bytes) -> ScriptedReceive:
    return ScriptedReceive(*(body[start : start + 65_536] for start in range(0, len(body), 65_536)))


async def test_a_form_reaches_the_vendor_with_its_own_name_for_the_model(house: House) -> None:
    vendor = house.says("openai", HEARD)
    body = model("whisper-1") + file(LARGE) + END
    send = RecordingSend()
    await house.gateway(asking(len(body)), pieces(body), send)
    assert (send.status, send.body) == (200, HEARD)
    assert vendor.sent == [body.replace(b"whisper-1", b"whisper-large")]
    request = vendor.requests[0]
    assert request.length == len(vendor.sent[0]) and dict(request.headers)[b"content-type"] == FORM
    assert request.url == "https://api.openai.com/v1/audio/transcriptions"
    line = house.line
    assert (line["input_tokens"], line["output_tokens"], line["route"]) == (14, 3, "whisper-1")


@pytest.mark.parametrize("content", [b"short", LARGE], ids=["short", "large"])
async def test_a_form_may_name_its_model_last_or_not_at_all(house: House, content: bytes) -> None:
    vendor = house.says("openai", HEARD)
    for last in (model("whisper-1"), b""):
        send = RecordingSend()
        await house.gateway(asking(), pieces(file(content) + last + END), send)
        assert send.status == 200
        assert vendor.sent[-1] == file(content) + model("whisper-large") + END


async def test_a_model_behind_a_large_file_must_be_told_in_the_address_too(house: House) -> None:
    house.says("openai", HEARD)
    body = file(LARGE) + model("small") + END
    send = RecordingSend()
    await house.gateway(asking(), pieces(body), send)
    assert (send.status, code(send.json)) == (400, "model_after_file")
    send = RecordingSend()
    await house.gateway(asking(query=b"model=small"), pieces(body), send)
    assert send.status == 200
    send = RecordingSend()
    await house.gateway(asking(query=b"model=whisper-1"), pieces(model("small") + END), send)
    assert send.status == 400


async def test_a_key_cannot_name_one_model_and_mean_another(house: House) -> None:
    house.says("openai", HEARD)
    for body in (model("small") + file(LARGE) + model("whisper-1") + END, model("small") + model("whisper-1") + END):
        send = RecordingSend()
        await house.gateway(asking(key=SMALL), pieces(body), send)
        assert send.status == 400
    send = RecordingSend()
    await house.gateway(asking(key=SMALL), pieces(model("whisper-1") + END), send)
    assert (send.status, code(send.json)) == (404, "model_not_found")
    assert house.vendors["openai"].sent == []


async def test_a_short_form_is_sent_again_to_the_next_target(house: House) -> None:
    house.says("openai", DOWN)
    other = house.says("other", HEARD)
    body = model("whisper-1") + file(b"short") + END
    assert (await call(house.gateway, asking(), body)).status == 200
    assert other.sent == [body.replace(b"whisper-1", b"whisper")]


async def test_a_large_form_that_has_begun_is_not_sent_again(house: House) -> None:
    house.says("openai", DOWN)
    other = house.says("other", HEARD)
    send = RecordingSend()
    await house.gateway(asking(), pieces(model("whisper-1") + file(LARGE) + END), send)
    assert send.status == 500 and other.requests == []


async def test_a_large_form_goes_elsewhere_where_nothing_was_taken(house: House) -> None:
    house.says("openai", UpstreamError("no", failure="unreachable"))
    other = house.says("other", HEARD)
    send = RecordingSend()
    await house.gateway(asking(), pieces(model("whisper-1") + file(LARGE) + END), send)
    assert send.status == 200 and len(other.sent[0]) > LOOK_AHEAD


async def test_a_form_is_never_sent_to_two_at_once(house: House) -> None:
    wait = anyio.Event()
    house.says("openai", FakeResponse([wait, HEARD]))
    send = RecordingSend()
    async with anyio.create_task_group() as group:
        group.start_soon(house.gateway, asking(), pieces(model("hedged") + file(LARGE) + END), send)
        await anyio.sleep(0.05)
        wait.set()
    assert send.status == 200 and house.vendors["other"].requests == []


async def test_a_form_that_says_it_is_too_large_is_refused_unread(house: House) -> None:
    receive, send = pieces(b"x"), RecordingSend()
    await house.gateway(asking(300 * 1024 * 1024), receive, send)
    assert (send.status, receive.calls) == (413, 0)


async def test_a_form_that_grows_too_large_is_ended(house: House) -> None:
    house.says("openai", HEARD)
    left = 5000

    async def receive() -> Message:
        nonlocal left
        left -= 1
        begun = model("whisper-1") + file(b"")[:-2] if left == 4999 else b"x" * 65_536
        return {"type": "http.request", "body": begun, "more_body": True}

    send = RecordingSend()
    await house.gateway(asking(), receive, send)
    assert send.status == 413 and left > 0
    assert house.vendors["openai"].sent == []


async def test_a_client_that_leaves_in_the_middle_ends_the_call(house: House) -> None:
    house.says("openai", HEARD)
    messages: list[Message] = [
        {"type": "http.request", "body": model("whisper-1") + file(LARGE)[:-2], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        if not messages:
            await anyio.sleep_forever()
        return messages.pop(0)

    send = RecordingSend()
    with anyio.fail_after(5):
        await house.gateway(asking(), receive, send)
    assert send.status == 499 and house.line["outcome"] == "client_disconnected"
    assert house.vendors["openai"].open_calls == 0


async def test_what_is_no_form_is_refused_or_read_as_json(house: House) -> None:
    refused = await call(house.gateway, scope(PATH), {"model": "whisper-1"})
    assert refused.status == 415
    form = await call(house.gateway, scope("/v1/embeddings", kind=FORM), model("small") + END)
    assert form.status == 415
    house.says("openai", b'{"data":[]}')
    edited = await call(house.gateway, scope("/v1/images/edits"), {"model": "small", "images": [{"image_url": "x"}]})
    assert edited.status == 200


def kept(method: str, path: str, key: bytes = TEAM) -> Scope:
    return http_scope(method, path, headers=((b"authorization", b"Bearer " + key),))


async def test_a_file_is_there_for_the_key_that_sent_it(house: House) -> None:
    vendor = house.says("openai", b'{"id":"file-1","object":"file"}')
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' + file(b"{}\n") + END
    assert (await call(house.gateway, scope("/v1/files", SMALL, kind=FORM), body)).status == 200
    assert vendor.sent == [body]
    assert (await call(house.gateway, kept("GET", "/v1/files/file-1", SMALL))).status == 200
    content = FakeResponse([b"{}\n"], headers=((b"content-type", b"application/octet-stream"),))
    house.says("openai", content)
    assert (await call(house.gateway, kept("GET", "/v1/files/file-1/content", SMALL))).body == b"{}\n"
    for path in ("/v1/files/file-1", "/v1/files/file-1/content"):
        answer = await call(house.gateway, kept("GET", path))
        assert (answer.status, code(answer.json)) == (404, "not_found")
    assert [request.url.removeprefix("https://api.openai.com") for request in vendor.requests] == [
        "/v1/files",
        "/v1/files/file-1",
        "/v1/files/file-1/content",
    ]


async def test_lists_batches_and_what_nobody_remembers_are_for_keys_without_limits(house: House) -> None:
    house.says("openai", b'{"id":"batch_1","object":"batch"}')
    asked = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    assert (await call(house.gateway, scope("/v1/batches", SMALL), asked)).status == 403  # type: ignore[arg-type]
    assert (await call(house.gateway, scope("/v1/batches"), asked)).status == 200  # type: ignore[arg-type]
    assert (await call(house.gateway, kept("GET", "/v1/files", SMALL))).status == 403
    assert (await call(house.gateway, kept("GET", "/v1/files/file-9", SMALL))).status == 404
    assert (await call(house.gateway, kept("GET", "/v1/files/file-9"))).status == 200
    assert (await call(house.gateway, kept("GET", "/v1/organization/usage/costs"))).status == 404
    listed = await call(house.gateway, {**kept("GET", "/v1/files"), "query_string": b"limit=2&x=secret&purpose=batch"})
    assert listed.status == 200
    assert house.vendors["openai"].requests[-1].url == "https://api.openai.com/v1/files?limit=2&purpose=batch"


async def test_a_cache_is_made_for_a_model_the_key_may_use(house: House) -> None:
    made = b'{"name":"cachedContents/c1","model":"models/gemini-embedding-001"}'
    vendor = house.says("gemini", made)
    asked = {"model": "models/g", "contents": [{"parts": [{"text": "a"}]}]}
    path = "/v1beta/cachedContents"
    assert (await call(house.gateway, scope(path, SMALL), asked)).status == 404  # type: ignore[arg-type]
    assert (await call(house.gateway, scope(path), asked)).body == made  # type: ignore[arg-type]
    assert b'"model":"models/gemini-embedding-001"' in vendor.sent[0]
    assert (await call(house.gateway, kept("GET", f"{path}/c1", SMALL))).status == 404
    assert (await call(house.gateway, kept("DELETE", f"{path}/c1"))).status == 200
    assert vendor.requests[-1].method == "DELETE" and vendor.requests[-1].url.endswith("/v1beta/cachedContents/c1")
