"""Prometheus metrics. Every label is a configured name or a word of a closed vocabulary, never a client's text."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final, TypeVar, get_args

import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.answer import Answer, ClientDisconnected
from asgi_llmgw.errors import ConfigError, GatewayError, RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange, Operation, Outcome, Target
from asgi_llmgw.pricing import MAX_TOKENS
from asgi_llmgw.render import NO_STORE, send_document, send_error
from asgi_llmgw.routing.health import Health

COUNTED: Final = frozenset(get_args(Operation)) - {
    "models",
    "model",
    "count_tokens",
    "health",
    "ready",
    "metrics",
    "status",
}
"""The operations that reach a model, or something that lies at a vendor."""

NO_ONE: Final = "none"
OTHER: Final = "other"
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

_MILLION: Final = 1_000_000
_ACCEPTED: Final = 101
"""A WebSocket, which is a stream as well."""

_DURATION_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_FIRST_TOKEN_BUCKETS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60)


class MetricsMiddleware:
    """Counts every request to a model, however it ends.

    The tokens of `type="input"` include those read from and written to a cache, and `type="output"` includes reasoning.

    Args:
        registry: where the metrics live; None makes one of its own, so that two gateways in one process do not mix.
        max_api_keys: so many callers are told apart, which matters where a host's own authentication names them; the
            rest is `other`.
        clock: the clock of `Exchange.started`.

    Attributes:
        registry: for `MetricsApp`.

    Raises:
        ConfigError: `max_api_keys` is not positive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: CollectorRegistry | None = None,
        max_api_keys: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_api_keys <= 0:
            raise ConfigError(f"max_api_keys must be positive, got {max_api_keys}")
        self._app = app
        self.registry = CollectorRegistry() if registry is None else registry
        self._metrics = _Metrics(self.registry, max_api_keys)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        answer, send = exchange.watched(send)
        answer.on_start = self._began
        error: BaseException | None = None
        try:
            await self._app(scope, receive, send)
        except BaseException as exc:
            error = exc
            raise
        finally:
            if _is_stream(answer):
                self._metrics.streams.dec()
            if exchange.limited is not None:
                self._metrics.refuse(exchange, exchange.limited)
            if exchange.operation in COUNTED:
                outcome = exchange.outcome or _outcome(answer, exchange.failure or error)
                self._metrics.record(exchange, outcome, self._clock() - exchange.started, error)

    def _began(self, answer: Answer) -> None:
        if _is_stream(answer):
            self._metrics.streams.inc()


def _is_stream(answer: Answer) -> bool:
    return answer.streaming or answer.status == _ACCEPTED


def _outcome(answer: Answer, error: BaseException | None) -> Outcome:
    """How it ended, if no component said so."""
    if isinstance(error, UpstreamError):
        return "upstream_error"
    if answer.finished:
        return "completed" if (answer.status or 500) < 400 else "rejected"
    cancelled = error is not None and not isinstance(error, Exception)
    return "client_disconnected" if cancelled or isinstance(error, ClientDisconnected) else "rejected"


