"""Anthropic Messages as the vendor sends them, and as it should not."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.script import Script, Vendor, bytewise, cut, named_events, refusals, stream, whole

_START: Final = named_events(
    '{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"vendor-model",'
    '"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":0,'
    '"cache_read_input_tokens":8,"output_tokens":1}}}'
)
_USAGE: Final = '{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":8,"output_tokens":5}'
_STOP: Final = named_events('{"type":"message_stop"}')


def _block(index: int, block: str, *deltas: str) -> tuple[bytes, ...]:
    """A content block from its start to its stop."""
    return (*_open(index, block, *deltas), *_close(index))


def _open(index: int, block: str, *deltas: str) -> tuple[bytes, ...]:
    return named_events(
        f'{{"type":"content_block_start","index":{index},"content_block":{block}}}',
        *(f'{{"type":"content_block_delta","index":{index},"delta":{delta}}}' for delta in deltas),
    )


def _close(index: int) -> tuple[bytes, ...]:
    return named_events(f'{{"type":"content_block_stop","index":{index}}}')


def _text(index: int, *texts: str) -> tuple[bytes, ...]:
    return _block(index, '{"type":"text","text":""}', *(_text_delta(text) for text in texts))


def _text_delta(text: str) -> str:
    return f'{{"type":"text_delta","text":"{text}"}}'


def _tool(call_id: str, name: str) -> str:
    return f'{{"type":"tool_use","id":"{call_id}","name":"{name}","input":{{}}}}'


def _json(text: str) -> str:
    return f'{{"type":"input_json_delta","partial_json":"{text}"}}'


def _ended(*pieces: bytes, reason: str = "end_turn") -> tuple[bytes, ...]:
    delta = named_events(
        f'{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{_USAGE}}}'
    )
    return (*_START, *pieces, *delta, *_STOP)


_CITY: Final = (_json('{\\"city\\":'), _json('\\"Paris\\"}'))
_ZONE: Final = (_json('{\\"zone\\":'), _json('\\"CET\\"}'))
_EMPTY_TEXT: Final = '{"type":"text","text":""}'
_OVERLOADED: Final = named_events('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
_PING: Final = named_events('{"type":"ping"}')

STREAMS: Final[dict[str, Script]] = {
    "text": stream(*_ended(*_text(0, "Hello", ", world."))),
    "usage-late": stream(
        *(
            piece.replace(b'"input_tokens":12', b'"input_tokens":0').replace(
                b'"cache_read_input_tokens":8', b'"cache_read_input_tokens":0'
            )
            for piece in _START
        ),
        *_ended(*_text(0, "Hello", ", world."))[len(_START) :],
    ),
    "parallel-tools": stream(
        *_ended(
            *_text(0, "Let me look."),
            *_block(1, _tool("toolu_a", "weather"), _json(""), *_CITY),
            *_block(2, _tool("toolu_b", "clock"), _json(""), *_ZONE),
            reason="tool_use",
        )
    ),
    "cut": cut(*_START, *_open(0, _EMPTY_TEXT, _text_delta("Hello"), _text_delta(", wor"))),
    "cut-in-tool": cut(*_START, *_open(0, _tool("toolu_a", "weather"), _CITY[0])),
    "ends-early": stream(*_START, *_open(0, _EMPTY_TEXT, _text_delta("Hello"), _text_delta(", wor"))),
    "length": stream(*_ended(*_text(0, "Hello"), reason="max_tokens")),
    "length-in-tool": stream(*_ended(*_block(0, _tool("toolu_a", "weather"), _CITY[0]), reason="max_tokens")),
    "filtered": stream(*_ended(*_text(0, "Hello"), reason="refusal")),
    "text-reasoning-text": stream(
        *_ended(
            *_text(0, "One."),
            *_block(
                1,
                '{"type":"thinking","thinking":"","signature":""}',
                '{"type":"thinking_delta","thinking":"Let me"}',
                '{"type":"thinking_delta","thinking":" think."}',
                '{"type":"signature_delta","signature":"c2lnbmF0dXJlIG9mIHRoZSB2ZW5kb3I="}',
            ),
            *_text(2, "Two."),
        )
    ),
    "error-first": stream(*_OVERLOADED),
    "error-mid": stream(*_START, *_open(0, _EMPTY_TEXT, _text_delta("Hello")), *_OVERLOADED),
    "split-characters": bytewise(
        _ended(
            *_text(0, "Grüße, 世界 🌍"),
            *_block(1, _tool("toolu_a", "weather"), _json('{\\"city\\":\\"東京 🗼\\"}')),
            reason="tool_use",
        )
    ),
    "noise": stream(
        b": keep-alive\n\n",
        *_START,
        *_PING,
        *_open(0, _EMPTY_TEXT, _text_delta("Hello")),
        *_PING,
        b'event: vendor_debug\ndata: {"type":"vendor_debug","note":1}\n\n',
        *named_events(f'{{"type":"content_block_delta","index":0,"delta":{_text_delta(", world.")}}}'),
        *_close(0),
        b": ping\n\n",
        *_ended()[1:],
    ),
    "empty": stream(),
}


def _answer(content: str, reason: str = "end_turn") -> Script:
    return whole(
        '{"id":"msg_1","type":"message","role":"assistant","model":"vendor-model",'
        f'"content":[{content}],"stop_reason":"{reason}","stop_sequence":null,"usage":{_USAGE}}}'
    )


def _refusal(kind: str, message: str) -> str:
    return f'{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}'


_HELLO: Final = '{"type":"text","text":"Hello"}'
_REFUSALS: Final = refusals(
    {
        "status-400": (400, _refusal("invalid_request_error", "temperature: out of range")),
        "status-401": (401, _refusal("authentication_error", "invalid x-api-key: @KEY@")),
        "status-404": (404, _refusal("not_found_error", "model: vendor-model")),
        "status-429": (429, _refusal("rate_limit_error", "This request would exceed the rate limit")),
        "status-503": (529, _refusal("overloaded_error", "Overloaded")),
    }
)

VENDOR: Final = Vendor(
    streams={**STREAMS, **_REFUSALS},
    wholes={
        "text": _answer('{"type":"text","text":"Hello, world."}'),
        "parallel-tools": _answer(
            '{"type":"text","text":"Let me look."},'
            '{"type":"tool_use","id":"toolu_a","name":"weather","input":{"city":"Paris"}},'
            '{"type":"tool_use","id":"toolu_b","name":"clock","input":{"zone":"CET"}}',
            "tool_use",
        ),
        "length": _answer(_HELLO, "max_tokens"),
        "filtered": _answer(_HELLO, "refusal"),
        "reasoning": _answer(
            '{"type":"thinking","thinking":"Let me think.","signature":"c2lnbmF0dXJlIG9mIHRoZSB2ZW5kb3I="},'
            '{"type":"text","text":"Two."}'
        ),
        "empty": whole(""),
        **_REFUSALS,
    },
)
"""The scripts of Anthropic Messages."""
