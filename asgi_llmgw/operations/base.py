"""What a gateway must know of an operation to pass it on."""

from __future__ import annotations

from typing import Protocol

from asgi_llmgw.ir import Usage
from asgi_llmgw.protocols import EncodedRequest, RequestHead


class Wire(Protocol):
    """One operation as one family of vendors writes it. Stateless: one value serves all requests."""

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """Model and stream of a request.

        Raises:
            InvalidRequest: they cannot be told for sure.
        """
        ...

    def with_model(self, path: str, body: bytes, model: str, /) -> EncodedRequest:
        """The same request for another model: all other values keep their bytes.

        Raises:
            InvalidRequest: the body is not a JSON object.
        """
        ...

    def usage(self, body: bytes, /) -> Usage | None:
        """What a whole answer says it has used, None where it does not.

        Raises:
            InvalidUpstreamResponse: the answer is not a JSON object.
        """
        ...
