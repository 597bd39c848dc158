"""What did it cost? Known prices times reported tokens, for the log and the metrics."""

from __future__ import annotations

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.limiting.accounting import cost_of, reported
from asgi_llmgw.pricing import PriceTable


class CostsMiddleware:
    """Put the cost of all attempts into the exchange when a request is over, unless it is there already.

    Args:
        prices: what the models cost; None takes the list prices that come with the package.
    """

    def __init__(self, app: ASGIApp, *, prices: PriceTable | None = None) -> None:
        self._app = app
        self._prices = prices if prices is not None else PriceTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            if exchange.cost is None:
                exchange.cost = cost_of(reported(exchange), self._prices)
