"""Amazon's Signature Version 4, by Amazon's own library.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Final, Protocol, cast

from anyio import to_thread

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import UpstreamError

SERVICE: Final = "bedrock"
"""The name of Bedrock in signatures, whatever host it is called at."""


class Credentials(Protocol):
    """What botocore knows of an account; it renews them by itself."""

    def get_frozen_credentials(self) -> object: ...


class _SignedRequest(Protocol):
    headers: MutableMapping[str, str]


class AmazonSigner:
    """Signs calls with IAM credentials.

    Args:
        region: where the service is.
        service: its name in signatures.
        credentials: None takes those that Amazon's own tools would take: the environment, the profile, the role of the
            container or the machine.
    """

    def __init__(self, *, region: str, service: str = SERVICE, credentials: Credentials | None = None) -> None:
        self._region = region
        self._service = service
        self._credentials = credentials
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"AmazonSigner(region={self._region!r}, service={self._service!r})"

    async def sign(self, method: str, url: str, headers: Headers, body: bytes, /) -> Headers:
        """All headers of the call; credentials may have to be fetched, so this is done in a thread.

        Raises:
            UpstreamError: there are no credentials.
        """
        return await to_thread.run_sync(self._sign, method, url, headers, body, abandon_on_cancel=True)

    def _sign(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        try:
            frozen = self._known().get_frozen_credentials()
        except BotoCoreError as error:
            raise _no_credentials() from error
        request = AWSRequest(method=method, url=url, data=body)
        signed = cast("_SignedRequest", request)
        for name, value in headers:
            signed.headers[name.decode("latin-1")] = value.decode("latin-1")
        SigV4Auth(frozen, self._service, self._region).add_auth(request)
        return tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in signed.headers.items()
        )

    def _known(self) -> Credentials:
        from botocore.session import Session

        with self._lock:
            if self._credentials is None:
                self._credentials = cast("Credentials | None", Session().get_credentials())
            if self._credentials is None:
                raise _no_credentials()
            return self._credentials


def _no_credentials() -> UpstreamError:
    return UpstreamError(
        "The gateway has no AWS credentials to sign with.",
        failure="credential",
        kind="overloaded",
        code="provider_not_configured",
    )
