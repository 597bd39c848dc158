"""A FastAPI app with the gateway at /v1, behind the app's own API tokens.

The host decides who may come in: `verify` gets the scope and the secret the client sent, and names the caller.
"""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from starlette.types import Scope

from asgi_llmgw import Principal, build_app

TOKENS = {os.environ.get("SITE_TOKEN", "alice-token"): "alice"}  # a table of your database, in earnest


async def verify(scope: Scope, secret: str | None) -> Principal | None:
    """Who this is, or None: the gateway then answers 401 in the shape the client's SDK expects."""
    name = TOKENS.get(secret or "")
    return None if name is None else Principal(name, models=("*",))


gateway = build_app(verify=verify)
app = FastAPI(lifespan=gateway.lifespan)  # mounted apps get no lifespan events: this closes connections in time


@app.get("/whoami")
async def whoami(authorization: Annotated[str, Header()] = "") -> dict[str, str]:
    """A route of the host's own, behind the same tokens."""
    name = TOKENS.get(authorization.removeprefix("Bearer "))
    if name is None:
        raise HTTPException(401)
    return {"name": name}


app.mount("/v1", gateway)
