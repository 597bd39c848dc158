"""OpenAI's own Node SDK, unmodified, through the gateway to each upstream protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.conftest import CLIENT_KEY, Running
from tests.sdk.expected import expected
from tests.sdk.test_openai_python import (
    IMAGES,
    PARALLEL,
    PIXEL,
    PLAIN,
    QUESTION,
    STREAMED,
    STREAMED_TOOLS,
    STRUCTURED,
    TOOL_RESULTS,
    TOOLS,
    WEATHER,
    City,
)

HERE = Path(__file__).parent / "node"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "openai").is_dir(),
        reason="the npm package openai is not installed: run `npm install --prefix tests/sdk/node`",
    ),
]

CONVERSATION: list[Any] = [
    *QUESTION,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_0", "content": "18 °C"},
]
PICTURE: list[Any] = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}
]
FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": City.model_json_schema()},
}


def ask(gateway: Running, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run these requests one after the other in one Node process."""
    done = subprocess.run(
        ["node", "check.mjs"],
        cwd=HERE,
        input="\n".join(json.dumps(request) for request in requests),
        env={**os.environ, "GATEWAY_URL": f"{gateway.url}/v1", "GATEWAY_KEY": CLIENT_KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kind_of_answer(gateway: Running) -> None:
    plan: list[tuple[tuple[str, str], dict[str, Any]]] = [
        *((case, {"messages": QUESTION}) for case in PLAIN),
        *((case, {"messages": QUESTION, "stream": True}) for case in STREAMED),
        *((case, {"messages": QUESTION, "tools": [WEATHER]}) for case in TOOLS + PARALLEL),
        *((case, {"messages": QUESTION, "tools": [WEATHER], "stream": True}) for case in STREAMED_TOOLS),
        *((case, {"messages": CONVERSATION, "tools": [WEATHER]}) for case in TOOL_RESULTS),
        *((case, {"messages": PICTURE}) for case in IMAGES),
        *((case, {"messages": QUESTION, "response_format": FORMAT}) for case in STRUCTURED),
    ]
    answers = ask(gateway, [{"model": "--".join(case), **body} for case, body in plan])
    assert len(answers) == len(plan)
    for (case, _), answer in zip(plan, answers, strict=True):
        told = expected(*case)
        assert "error" not in answer, (case, answer)
        assert answer["text"] == told.text, case
        assert [tuple(call) for call in answer["calls"]] == told.calls, case
        assert answer["finish"] == ("tool_calls" if told.calls else "stop"), case
        assert answer["usage"] is None or answer["usage"] > 0, case


def test_errors_are_the_sdks_errors(gateway: Running) -> None:
    models = ["broken-openai", "broken-anthropic", "broken-gemini", "no-such-model"]
    answers = ask(gateway, [{"model": model, "messages": QUESTION} for model in models])
    assert [answer["error"] for answer in answers] == [
        "BadRequestError",
        "BadRequestError",
        "RateLimitError",
        "NotFoundError",
    ]