class MetricsApp:
    """Serves the text exposition; with `PROMETHEUS_MULTIPROC_DIR` set, that of all worker processes together.

    Args:
        registry: what to show.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the scope type {scope['type']!r} is not served")
        if scope["method"] not in ("GET", "HEAD"):
            exchange, scope = Exchange.of(scope)
            error = RequestError("Metrics can only be read.", kind="method_not_allowed", code="method_not_allowed")
            exchange.reject(error)
            allow = ((b"allow", b"GET, HEAD"),)
            await send_error(send, error, None, request_id=exchange.request_id, extra_headers=allow)
            return
        # thousands of series take a while to write down, and requests are waiting
        body = await anyio.to_thread.run_sync(self._exposition)
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode()), NO_STORE]
        await send_document(send, 200, body, headers=headers, head=scope["method"] == "HEAD")

    def _exposition(self) -> bytes:
        if not os.environ.get(MULTIPROCESS):
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def store_gauge(registry: CollectorRegistry) -> Gauge:
    """Whether the shared store is there: 1 or 0, and 0 if one of several processes has lost it."""
    return Gauge(
        "llm_store_available", "Whether the shared store is there.", registry=registry, multiprocess_mode="livemin"
    )


class TargetStates(Collector):
    """How many lanes to the vendors are in which state, at the moment somebody looks.

    A lane is one model at one provider with one key. Models that clients have named are told together, as `other`.
    Several worker processes have no common view of this: it is missing where they share their metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._health: Health | None = None
        self._known: frozenset[tuple[str, str]] = frozenset()
        registry.register(self)

    def show(self, health: Health, targets: Iterable[Target]) -> None:
        """From now on tell of this.

        Args:
            targets: the configured ones, whose models have labels of their own.
        """
        self._health = health
        self._known = frozenset((target.provider, target.model) for target in targets)

    def collect(self) -> list[GaugeMetricFamily]:
        """What prometheus_client asks for."""
        views = () if self._health is None else self._health.views()
        counts: dict[tuple[str, ...], int] = {}
        for view in views:
            provider, credential, model = view.key
            name = _label(model) if (provider, model) in self._known else OTHER
            labels: tuple[str, ...] = (_label(provider), name, str(credential), view.state)
            counts[labels] = counts.get(labels, 0) + 1
        family = GaugeMetricFamily(
            "llm_target_state",
            "Lanes to vendors by state: 1, or how many models that clients have named.",
            labels=("provider", "model", "key", "state"),
        )
        for labels, count in counts.items():
            family.add_metric(labels, count)
        return [family]


class _Series:
    """A counter's child that is told of what was counted when somebody looks: it takes a lock each time.

    Counting and telling may go on in two threads, so each of the two sums is written by one of them only.
    """

    __slots__ = ("_child", "_counted", "_told")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._counted = self._told = 0.0

    def inc(self, amount: float = 1) -> None:
        self._counted += amount

    def tell(self) -> None:
        counted = self._counted
        self._child.inc(counted - self._told)
        self._told = counted


class _SummedCounter(Collector):
    """A counter in the memory of one process, for which counting is an addition."""

    def __init__(self, counter: Counter, registry: CollectorRegistry) -> None:
        self._counter = counter
        self._series: list[_Series] = []
        self._telling = Lock()
        registry.register(self)

    def labels(self, *labels: str) -> _Series:
        series = _Series(self._counter.labels(*labels))
        self._series.append(series)
        return series

    def describe(self) -> Iterable[Metric]:
        return self._counter.describe()

    def collect(self) -> Iterable[Metric]:
        with self._telling:
            for series in self._series:
                series.tell()
        return self._counter.collect()


_Child = TypeVar("_Child")


class _Children(dict[tuple[str, ...], _Child]):
    """What a metric counts for each combination of labels; `labels()` takes a lock and checks them each time."""

    def __init__(self, labels: Callable[..., _Child]) -> None:
        self._labels = labels

    def __missing__(self, labels: tuple[str, ...]) -> _Child:
        child = self._labels(*map(_label, labels))
        self[labels] = child
        return child


