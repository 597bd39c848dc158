"""Django and the gateway side by side: the gateway has its own paths (/v1/…), Django has all others.

The gateway asks Django's database who may come in. As it answers the server's lifespan protocol, which Django does not
know, its connections are closed in time.
"""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
site = get_asgi_application()  # before the import of models

from clients.models import Client  # noqa: E402

from asgi_llmgw import Principal, build_app  # noqa: E402


async def verify(scope, secret):
    """Who this is, or None: the gateway then answers 401 in the shape the client's SDK expects."""
    client = await Client.with_secret(secret) if secret else None
    return None if client is None else Principal(client.name)


gateway = build_app(verify=verify)


async def application(scope, receive, send):
    """/v1 and the server's lifespan are the gateway's; everything else is Django's."""
    if scope["type"] == "lifespan" or scope["path"].startswith("/v1/"):
        await gateway(scope, receive, send)
    else:
        await site(scope, receive, send)
