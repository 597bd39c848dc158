"""A call to a vendor that ends once, whoever comes first: the one who made it, or somebody who cannot wait for that."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse


class HeldCall:
    """A call that is open until it is left or closed; both may happen, from different tasks."""

    __slots__ = ("_call", "_made")

    def __init__(self) -> None:
        self._call: AbstractAsyncContextManager[UpstreamResponse] | None = None

    def open(self, upstream: Upstream, request: UpstreamRequest) -> HeldCall:
        """Make the call, for one `async with`: entering it waits for the head of the answer.

        Raises:
            UpstreamError: it cannot be made.
        """
        self._made = upstream.open(request)
        return self

    async def aclose(self) -> None:
        """Close it, if nobody has."""
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> UpstreamResponse:
        response = await self._made.__aenter__()
        self._call = self._made
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call, self._call = self._call, None
        if call is not None:
            await call.__aexit__(kind, error, trace)
