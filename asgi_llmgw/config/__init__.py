"""The configuration: TOML, the environment, or none at all."""

from __future__ import annotations

from asgi_llmgw.config.fields import Secret
from asgi_llmgw.config.load import load_config, parse_config
from asgi_llmgw.config.root import Config

__all__ = ["Config", "Secret", "load_config", "parse_config"]
