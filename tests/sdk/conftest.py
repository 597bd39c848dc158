"""One gateway per server, in front of three vendors that answer with recorded traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from tests.sdk.recorded import RecordedUpstream, recorded_upstream
from tests.servers import SERVERS, ServerName, background
from tests.wire import ROOT

CLIENT_KEY = "client-key-of-the-sdk-tests"


@dataclass(frozen=True)
class Running:
    """A gateway that serves, and the vendor behind it."""

    url: str
    upstream: RecordedUpstream


@pytest.fixture(scope="session", params=["uvicorn", "hypercorn"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Running]:
    if not ROOT.is_dir():
        pytest.skip("the recorded traffic (../shared/wire) is not beside the repository")
    with background() as running:
        upstream = running.enter(recorded_upstream())
        config = parse_config(
            {
                # one test's broken vendor is the next one's good one
                "breaker": {"enabled": False},
                "retry": {"attempts": 1},
                "keys": [{"name": "sdk", "key": CLIENT_KEY}],
                "providers": {
                    "openai": {
                        "protocol": "openai_chat",
                        "base_url": f"{upstream.url}/v1",
                        "api_key": "upstream-key-1",
                    },
                    "anthropic": {"base_url": upstream.url, "api_key": "upstream-key-2"},
                    "gemini": {"base_url": upstream.url, "api_key": "upstream-key-3"},
                },
                "models": {
                    "openai_chat--*": {"targets": ["openai/*"]},
                    "errors--openai-*": {"targets": ["openai/*"]},
                    "anthropic_messages--*": {"targets": ["anthropic/*"]},
                    "gemini_generate--*": {"targets": ["gemini/*"]},
                    "broken-openai": {"targets": ["openai/errors--completion-bad-request"]},
                    "broken-anthropic": {"targets": ["anthropic/errors--anthropic-completion-error"]},
                    "broken-gemini": {"targets": ["gemini/errors--google-429-retry-info"]},
                    "named": {"targets": ["openai/openai_chat--async-with-temperature"]},
                },
            },
            environ={},
        )
        app = build_app(config, access_log=None)
        url = running.enter(SERVERS[cast(ServerName, request.param)](app))
        yield Running(url, upstream)
