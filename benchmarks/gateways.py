"""The gateways that are measured, and how each of them is started: ours, the floor, and peers where they are installed.

Every one gets what it needs to do the same work: authentication, metrics, limits and an access log where it has them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asgi_llmgw.json import dumps
from benchmarks.messages import PACED, Pair
from benchmarks.processes import GATEWAY_CORE, Process

OURS: Final = "asgi_llmgw"
FLOOR: Final = "floor"
LEAN: Final = "lean floor"
KEY: Final = "sk-benchmark"

HOW_TO_INSTALL: Final[Mapping[str, str]] = {
    "nginx": "apt install nginx, or another package of that name",
    "litellm": "python -m venv peers && peers/bin/pip install 'litellm[proxy]', then --litellm peers/bin/litellm",
    "portkey": "npm install --prefix peers @portkey-ai/gateway, then --portkey peers",
}

_TARGET: Final[dict[Pair, str]] = {
    "chat-chat": "chat",
    "chat-anthropic": "anthropic",
    "chat-gemini": "gemini",
    "anthropic-chat": "chat",
}
_BASE: Final = {"chat": "/v1", "anthropic": "", "gemini": ""}


@dataclass(frozen=True, slots=True)
class Ask:
    """How a gateway is asked for something."""

    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One that can be started.

    Args:
        start: with its port, the vendor's and a directory of its own.
        ask: for a pair, and whether the events come one by one; None where it does not translate that.
    """

    name: str
    start: Callable[[int, int, Path], Process]
    ask: Callable[[Pair, bool], Ask | None]


def ours() -> Gateway:
    """asgi_llmgw with all that the others have switched on."""

    def start(port: int, vendor: int, directory: Path) -> Process:
        config = directory / "gateway.toml"
        config.write_text(_our_config(port, vendor))
        command = [sys.executable, "-m", "asgi_llmgw", "serve", "--config", str(config)]
        return Process(command, core=GATEWAY_CORE, log=directory / "log", port=port)

    def ask(pair: Pair, paced: bool) -> Ask:
        return Ask(f"{_TARGET[pair]}-{PACED}" if paced else _TARGET[pair], {"authorization": f"Bearer {KEY}"})

    return Gateway(OURS, start, ask)


def floor(*, lean: bool = False) -> Gateway:
    """uvicorn and aiohttp alone, or uvicorn and the client that the gateway brings along."""

    def start(port: int, vendor: int, directory: Path) -> Process:
        app = "benchmarks.floor:lean" if lean else "benchmarks.floor:app"
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
        command += ["--no-access-log", "--log-level", "warning", "--no-server-header"]
        environment = {"VENDOR": f"http://127.0.0.1:{vendor}"}
        return Process(command, core=GATEWAY_CORE, log=directory / "log", port=port, environment=environment)

    return Gateway(LEAN if lean else FLOOR, start, _as_it_is)


def nginx(program: str) -> Gateway:
    """A plain reverse proxy in C, with its access log."""

    def start(port: int, vendor: int, directory: Path) -> Process:
        config = directory / "nginx.conf"
        config.write_text(_NGINX.format(port=port, vendor=vendor, directory=directory))
        command = [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]
        return Process(command, core=GATEWAY_CORE, log=directory / "log", port=port)

    return Gateway("nginx", start, _as_it_is)


def litellm(program: str) -> Gateway:
    """LiteLLM's proxy, with a master key."""

    def start(port: int, vendor: int, directory: Path) -> Process:
        config = directory / "config.yaml"
        config.write_bytes(_litellm_config(vendor))
        command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": f"{Path(program).parent}:{os.environ['PATH']}"}
        log = directory / "log"
        return Process(command, core=GATEWAY_CORE, log=log, port=port, environment=environment, patience=120)

    def ask(pair: Pair, paced: bool) -> Ask:
        return Ask(f"{_TARGET[pair]}-{PACED}" if paced else _TARGET[pair], {"authorization": f"Bearer {KEY}"})

    return Gateway("litellm", start, ask)


def portkey(server: str) -> Gateway:
    """Portkey's gateway, told where to go by headers."""

    vendors: list[int] = []

    def start(port: int, vendor: int, directory: Path) -> Process:
        vendors[:] = [vendor]
        command = ["node", server, f"--port={port}", "--headless"]
        return Process(command, core=GATEWAY_CORE, log=directory / "log", port=port)

    def ask(pair: Pair, paced: bool) -> Ask | None:
        provider = {"chat": "openai", "anthropic": "anthropic", "gemini": "google"}[_TARGET[pair]]
        base = {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta"}[provider]
        headers = {
            "authorization": f"Bearer {KEY}",
            "x-portkey-provider": provider,
            "x-portkey-custom-host": f"http://127.0.0.1:{vendors[0]}{base}",
        }
        return Ask(PACED if paced else "model", headers)

    return Gateway("portkey", start, ask)


def installed(*, litellm_at: str | None, portkey_at: str | None) -> tuple[list[Gateway], list[str]]:
    """What can be measured here, ours first, and what cannot."""
    found, missing = [ours(), floor(), floor(lean=True)], []
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is not None:
        found.append(nginx(program))
    else:
        missing.append("nginx")
    program = litellm_at or shutil.which("litellm")
    if program is not None:
        found.append(litellm(program))
    else:
        missing.append("litellm")
    server = Path(portkey_at or "peers") / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if server.exists() and shutil.which("node") is not None:
        found.append(portkey(str(server)))
    else:
        missing.append("portkey")
    return found, missing


def _as_it_is(pair: Pair, paced: bool) -> Ask:
    """What forwards bytes forwards them to a vendor that speaks the client's protocol."""
    return Ask(PACED if paced else "model")


def _our_config(port: int, vendor: int) -> str:
    lines = [
        "[server]",
        f"port = {port}",
        "[[keys]]",
        f'name = "bench"\nkey = "{KEY}"',
        "rpm = 100_000_000\ntpm = 100_000_000_000\nconcurrency = 100_000",
        '[reasoning]\ncarriers_key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"',
    ]
    protocols = {"chat": "openai_chat", "anthropic": "anthropic_messages", "gemini": "gemini_generate"}
    for name, protocol in protocols.items():
        lines += [
            f"[providers.{name}]",
            f'protocol = "{protocol}"\nbase_url = "http://127.0.0.1:{vendor}{_BASE[name]}"\napi_key = "secret"',
            f'[models."{name}"]\ntargets = ["{name}/model"]',
            f'[models."{name}-{PACED}"]\ntargets = ["{name}/{PACED}"]',
        ]
    return "\n".join(lines) + "\n"


def _litellm_config(vendor: int) -> bytes:
    """JSON is YAML."""
    base = f"http://127.0.0.1:{vendor}"
    models = [
        {
            "model_name": f"{name}-{PACED}" if model == PACED else name,
            "litellm_params": {"model": f"{prefix}/{model}", "api_base": base + path, "api_key": "secret"},
        }
        for name, prefix, path in (
            ("chat", "openai", "/v1"),
            ("anthropic", "anthropic", ""),
            ("gemini", "gemini", ""),
        )
        for model in ("model", PACED)
    ]
    return dumps({"model_list": models, "general_settings": {"master_key": KEY}})


_NGINX: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_max_body_size 32m;
  client_body_buffer_size 1m;
  keepalive_requests 1000000;
  upstream vendor {{ server 127.0.0.1:{vendor}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://vendor;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
