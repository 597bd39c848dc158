"""Realtime sessions: WebSockets that begin as HTTP requests and go to a vendor that can hold them."""

from __future__ import annotations

from asgi_llmgw.components.realtime.app import RealtimeApp
from asgi_llmgw.components.realtime.entrance import RealtimeEntrance
from asgi_llmgw.components.realtime.handshake import HandshakeMiddleware
from asgi_llmgw.components.realtime.socket import SOCKET_KEY, ClientSocket

__all__ = ("SOCKET_KEY", "ClientSocket", "HandshakeMiddleware", "RealtimeApp", "RealtimeEntrance")
