"""Which model name goes where: exact names first, then globs, then the default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from asgi_llmgw.exchange import Hedge, OnLoss, StreamFailure, Target
from asgi_llmgw.routing.policy import Strategy

ANY_MODEL: Final = "*"
_GLOB: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Route:
    """What one configured model name stands for.

    Args:
        name: the name or glob clients ask for; also the metric label.
        targets: where it may go; a target model of `*` passes the client's name on.
        strategy: which of them is tried first.
        fallbacks: names of other routes that are tried after all of these targets, as far as the caller may use them.
        sticky: whether requests of one session go the same way.
        on_loss: what becomes of a request the target cannot express whole.
        stream_failure: what becomes of a stream that breaks before its first content.
        hedge: when a second attempt is made beside a slow one.
        strip: a prefix of the client's name that is not passed on (`openai/` of `openai/gpt-4o`).

    Attributes:
        passes_on: whether a target gets the client's name.
    """

    name: str
    targets: tuple[Target, ...]
    strategy: Strategy = "fallback"
    fallbacks: tuple[str, ...] = ()
    sticky: bool = True
    on_loss: OnLoss = "warn"
    stream_failure: StreamFailure = "error"
    hedge: Hedge | None = None
    strip: str = ""
    passes_on: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passes_on", any(target.model == ANY_MODEL for target in self.targets))

    @property
    def is_glob(self) -> bool:
        return not _GLOB.isdisjoint(self.name)

    def targets_for(self, model: str) -> tuple[Target, ...]:
        """The targets with the client's model name filled in where they pass it on."""
        if not self.passes_on:
            return self.targets
        passed_on = model.removeprefix(self.strip)
        return tuple(
            Target(target.provider, passed_on, target.weight) if target.model == ANY_MODEL else target
            for target in self.targets
        )


class RouteTable:
    """All routes. Exact names win over globs, longer globs over shorter ones, and `default` takes the rest.

    Attributes:
        routes: in the configured order.
        exact: those that stand for one name, by it.
    """

    def __init__(self, routes: Iterable[Route], *, default: Route | None = None) -> None:
        ordered = tuple(routes)
        self.exact: Mapping[str, Route] = {route.name: route for route in ordered if not route.is_glob}
        self._globs = sorted((route for route in ordered if route.is_glob), key=lambda route: -len(route.name))
        self._default = default
        self.routes = ordered if default is None else (*ordered, default)

    def match(self, model: str) -> Route | None:
        """The route for a model name, None if there is none."""
        found = self.exact.get(model)
        if found is not None:
            return found
        return next((route for route in self._globs if fnmatchcase(model, route.name)), self._default)

    def names(self) -> tuple[str, ...]:
        """The model names a client can ask for by name, in the configured order: globs are left out."""
        return tuple(self.exact)
