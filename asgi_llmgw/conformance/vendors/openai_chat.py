"""Chat Completions as a vendor sends them, and as it should not."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.script import Script, Vendor, bytewise, cut, events, refusals, stream, whole

_HEAD: Final = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"vendor-model",'
_USAGE: Final = (
    '{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"prompt_tokens_details":{"cached_tokens":8}}'
)
_DONE: Final = b"data: [DONE]\n\n"


def _delta(delta: str) -> bytes:
    return events(f'{_HEAD}"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}')[0]


def _finish(reason: str) -> bytes:
    return events(f'{_HEAD}"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}')[0]


def _call(index: int, call_id: str, name: str, arguments: str = "") -> bytes:
    """The first fragment of a call; `arguments` is as it stands inside a JSON string."""
    return _delta(
        f'{{"tool_calls":[{{"index":{index},"id":"{call_id}","type":"function",'
        f'"function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}'
    )


def _arguments(index: int, text: str) -> bytes:
    return _delta(f'{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{text}"}}}}]}}')


def _text(text: str) -> bytes:
    return _delta(f'{{"content":"{text}"}}')


_ROLE: Final = _delta('{"role":"assistant","content":""}')
_USED: Final = events(f'{_HEAD}"choices":[],"usage":{_USAGE}}}')[0]
_CITY: Final = (_arguments(0, '{\\"city\\":'), _arguments(0, '\\"Paris\\"}'))
_ZONE: Final = (_arguments(1, '{\\"zone\\":'), _arguments(1, '\\"CET\\"}'))
_BOTH: Final = (_call(0, "call_a", "weather"), *_CITY, _call(1, "call_b", "clock"), *_ZONE)


def _ended(*pieces: bytes, reason: str = "stop") -> tuple[bytes, ...]:
    return (_ROLE, *pieces, _finish(reason), _USED, _DONE)


STREAMS: Final[dict[str, Script]] = {
    "text": stream(*_ended(_text("Hello"), _text(", world."))),
    "parallel-tools": stream(*_ended(_text("Let me look."), *_BOTH, reason="tool_calls")),
    "interleaved-tools": stream(
        *_ended(
            _call(0, "call_a", "weather"),
            _call(1, "call_b", "clock"),
            *(piece for pair in zip(_CITY, _ZONE, strict=True) for piece in pair),
            reason="tool_calls",
        )
    ),
    "reused-index": stream(
        *_ended(
            _call(0, "call_a", "weather", '{\\"city\\":\\"Paris\\"}'),
            _call(0, "call_b", "clock", '{\\"zone\\":\\"CET\\"}'),
            reason="tool_calls",
        )
    ),
    "tools-finish-stop": stream(*_ended(*_BOTH, reason="stop")),
    "two-calls-in-one-chunk": stream(
        *_ended(
            _delta(
                '{"tool_calls":['
                '{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}},'
                '{"index":1,"id":"call_b","type":"function","function":{"name":"clock","arguments":""}}]}'
            ),
            *_CITY,
            *_ZONE,
            reason="tool_calls",
        )
    ),
    "empty-deltas": stream(
        *_ended(
            _call(0, "call_a", "weather"), _CITY[0], _text(""), _delta("{}"), _CITY[1], _text(""), reason="tool_calls"
        )
    ),
    "cut": cut(_ROLE, _text("Hello"), _text(", wor")),
    "cut-in-tool": cut(_ROLE, _call(0, "call_a", "weather"), _CITY[0]),
    "ends-early": stream(_ROLE, _text("Hello"), _text(", wor")),
    "done-without-finish": stream(_ROLE, _text("Hello"), _text(", world."), _DONE),
    "finish-without-done": stream(_ROLE, _text("Hello"), _text(", world."), _finish("stop"), _USED),
    "empty-finish": stream(
        *_ended(
            _text("Hello"),
            *events(f'{_HEAD}"choices":[{{"index":0,"delta":{{"content":", world."}},"finish_reason":""}}]}}'),
        )
    ),
    "after-the-end": stream(*_ended(_text("Hello"), _text(", world.")), _text(" And more."), _DONE),
    "length": stream(*_ended(_text("Hello"), reason="length")),
    "length-in-tool": stream(*_ended(_call(0, "call_a", "weather"), _CITY[0], reason="length")),
    "filtered": stream(*_ended(_text("Hello"), reason="content_filter")),
    "text-reasoning-text": stream(
        *_ended(
            _text("One."),
            _delta('{"reasoning_content":"Let me"}'),
            _delta('{"reasoning_content":" think."}'),
            _text("Two."),
        )
    ),
    "error-first": stream(
        *events('{"error":{"message":"The engine is overloaded.","type":"server_error","code":"overloaded"}}')
    ),
    "error-mid": stream(
        _ROLE,
        _text("Hello"),
        *events('{"error":{"message":"The engine failed.","type":"server_error","param":null,"code":null}}'),
    ),
    "split-characters": bytewise(
        _ended(
            _text("Grüße, 世界 🌍"), _call(0, "call_a", "weather", '{\\"city\\":\\"東京 🗼\\"}'), reason="tool_calls"
        )
    ),
    "noise": stream(
        b": keep-alive\n\n",
        events(f'{_HEAD}"choices":[],"prompt_filter_results":[]}}')[0],
        _ROLE,
        b": OPENROUTER PROCESSING\n\n",
        _text("Hello"),
        b'event: vendor.debug\ndata: {"object":"vendor.debug","note":1}\n\n',
        _text(", world."),
        _finish("stop"),
        b"id: 7\nretry: 3000\n: ping\n\n",
        _USED,
        _DONE,
    ),
    "empty": stream(),
}


def _answer(message: str, reason: str = "stop") -> Script:
    return whole(
        '{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"vendor-model","choices":'
        f'[{{"index":0,"message":{{"role":"assistant",{message}}},"logprobs":null,"finish_reason":"{reason}"}}],'
        f'"usage":{_USAGE}}}'
    )


_CALLS: Final = (
    '"tool_calls":[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\\"city\\":\\"Paris\\"}"}},'
    '{"id":"call_b","type":"function","function":{"name":"clock","arguments":"{\\"zone\\":\\"CET\\"}"}}]'
)
_REFUSALS: Final = refusals(
    {
        "status-400": (
            400,
            '{"error":{"message":"temperature is out of range","type":"invalid_request_error","param":"temperature",'
            '"code":null}}',
        ),
        "status-401": (
            401,
            '{"error":{"message":"Incorrect API key provided: @KEY@.","type":"invalid_request_error","param":null,'
            '"code":"invalid_api_key"}}',
        ),
        "status-404": (
            404,
            '{"error":{"message":"The model does not exist","type":"invalid_request_error","param":null,'
            '"code":"model_not_found"}}',
        ),
        "status-429": (
            429,
            '{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
        ),
        "status-503": (
            503,
            '{"error":{"message":"The engine is overloaded","type":"server_error","param":null,"code":null}}',
        ),
    }
)

VENDOR: Final = Vendor(
    streams={**STREAMS, **_REFUSALS},
    wholes={
        "text": _answer('"content":"Hello, world."'),
        "parallel-tools": _answer(f'"content":"Let me look.",{_CALLS}', "tool_calls"),
        "tools-finish-stop": _answer(f'"content":null,{_CALLS}', "stop"),
        "length": _answer('"content":"Hello"', "length"),
        "filtered": _answer('"content":"Hello"', "content_filter"),
        "reasoning": _answer('"content":"Two.","reasoning_content":"Let me think."'),
        "empty": whole(""),
        **_REFUSALS,
    },
)
"""The scripts of Chat Completions."""
