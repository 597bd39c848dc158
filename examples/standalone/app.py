"""The gateway as an app for any ASGI server: `uvicorn app:app`, `hypercorn app:app`."""

from __future__ import annotations

from pathlib import Path

from asgi_llmgw import build_app, load_config

app = build_app(load_config(Path(__file__).with_name("gateway.toml")))
