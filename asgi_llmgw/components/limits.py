"""Is there room for this request? Sets aside what it may use, and counts what it has used, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import anyio

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.answer import ClientDisconnected, is_event_stream
from asgi_llmgw.asgi import MAX_BODY, peek_body, send_gone
from asgi_llmgw.errors import ConfigError, GatewayError
from asgi_llmgw.exchange import Exchange, Operation, Target, new_request_id
from asgi_llmgw.limiting.accounting import Answered, cost_of, tokens_of, used_by
from asgi_llmgw.limiting.estimate import DEFAULT_OUTPUT_TOKENS, Estimate, estimate, estimate_operation
from asgi_llmgw.limiting.headers import rate_limit_headers, retry_headers
from asgi_llmgw.limiting.leases import LEASE_SECONDS, Later, Leases
from asgi_llmgw.limiting.table import LimitTable, Met
from asgi_llmgw.limiting.words import denial, hopeless, label, too_much, unavailable, unpriced
from asgi_llmgw.pricing import PriceTable, highest_cost
from asgi_llmgw.render import send_error
from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, Standing, Store, StoreUnavailable
from asgi_llmgw.store.memory import MemoryStore

Unpriced: TypeAlias = Literal["refuse", "allow"]
_T = TypeVar("_T")

UNMETERED: Final[frozenset[Operation]] = frozenset(
    {"count_tokens", "stored_response", "caches", "files", "batches", "usage"}
)
"""The operations that generate nothing: they count as requests alone."""

_NOTHING: Final = Estimate(0, 0)
_NOTHING_USED: Final[Mapping[Measure, int]] = {"requests": 0, "tokens": 0, "cost": 0}


class LimitsMiddleware:
    """Keep the limits of keys, tenants and models: requests, tokens, money, and requests at the same time.

    All limits of a request are checked and taken at once; one that has no room refuses it with 429, in the client's
    protocol, and takes nothing of the others. What is set aside is the most that the request may use; what it has used
    is settled in its place as soon as that is known, before the client hears of the end, and in every other ending too.
    Requests that meet no limit pass straight through.

    Args:
        app: dispatches to the targets.
        store: counts.
        limits: the configured limits.
        prices: for budgets, and for `Exchange.cost`.
        lease_seconds: how long what a killed process has set aside stays taken.
        default_output_tokens: what a request is thought to generate that does not say how much it may.
        unpriced: what becomes of a request under a budget whose model has no price: `refuse` it, or `allow` it and
            count nothing.
        max_body: the largest request, in bytes.
        clock: seconds since the epoch.
        later: calls a function so many seconds later, to renew the leases; None takes the event loop's own timers.

    Raises:
        ConfigError: a number is not positive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        limits: LimitTable,
        prices: PriceTable | None = None,
        lease_seconds: float = LEASE_SECONDS,
        default_output_tokens: int = DEFAULT_OUTPUT_TOKENS,
        unpriced: Unpriced = "refuse",
        max_body: int = MAX_BODY,
        clock: Callable[[], float] = time.time,
        later: Later | None = None,
    ) -> None:
        if lease_seconds <= 0 or default_output_tokens <= 0:
            raise ConfigError("lease_seconds and default_output_tokens must be positive")
        self._app = app
        self._store = store
        self._limits = limits
        self._prices = prices if prices is not None else PriceTable()
        self._leases = Leases(store, seconds=lease_seconds, later=later)
        self._default_output_tokens = default_output_tokens
        self._unpriced: Unpriced = unpriced
        self._max_body = max_body
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        met = self._limits.of(exchange)
        if exchange.operation in UNMETERED:
            met = met.unmetered
        if not met.claims:
            await self._app(scope, receive, send)
            return
        standings: Sequence[Standing] = ()
        try:
            expected = _NOTHING
            if met.metered:
                body, receive = await peek_body(receive, headers=exchange.headers, limit=self._max_body)
                expected = self._estimate(exchange, body)
            found = await self._reserve(exchange, self._claims(exchange, met, expected))
            if isinstance(found, Denied):
                standings, exchange.limited = found.standings, label(found.limit)
                raise denial(found, exchange.client_protocol, now=self._clock())
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await self._refuse(exchange, send, error, standings)
            return
        headers = rate_limit_headers(found.standings, exchange.client_protocol, now=found.time)
        admitted = _Admitted(exchange, send, found, expected, leases=self._leases, prices=self._prices, headers=headers)
        try:
            await self._app(scope, receive, admitted)
        finally:
            if not admitted.settled:
                await admitted.settle()

    def _estimate(self, exchange: Exchange, body: bytes) -> Estimate:
        """The most the request may use."""
        operation, most = exchange.operation, self._default_output_tokens
        if operation is None or operation in ("chat", "compact", "realtime"):
            return estimate(body, exchange.client_protocol or "openai_chat", default_output=most)
        return estimate_operation(body, operation, default_output=most)

    async def _reserve(self, exchange: Exchange, claims: tuple[Claim, ...]) -> Reservation | Denied:
        """Take all or nothing.

        Raises:
            GatewayError: the request alone is more than a limit allows, or the store is away.
        """
        for claim in claims:
            if claim.amount > claim.limit.ceiling:
                exchange.limited = label(claim.limit)
                raise too_much(claim)
        # never the client's own id: whoever repeats one would pay once
        request_id = new_request_id()
        try:
            reserving = self._store.reserve(claims, request_id=request_id, lease=self._leases.seconds)
            return await _unbroken(self._store, reserving)
        except StoreUnavailable:
            raise unavailable() from None
        except asyncio.CancelledError:
            # nobody knows whether it was taken, and nobody will use it
            self._leases.settle_beside(Reservation(request_id, claims, (), self._clock()), _NOTHING_USED)
            raise

    def _claims(self, exchange: Exchange, met: Met, expected: Estimate) -> tuple[Claim, ...]:
        """One of each limit, and of tokens and money the most that the request may use.

        Raises:
            GatewayError: its cost cannot be told.
        """
        if not met.metered:
            return met.claims
        claims = list(met.claims)
        for place in met.metered:
            limit = claims[place].limit
            tokens = limit.measure == "tokens"
            claims[place] = Claim(limit, expected.tokens if tokens else self._highest_cost(exchange, limit, expected))
        return tuple(claims)

    def _highest_cost(self, exchange: Exchange, limit: Limit, expected: Estimate) -> int:
        """What the request costs at most, wherever it goes."""
        targets = exchange.targets or (Target("", exchange.model or expected.model or ""),)
        highest = 0
        for target in targets:
            price = self._prices.find(target.provider, target.model)
            if price is not None:
                highest = max(highest, highest_cost(expected.input_tokens, expected.output_tokens, price))
            elif self._unpriced == "refuse":
                raise unpriced(exchange.model or target.model, limit)
        return highest

    async def _refuse(self, exchange: Exchange, send: Send, error: GatewayError, standings: Sequence[Standing]) -> None:
        exchange.reject(error)
        protocol = exchange.client_protocol
        headers = rate_limit_headers(standings, protocol, now=self._clock())
        if error.status in (429, 503):
            headers += retry_headers(error.retry_after, protocol, hopeless=hopeless(error))
        await send_error(send, error, protocol, request_id=exchange.request_id, extra_headers=headers)


