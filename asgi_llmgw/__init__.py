"""An LLM gateway made of raw ASGI components."""

from __future__ import annotations

__version__ = "0.1.0"