class _Metrics:
    """The metrics themselves."""

    def __init__(self, registry: CollectorRegistry, max_api_keys: int) -> None:
        caller = ("api_key", "provider", "model")
        # several processes look into files, for which each count must be written at once
        in_memory = not os.environ.get(MULTIPROCESS)

        def counter(name: str, about: str, labels: tuple[str, ...]) -> _Children[Counter] | _Children[_Series]:
            if in_memory:
                return _Children(_SummedCounter(Counter(name, about, labels, registry=None), registry).labels)
            return _Children(Counter(name, about, labels, registry=registry).labels)

        def histogram(
            name: str, about: str, labels: tuple[str, ...], buckets: tuple[float, ...]
        ) -> _Children[Histogram]:
            return _Children(Histogram(name, about, labels, buckets=buckets, registry=registry).labels)

        self._requests = counter("llm_requests_total", "Requests to a model.", (*caller, "endpoint"))
        self._tokens = counter("llm_tokens_total", "Tokens as vendors count them.", (*caller, "type"))
        self._cost = counter("llm_cost_usd_total", "What the tokens have cost, where their price is known.", caller)
        self._limited = counter("llm_limited_total", "Requests that a limit has refused.", ("api_key", "limit"))
        self._errors = counter("llm_errors_total", "Requests that did not succeed.", (*caller, "error_type"))
        self._attempts = counter(
            "llm_attempts_total", "Calls to vendors, and what came of each.", ("provider", "result")
        )
        self._duration = histogram(
            "llm_request_duration_seconds",
            "From the first byte of the request to the settled end.",
            caller,
            _DURATION_BUCKETS,
        )
        self._first_token = histogram(
            "llm_time_to_first_token_seconds",
            "From the first byte of the request to the first content from upstream.",
            ("provider", "model"),
            _FIRST_TOKEN_BUCKETS,
        )
        self._outcomes = counter("llm_request_outcomes_total", "How requests ended.", ("outcome",))
        for outcome in get_args(Outcome):
            self._outcomes[(outcome,)].inc(0)
        self.streams = Gauge(
            "llm_streams_in_flight", "Streams being sent to clients.", registry=registry, multiprocess_mode="livesum"
        )
        self._max_api_keys = max_api_keys
        self._api_keys: set[str] = set()

    def refuse(self, exchange: Exchange, limit: str) -> None:
        """Count one request that a limit had no room for, whatever it asked for."""
        self._limited[self._api_key(exchange), limit].inc()

    def record(self, exchange: Exchange, outcome: Outcome, seconds: float, error: BaseException | None) -> None:
        """Count one request that is over."""
        api_key, provider, model = self._api_key(exchange), exchange.provider or NO_ONE, exchange.route or OTHER
        self._requests[api_key, provider, model, exchange.endpoint].inc()
        self._outcomes[(outcome,)].inc()
        self._duration[api_key, provider, model].observe(seconds if seconds > 0 else 0.0)
        if exchange.first_token is not None:
            waited = exchange.first_token - exchange.started
            self._first_token[provider, model].observe(waited if waited > 0 else 0.0)
        usage = exchange.usage
        if usage is not None:
            for kind, count in (
                ("input", usage.input_tokens),
                ("output", usage.output_tokens),
                ("cache_read", usage.cache_read_tokens),
                ("cache_write", usage.cache_write_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                if count is not None and 0 < count <= MAX_TOKENS:
                    self._tokens[api_key, provider, model, kind].inc(count)
        for tried in exchange.tried:
            self._attempts[tried.provider, tried.failure or "ok"].inc()
        if exchange.cost:
            self._cost[api_key, provider, model].inc(exchange.cost / _MILLION)
        if outcome != "completed":
            self._errors[api_key, provider, model, _error_type(exchange, outcome, error)].inc()

    def _api_key(self, exchange: Exchange) -> str:
        if exchange.principal is None:
            return NO_ONE
        name = exchange.principal.name
        if name not in self._api_keys:
            if len(self._api_keys) >= self._max_api_keys:
                return OTHER
            self._api_keys.add(name)
        return name


def _error_type(exchange: Exchange, outcome: Outcome, error: BaseException | None) -> str:
    """A kind of our errors, or that the client left."""
    if outcome == "client_disconnected":
        return outcome
    if exchange.failure is not None:
        return exchange.failure.kind
    return error.kind if isinstance(error, GatewayError) else "server_error"


def _label(text: str) -> str:
    """A configured name as the exposition can hold it: lone surrogates cannot be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