def _unbroken(store: Store, call: Awaitable[_T]) -> Awaitable[_T]:
    """Nothing breaks into a call to the store; one in memory never waits, so that nothing could."""
    return call if isinstance(store, MemoryStore) else _shielded(call)


async def _shielded(call: Awaitable[_T]) -> _T:
    with anyio.CancelScope(shield=True):
        return await call
    raise AssertionError("a shield suppresses nothing")


class _Admitted:
    """A `send` that tells the client how its limits stand, and settles before the client hears of the end."""

    def __init__(
        self,
        exchange: Exchange,
        send: Send,
        reservation: Reservation,
        expected: Estimate,
        *,
        leases: Leases,
        prices: PriceTable,
        headers: Headers,
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._reservation = reservation
        self._expected = expected
        self._leases = leases
        self._prices = prices
        self._headers = headers
        self._answered = Answered()
        self._streaming = False
        self.settled = False
        leases.hold(reservation)

    def __call__(self, message: Message) -> Awaitable[None]:
        # nothing is to be learnt of what a stream says before its end
        return self._send(message) if self._streaming and message.get("more_body", False) else self._look(message)

    async def _look(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*(message.get("headers") or ()), *self._headers]
            self._answered.began = message["status"] < 400
            self._streaming = is_event_stream(headers)
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            if self._answered.began and not self._streaming:
                self._answered.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._answered.finished = True
                if not self.settled:
                    # a client that has its answer may come again at once, and finds its place free
                    await self.settle()
        await self._send(message)

    async def settle(self) -> None:
        """Count what was used, whoever is being cancelled."""
        self.settled = True
        actual: dict[Measure, int] = {}
        exchange = self._exchange
        if self._expected is not _NOTHING:
            used = used_by(exchange, self._expected, self._answered)
            exchange.cost = cost_of(used, self._prices)
            actual = {"tokens": tokens_of(used), "cost": exchange.cost or 0}
        await _unbroken(self._leases.store, self._leases.settle(self._reservation, actual))
