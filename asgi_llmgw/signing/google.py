"""Google's access tokens, by Google's own library: https://google-auth.readthedocs.io/en/latest/."""

from __future__ import annotations

import threading
from typing import Final, Protocol, cast

from anyio import to_thread

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import UpstreamError

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


class Credentials(Protocol):
    """What google-auth knows of an account."""

    @property
    def valid(self) -> bool:
        """Whether there is a token that is good for some minutes more."""
        ...

    def refresh(self, request: object, /) -> None: ...

    def apply(self, headers: dict[str, str], /) -> None: ...


class GoogleSigner:
    """Puts an access token on each call; it is fetched in a thread, and kept until it is about to expire.

    Args:
        credentials: None takes Application Default Credentials: `GOOGLE_APPLICATION_CREDENTIALS`, what `gcloud` left
            behind, the service account of the machine.
        transport: makes the calls for tokens; None takes the library's own.
    """

    def __init__(self, *, credentials: Credentials | None = None, transport: object = None) -> None:
        self._credentials = credentials
        self._transport = transport
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "GoogleSigner()"

    async def sign(self, method: str, url: str, headers: Headers, body: bytes, /) -> Headers:
        """The headers and the token.

        Raises:
            UpstreamError: there are no credentials, or no token can be had.
        """
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            credentials = await to_thread.run_sync(self._refreshed, abandon_on_cancel=True)
        added: dict[str, str] = {}
        credentials.apply(added)
        told = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in added.items()}
        return (*(pair for pair in headers if pair[0] not in told), *told.items())

    def _refreshed(self) -> Credentials:
        from google.auth import default, exceptions
        from google.auth.transport.requests import Request

        with self._lock:
            try:
                if self._credentials is None:
                    self._credentials = cast("Credentials", default(scopes=[SCOPE])[0])
                if not self._credentials.valid:
                    self._credentials.refresh(Request() if self._transport is None else self._transport)
            except exceptions.TransportError as error:
                raise UpstreamError(
                    "Google's token service cannot be reached.", failure="unreachable", kind="upstream_unavailable"
                ) from error
            except exceptions.GoogleAuthError as error:
                raise UpstreamError(
                    "The gateway has no Google credentials that are accepted.",
                    failure="credential",
                    kind="overloaded",
                    code="provider_not_configured",
                ) from error
            return self._credentials
