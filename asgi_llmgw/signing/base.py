"""What it takes to sign a call."""

from __future__ import annotations

from typing import Protocol

from asgi_llmgw._types import Headers


class Signer(Protocol):
    """Signs calls just before they leave. One value serves all calls, in any number of event loops."""

    async def sign(self, method: str, url: str, headers: Headers, body: bytes, /) -> Headers:
        """All headers of the call, those that tell who we are included.

        Raises:
            UpstreamError: there are no credentials, or they cannot be had at the moment.
        """
        ...
