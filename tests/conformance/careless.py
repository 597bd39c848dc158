"""A gateway with two well-known faults, for clients of Anthropic Messages over Chat Completions.

It writes the arguments of interleaved calls into whichever block is open (P1), and it ends a stream that broke off as
if it were complete (P4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body, send_response
from asgi_llmgw.json import JSONObject, as_list, as_object, as_str, dumps, dumps_text, loads_object


class CarelessGateway:
    """An ASGI app before a vendor at `url`."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = loads_object(await read_body(receive))
        if scope["path"] != "/v1/messages" or body.get("stream") is not True:
            await send_response(send, 404, b'{"type":"error","error":{"type":"not_found_error","message":"Not here."}}')
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        asked: JSONObject = {"model": "m", "stream": True, "messages": body["messages"]}
        async for event in _translated(self._chunks(asked)):
            frame = f"event: {event['type']}\ndata: {dumps_text(event)}\n\n".encode()
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self, asked: JSONObject) -> AsyncIterator[JSONObject]:
        headers = {"authorization": "Bearer sk-of-the-vendor-0001"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self._url, data=dumps(asked)) as response,
        ):
            try:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        yield loads_object(line[6:])
            except aiohttp.ClientPayloadError:
                return


async def _translated(chunks: AsyncIterator[JSONObject]) -> AsyncIterator[JSONObject]:
    start: JSONObject = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    yield {"type": "message_start", "message": {**start, "usage": {"input_tokens": 0, "output_tokens": 0}}}
    index, kind = -1, ""
    async for chunk in chunks:
        for choice in as_list(chunk.get("choices")):
            delta = as_object(as_object(choice).get("delta"))
            text = as_str(delta.get("content"))
            if text:
                if kind != "text":
                    index, kind = index + 1, "text"
                    yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
                yield {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
            for item in as_list(delta.get("tool_calls")):
                call = as_object(item)
                function = as_object(call.get("function"))
                if call.get("id"):
                    if kind:
                        yield {"type": "content_block_stop", "index": index}
                    index, kind = index + 1, "tool_use"
                    block: JSONObject = {"type": kind, "id": call["id"], "name": function["name"], "input": {}}
                    yield {"type": "content_block_start", "index": index, "content_block": block}
                arguments: JSONObject = {"type": "input_json_delta", "partial_json": function.get("arguments")}
                yield {"type": "content_block_delta", "index": index, "delta": arguments}
    if kind:
        yield {"type": "content_block_stop", "index": index}
    reason = "tool_use" if kind == "tool_use" else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}
