"""The helpers every ASGI component leans on."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from asgi_llmgw._types import Message, Scope
from asgi_llmgw.asgi import (
    ClientDisconnected,
    header,
    headers_of,
    path_with_query,
    peek_body,
    read_body,
    replay,
    route_path,
    send_gone,
    send_response,
    watch_disconnect,
)
from asgi_llmgw.errors import RequestError
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, http_scope


class Messages:
    """A `receive` that gives just these messages."""

    def __init__(self, *messages: Message) -> None:
        self.left = list(messages)

    async def __call__(self) -> Message:
        return self.left.pop(0)


def test_headers_are_a_copy_in_lower_case() -> None:
    """F009 F017"""
    raw = [(b"X-Api-Key", b"a")]
    headers = headers_of({"type": "http", "headers": raw})
    raw.append((b"authorization", b"a trailer"))
    assert headers == ((b"x-api-key", b"a"),)


def test_headers_may_be_any_iterable_of_any_pairs_of_bytes() -> None:
    """F018"""

    def lists() -> Iterator[list[bytearray]]:
        yield [bytearray(b"A"), bytearray(b"b")]

    assert headers_of({"type": "http", "headers": lists()}) == ((b"a", b"b"),)
    assert headers_of({"type": "http"}) == ()


def test_the_first_value_of_a_header_is_taken() -> None:
    headers = ((b"a", b" \xe9 "), (b"a", b"2"))
    assert header(headers, b"a") == "é"
    assert header(headers, b"b") is None


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        pytest.param("/v1/models", "", "/v1/models", id="not mounted"),
        pytest.param("/llm/v1/models", "/llm", "/v1/models", id="the path includes the mount point"),
        pytest.param("/v1/models", "/llm", "/v1/models", id="the path was stripped before"),
        pytest.param("/llm/v1/models", "/llm/", "/v1/models", id="a trailing slash"),
        pytest.param("/llmx/models", "/llm", "/llmx/models", id="not a whole segment"),
        pytest.param("/llm", "/llm", "/", id="the mount point itself"),
        pytest.param("/llm/llm", "/llm", "/llm", id="stripped once"),
        pytest.param("", "", "/", id="empty"),
    ],
)
def test_the_mount_point_is_taken_off_where_it_is_a_true_prefix(path: str, root_path: str, expected: str) -> None:
    assert route_path(http_scope(path=path, root_path=root_path)) == expected


def test_a_scope_may_lack_what_servers_leave_out() -> None:
    """F019"""
    scope: Scope = {"type": "http", "path": "/v1/models"}
    assert route_path(scope) == path_with_query(scope) == "/v1/models"


def test_the_query_follows_the_path() -> None:
    assert path_with_query(http_scope(path="/a", query=b"alt=sse")) == "/a?alt=sse"


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [(b"",), (b"abc",), (b"a", b"b", b"c"), (b"", b"abc", b"")])
async def test_a_body_is_read_whole(chunks: tuple[bytes, ...]) -> None:
    """F021"""
    assert await read_body(ScriptedReceive(*chunks)) == b"".join(chunks)


@pytest.mark.anyio
async def test_missing_keys_of_a_body_message_have_their_defaults() -> None:
    """F021"""
    assert await read_body(Messages({"type": "http.request"})) == b""
    assert await read_body(Messages({"type": "http.request", "more_body": True}, {"type": "http.request"})) == b""


@pytest.mark.anyio
async def test_a_body_in_a_million_pieces_takes_linear_time() -> None:
    """F046"""
    count = 1_000_000

    async def receive() -> Message:
        nonlocal count
        count -= 1
        return {"type": "http.request", "body": b"x", "more_body": count > 0}

    with anyio.fail_after(20):
        assert len(await read_body(receive)) == 1_000_000


@pytest.mark.anyio
async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    """F039"""
    receive = ScriptedReceive(b"abc")
    with pytest.raises(RequestError) as caught:
        await read_body(receive, headers=((b"content-length", b"11"),), limit=10)
    assert caught.value.status == 413
    assert receive.calls == 0


@pytest.mark.anyio
@pytest.mark.parametrize("value", [b"-1", b"+2", b"1e3", b"0x2", b"", b"\xb2", b"\xb9\xb9", b"a"])
async def test_a_length_that_is_no_number_decides_nothing(value: bytes) -> None:
    """F003"""
    assert await read_body(ScriptedReceive(b"abc"), headers=((b"content-length", value),), limit=3) == b"abc"


@pytest.mark.anyio
async def test_a_body_of_exactly_the_limit_is_read() -> None:
    """F039"""
    headers = ((b"content-length", b"10"),)
    assert await read_body(ScriptedReceive(b"01234", b"56789"), headers=headers, limit=10) == b"0123456789"


@pytest.mark.anyio
async def test_one_chunk_over_the_limit_is_refused() -> None:
    """F040"""
    with pytest.raises(RequestError) as caught:
        await read_body(ScriptedReceive(b"x" * 11), limit=10)
    assert caught.value.kind == "request_too_large"


@pytest.mark.anyio
async def test_an_endless_body_is_read_no_further_than_the_limit() -> None:
    """F040"""
    calls = 0

    async def receive() -> Message:
        nonlocal calls
        calls += 1
        return {"type": "http.request", "body": b"0123456789", "more_body": True}

    with pytest.raises(RequestError) as caught:
        await read_body(receive, limit=100)
    assert caught.value.status == 413
    assert calls == 11


@pytest.mark.anyio
async def test_a_body_that_never_comes_is_a_timeout() -> None:
    """F121"""
    receive = ScriptedReceive(b"")
    await receive()
    with pytest.raises(RequestError) as caught:
        await read_body(receive, timeout=0.01)
    assert caught.value.status == 408


@pytest.mark.anyio
async def test_a_client_that_leaves_before_its_body_is_whole_is_gone() -> None:
    """F004"""
    with pytest.raises(ClientDisconnected):
        await read_body(
            Messages({"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"})
        )


@pytest.mark.anyio
async def test_an_unknown_message_inside_a_body_is_refused() -> None:
    """F022"""
    with pytest.raises(RequestError) as caught:
        await read_body(Messages({"type": "http.surprise"}))
    assert caught.value.status == 400


@pytest.mark.anyio
async def test_a_body_that_was_looked_at_is_still_to_come() -> None:
    body, receive = await peek_body(ScriptedReceive(b"01234", b"56789"))
    assert body == b"0123456789" == await read_body(receive)
    waiting = replay(b"abc", Messages())
    assert await peek_body(waiting) == (b"abc", waiting)
    with pytest.raises(RequestError):
        await peek_body(waiting, limit=2)


@pytest.mark.anyio
async def test_a_replayed_body_is_followed_by_what_the_server_says() -> None:
    server = Messages({"type": "http.disconnect"})
    receive = replay(b"abc", server)
    assert await receive() == {"type": "http.request", "body": b"abc", "more_body": False}
    assert await receive() == {"type": "http.disconnect"}


@pytest.mark.anyio
async def test_a_disconnect_is_seen_past_late_body_messages() -> None:
    """F115"""
    receive = Messages({"type": "http.request"}, {"type": "http.disconnect"})
    await watch_disconnect(receive)
    assert receive.left == []


@pytest.mark.anyio
async def test_the_watcher_waits_until_the_client_leaves() -> None:
    """F109"""
    receive = ScriptedReceive(b"")
    await receive()
    gone = False
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal gone
            await watch_disconnect(receive)
            gone = True

        tasks.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        assert not gone
        receive.disconnect()
    assert gone


@pytest.mark.anyio
async def test_a_response_is_sent_whole_with_its_length() -> None:
    send = RecordingSend()
    await send_response(send, 418, b"tea", headers=[(b"content-type", b"text/plain")])
    assert (send.status, send.body, send.finished) == (418, b"tea", True)
    assert send.headers == {b"content-type": b"text/plain", b"content-length": b"3"}


@pytest.mark.anyio
async def test_the_books_are_closed_for_a_client_that_left() -> None:
    """F108"""
    send = RecordingSend()
    await send_gone(send)
    assert (send.status, send.body, send.finished) == (499, b"", True)
