"""Sends a request to its targets until one of them has something to say."""

from __future__ import annotations

from asgi_llmgw.components.dispatch.app import DispatchApp
from asgi_llmgw.components.dispatch.guard import HOLD_BYTES, HOLD_FRAMES, HOLD_SECONDS, CommitGuard

__all__ = ("HOLD_BYTES", "HOLD_FRAMES", "HOLD_SECONDS", "CommitGuard", "DispatchApp")
