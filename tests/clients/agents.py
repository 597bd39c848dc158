"""How each agent is told where the gateway is, and asked to do the task without anybody at the keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from asgi_llmgw.ir import Protocol
from tests.clients.scripted_vendor import CONTENT, FILE

PACKAGES: Final = Path(__file__).resolve().parents[2] / ".clients"
"""Where the packages are installed."""

KEY: Final = "sk-client-key-of-the-agents-0123456789"
TASK: Final = f"Create a file named {FILE} with a greeting in it."


@dataclass(frozen=True)
class Agent:
    """One client.

    Args:
        packages: what it comes in; the version of the first one is told.
        protocol: what it speaks to the gateway.
        upstreams: the protocols the vendor behind the gateway is tried in.
        command: the command line, for a base URL.
        environment: the variables that point it to the gateway, for a base URL and a key.
        files: configuration files in its home, by path, for a base URL and a key.
        model: the model it asks for.
        registry: where the packages come from.
        text_only: what the vendor says to an agent that edits by text instead of by tools.
    """

    packages: tuple[str, ...]
    protocol: Protocol
    upstreams: tuple[Protocol, ...]
    command: Callable[[str], list[str]]
    environment: Callable[[str, str], Mapping[str, str]]
    model: str
    files: Callable[[str, str], Mapping[str, str]] = lambda url, key: {}
    registry: Literal["npm", "pypi"] = "npm"
    text_only: str | None = None


def _opencode(url: str, key: str) -> Mapping[str, str]:
    settings = {
        "provider": {
            "gateway": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{url}/v1", "apiKey": key},
                "models": {"smart": {}},
            }
        },
        "model": "gateway/smart",
        "permission": {"edit": "allow", "bash": "allow"},
    }
    return {"work/opencode.json": json.dumps(settings)}


def _codex(url: str, key: str) -> Mapping[str, str]:
    lines = [
        'model = "smart"',
        'model_provider = "gateway"',
        "[model_providers.gateway]",
        'name = "gateway"',
        f'base_url = "{url}/v1"',
        'env_key = "GATEWAY_KEY"',
        'wire_api = "responses"',
    ]
    return {".codex/config.toml": "\n".join(lines)}


def _gemini(url: str, key: str) -> Mapping[str, str]:
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}
    return {".gemini/settings.json": json.dumps(settings)}


_AI_SDK: Final = (
    "ai",
    "@ai-sdk/anthropic",
    "@ai-sdk/google",
    "@ai-sdk/openai",
    "@ai-sdk/openai-compatible",
    "zod",
)


def _ai_sdk(provider: str, protocol: Protocol, *upstreams: Protocol) -> Agent:
    """The Vercel AI SDK, through one of its providers."""
    script = str(PACKAGES / "ai_sdk.mjs")
    return Agent(
        packages=_AI_SDK,
        protocol=protocol,
        upstreams=upstreams,
        command=lambda url: ["node", script, provider, url, KEY, "smart", TASK],
        environment=lambda url, key: {},
        model="smart",
    )


AGENTS: Final[dict[str, Agent]] = {
    "claude-code": Agent(
        packages=("@anthropic-ai/claude-code",),
        protocol="anthropic_messages",
        upstreams=("openai_chat", "openai_responses", "gemini_generate", "anthropic_messages"),
        command=lambda url: ["claude", "-p", TASK, "--model", "smart", "--permission-mode", "acceptEdits"],
        environment=lambda url, key: {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        model="smart",
    ),
    "codex": Agent(
        packages=("@openai/codex",),
        protocol="openai_responses",
        upstreams=("anthropic_messages", "gemini_generate", "openai_chat", "openai_responses"),
        command=lambda url: [
            "codex",
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            TASK,
        ],
        environment=lambda url, key: {"GATEWAY_KEY": key},
        files=_codex,
        model="smart",
    ),
    "gemini-cli": Agent(
        packages=("@google/gemini-cli",),
        protocol="gemini_generate",
        upstreams=("openai_chat", "anthropic_messages", "openai_responses", "gemini_generate"),
        command=lambda url: ["gemini", "-m", "gemini-2.5-pro", "--yolo", "-p", TASK],
        environment=lambda url, key: {
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_API_KEY": key,
            "GEMINI_TELEMETRY_ENABLED": "false",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
        files=_gemini,
        model="gemini-2.5-pro",
    ),
    "opencode": Agent(
        packages=("opencode-ai",),
        protocol="openai_chat",
        upstreams=("anthropic_messages", "gemini_generate"),
        command=lambda url: ["opencode", "run", "--model", "gateway/smart", TASK],
        environment=lambda url, key: {},
        files=_opencode,
        model="smart",
    ),
    "aider": Agent(
        packages=("aider-chat",),
        protocol="openai_chat",
        upstreams=("anthropic_messages", "gemini_generate"),
        command=lambda url: [
            "aider",
            "--model",
            "openai/smart",
            "--edit-format",
            "whole",
            "--no-git",
            "--yes-always",
            "--no-check-update",
            "--no-show-model-warnings",
            "--analytics-disable",
            "--message",
            TASK,
            FILE,
        ],
        environment=lambda url, key: {"OPENAI_API_BASE": f"{url}/v1", "OPENAI_API_KEY": key},
        model="smart",
        registry="pypi",
        text_only=f"Here it is.\n\n{FILE}\n```\n{CONTENT}```\n",
    ),
    "ai-sdk anthropic": _ai_sdk("anthropic", "anthropic_messages", "openai_chat", "gemini_generate"),
    "ai-sdk google": _ai_sdk("google", "gemini_generate", "openai_chat", "anthropic_messages"),
    "ai-sdk responses": _ai_sdk("responses", "openai_responses", "anthropic_messages", "gemini_generate"),
    "ai-sdk compatible": _ai_sdk("compatible", "openai_chat", "anthropic_messages", "openai_responses"),
}


def prepare(agent: Agent, home: Path, url: str, key: str) -> None:
    """Write the agent's configuration into an empty home, with a folder to work in."""
    (home / "work").mkdir(parents=True)
    for name, text in agent.files(url, key).items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
