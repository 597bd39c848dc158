"""F139: what is measured or waited for is measured on a clock that nobody can set."""

from __future__ import annotations

import ast
import asyncio
import time

import anyio
import pytest

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.testing import FakeUpstream, RecordingSend, ScriptedReceive, http_scope, sse_response
from tests.samples import CHAT_ROLE, DONE, chat_chunk, chat_request
from tests.sources import nodes

CALENDAR = {
    "app.py": "when the models were made, in lists of models",
    "assembly.py": "when the models were made, in lists of models",
    "components/auth.py": "when a key expires",
    "components/context.py": "the time of a log line",
    "config/root.py": "when a key expires",
    "logs.py": "the time of a log line",
    "operations/images.py": "when a picture was made",
    "protocols/base.py": "when an answer was made",
    "providers/classify.py": "how far off the date in a Retry-After is",
    "translate.py": "when an answer was made",
}
"""The files that ask what time of the day it is, and what for. A day or a month of a budget is one, too."""
BUDGETS = ("store/", "components/limits", "limiting")


def test_only_dates_come_from_the_calendar() -> None:
    """F139: whoever adds a file here says what for."""
    found = {
        path
        for path, part in nodes().items()
        for node in part
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"time.time", "time.time_ns", "datetime.now"}
    }
    assert {name for name in found if name not in CALENDAR and not name.startswith(BUDGETS)} == set()


@pytest.mark.anyio
@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_request_lives_through_a_clock_that_is_set(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """F139: an hour forth or back in the middle of a stream."""
    gate = anyio.Event()
    begun, rest = chat_chunk({"content": "Hel"}), chat_chunk({"content": "lo"})
    upstream = FakeUpstream([sse_response(CHAT_ROLE, begun, gate, rest, chat_chunk({}, "stop"), DONE)])
    log: list[bytes] = []
    app = build_app(
        parse_config({"providers": {"v": {"kind": "openai", "api_key": "k"}}}, environ={}),
        upstream=upstream,
        access_log=log.append,
    )
    seen = asyncio.Event()
    send = RecordingSend(lambda chunk: seen.set() if b"Hel" in chunk else None)
    receive = ScriptedReceive(dumps(chat_request("gpt-4o", stream=True)))
    serving = asyncio.create_task(app(http_scope(), receive, send))
    await seen.wait()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    gate.set()
    await serving
    await app.aclose()
    line = as_object(loads_object(log[0]))
    assert line["outcome"] == "completed"
    assert isinstance(line["duration_ms"], float) and 0 <= line["duration_ms"] < 60_000
