"""The same mount where the host has an authentication middleware already and no lifespan of its own.

Starlette's `AuthenticationMiddleware` leaves the user at `scope["user"]`; the gateway takes it from there. Without a
lifespan the gateway starts by itself with the first request.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from asgi_llmgw import build_app

SESSIONS = {os.environ.get("SITE_SESSION", "session-of-alice"): "alice"}


class SessionBackend(AuthenticationBackend):
    """Signs in by a cookie, as a browser app would."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        name = SESSIONS.get(conn.cookies.get("session", ""))
        return None if name is None else (AuthCredentials(["authenticated"]), SimpleUser(name))


app = FastAPI()
app.add_middleware(AuthenticationMiddleware, backend=SessionBackend())
app.mount("/v1", build_app(trust_scope_user=True))
