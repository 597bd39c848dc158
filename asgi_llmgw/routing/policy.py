"""In which order a request tries its targets, and which of a provider's keys it takes.

A strategy chooses the first target; the others stand behind it, in case it fails. Requests of one session stick to one
key, and under every strategy that spreads load to one target as well, because vendors keep prompts warm per account.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from asgi_llmgw.exchange import Target
from asgi_llmgw.providers.base import KeyRotation
from asgi_llmgw.routing.health import Health, Lane

Strategy: TypeAlias = Literal["fallback", "weighted", "least_latency", "least_busy"]

_SESSIONS: Final = 2**64


@dataclass(frozen=True, slots=True)
class Credentials:
    """How many keys a provider has, and how requests are spread over them."""

    count: int = 1
    rotation: KeyRotation = "round_robin"


class Balancer:
    """Chooses among targets and keys by what is known of their lanes.

    Args:
        health: how the lanes are.
        credentials: each provider's keys; a provider that is not named has one.
        rng: for what is left to chance.
    """

    def __init__(
        self, health: Health, *, credentials: Mapping[str, Credentials] | None = None, rng: random.Random | None = None
    ) -> None:
        self.health = health
        self._several = {name: keys for name, keys in (credentials or {}).items() if keys.count != 1}
        self._rng = rng if rng is not None else random.Random()
        self._turns: dict[str, int] = {}

    def order(self, targets: Sequence[Target], strategy: Strategy, *, session: str | None = None) -> tuple[Target, ...]:
        """All targets, the one to try first in front; those whose every lane rests are at the end.

        Args:
            session: requests with the same one go to the same target as long as it is well.
        """
        if len(targets) < 2 or strategy == "fallback":
            return tuple(targets)
        well = [target for target in targets if self._is_well(target)]
        resting = [target for target in targets if target not in well]
        if session is not None:
            well.sort(key=lambda target: _pull(session, f"{target.provider}/{target.model}", target.weight))
        elif strategy == "weighted":
            # the keys of a weighted draw without replacement (Efraimidis and Spirakis, 2006)
            well.sort(key=lambda target: -math.log(1.0 - self._rng.random()) / target.weight)
        elif strategy == "least_busy":
            self._rng.shuffle(well)
            well.sort(key=lambda target: (self._busy(target) + 1) / target.weight)
        else:
            self._two_choices(well)
        return (*well, *resting)

    def has_choice(self, targets: Sequence[Target]) -> bool:
        """Whether a request can go more than one way: to several targets, or with several keys."""
        return len(targets) != 1 or targets[0].provider in self._several

    def lanes(self, targets: Iterable[Target], *, session: str | None = None) -> dict[Target, list[Lane]]:
        """The lanes of each target, one for each key, the one to take first in front, whether they rest or not.

        They are asked for once for each request: all its targets at one provider begin with the same key.
        """
        turns: dict[str, int] = {}
        found: dict[Target, list[Lane]] = {}
        for target in targets:
            lanes = found[target] = self._all_lanes(target)
            if len(lanes) > 1:
                self._arrange(lanes, turns, session)
        return found

    def _arrange(self, lanes: list[Lane], turns: dict[str, int], session: str | None) -> None:
        """Put the lane to take first in front; `turns` are the keys the request's other targets begin with."""
        if session is not None:
            lanes.sort(key=lambda lane: _pull(session, f"{lane.key.provider}#{lane.key.credential}", 1))
            return
        name = lanes[0].key.provider
        turn = turns.get(name)
        if turn is None:
            turn = turns[name] = self._turns[name] = self._turns.get(name, -1) + 1
        well = [lane for lane in lanes if self.health.usable(lane)]
        resting = [lane for lane in lanes if lane not in well]
        turn %= max(1, len(well))
        lanes[:] = well[turn:] + well[:turn] + resting
        if self._several[name].rotation == "least_busy":
            lanes.sort(key=lambda lane: lane.in_flight)

    def _all_lanes(self, target: Target) -> list[Lane]:
        keys = self._several.get(target.provider)
        if keys is None:
            return [self.health.lane(target, 0)]
        if target.credential is not None and target.credential < keys.count:
            return [self.health.lane(target, target.credential)]
        return [self.health.lane(target, number) for number in range(keys.count)]

    def _is_well(self, target: Target) -> bool:
        return any(self.health.usable(lane) for lane in self._all_lanes(target))

    def _busy(self, target: Target) -> int:
        return sum(lane.in_flight for lane in self._all_lanes(target))

    def _cost(self, target: Target) -> float:
        now = self.health.clock()
        return min(lane.cost(now) for lane in self._all_lanes(target) if self.health.usable(lane)) / target.weight

    def _two_choices(self, well: list[Target]) -> None:
        """The better one of two picked by chance comes first: nobody herds on the one that looks best to all.

        Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (2001).
        """
        self._rng.shuffle(well)
        costs: Callable[[Target], float] = self._cost
        first = sorted(well[:2], key=costs)
        well[:] = [*first[:1], *sorted([*first[1:], *well[2:]], key=costs)]


def _pull(session: str, name: str, weight: int) -> float:
    """How far this session is from that name: rendezvous hashing with weights, so that few move when one goes away."""
    digest = hashlib.blake2b(f"{session}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return -math.log((int.from_bytes(digest) + 1) / (_SESSIONS + 1)) / weight
