"""What the package shows, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import asgi_llmgw
from asgi_llmgw.json import JSONObject, as_float, as_list, loads_object

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    "AuthMiddleware",
    "CacheMiddleware",
    "Diagnostic",
    "DispatchApp",
    "Exchange",
    "Gateway",
    "GatewayError",
    "Hooks",
    "HooksMiddleware",
    "LimitsMiddleware",
    "MetricsMiddleware",
    "Principal",
    "ProxyApp",
    "RouterMiddleware",
    "StreamTranslator",
    "Translated",
    "TranslatorMiddleware",
    "build_app",
    "load_config",
    "translate_request",
    "translate_response",
)
HEAVY = {"aiohttp", "anyio", "asyncio", "httpx", "httpx2", "prometheus_client", "pydantic", "uvicorn"}

WATCHED = """
import json, os, sys, time
environment = dict(os.environ)
seen = []
def watch(event, arguments):
    kinds = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.putenv", "urllib.")
    opened_to_write = event == "open" and not str(arguments[1] or "r").startswith("r")
    if event.startswith(kinds) or opened_to_write:
        seen.append(event)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
started = time.process_time()
%s
seconds = time.process_time() - started
modules = sorted({name.partition(".")[0] for name in sys.modules})
changed = environment != dict(os.environ)
print(json.dumps({"seconds": seconds, "seen": seen, "changed": changed, "modules": modules}))
"""


def run(code: str) -> JSONObject:
    """Run this in a new interpreter and see what it did."""
    done = subprocess.run([sys.executable, "-c", WATCHED % code], capture_output=True, cwd=ROOT, check=True, timeout=60)
    return loads_object(done.stdout)


def modules(result: JSONObject) -> set[str]:
    return {name for name in as_list(result["modules"]) if isinstance(name, str)}


def test_the_public_names_are_a_sorted_tuple() -> None:
    assert asgi_llmgw.__all__ == NAMES
    assert isinstance(asgi_llmgw.__all__, tuple)
    assert list(NAMES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_had(name: str) -> None:
    value = getattr(asgi_llmgw, name)
    assert value.__name__ == name
    assert value.__doc__


def test_the_names_can_be_listed_and_others_are_errors() -> None:
    assert set(NAMES) < set(dir(asgi_llmgw))
    with pytest.raises(AttributeError, match="Nonsense"):
        asgi_llmgw.Nonsense  # noqa: B018


def test_importing_the_package_does_nothing_and_costs_next_to_nothing(report: Callable[[str, int], None]) -> None:
    """F222"""
    result = run("import asgi_llmgw")
    assert (result["seen"], result["changed"]) == ([], False)
    assert not modules(result) & HEAVY
    seconds = as_float(result["seconds"])
    assert seconds is not None and seconds < 0.15
    report("milliseconds to import asgi_llmgw", round(seconds * 1000))


def test_the_translator_alone_needs_no_server_and_no_event_loop() -> None:
    """F222"""
    code = "import asgi_llmgw; asgi_llmgw.StreamTranslator(source='anthropic_messages', target='openai_chat').close()"
    result = run(code)
    assert (result["seen"], result["changed"]) == ([], False)
    assert not modules(result) & HEAVY


def test_importing_the_whole_gateway_reaches_for_nothing() -> None:
    """F200 F222: no sockets, no processes, no files written, the environment as it was."""
    result = run("from asgi_llmgw import *")
    assert (result["seen"], result["changed"]) == ([], False)
    assert "pydantic" in modules(result)
