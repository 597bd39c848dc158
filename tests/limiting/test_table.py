"""Which limits a request meets."""

from __future__ import annotations

import pytest

from asgi_llmgw.exchange import Exchange, Principal
from asgi_llmgw.limiting.table import LimitTable
from asgi_llmgw.store.base import Limit

RPM = Limit("key", "a", "requests", 10, "minute")
TPM = Limit("tenant", "t", "tokens", 10, "minute")
TABLE = LimitTable(keys={"a": (RPM,)}, tenants={"t": (TPM,)})


def asked(name: str, tenant: str | None = None) -> Exchange:
    return Exchange("req_1", principal=Principal(name, tenant=tenant))


def test_what_follows_from_the_limits_is_found_once() -> None:
    met = TABLE.of(asked("a", "t"))
    assert [claim.limit for claim in met.claims] == [RPM, TPM]
    assert met.metered == (1,) and TABLE.of(asked("a", "t")) is met
    assert [claim.limit for claim in met.unmetered.claims] == [RPM]


def test_keys_without_end_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_llmgw.limiting.table._MAX_REMEMBERED", 2)
    met = TABLE.of(asked("a"))
    assert not any(TABLE.of(asked(f"b{number}")).claims for number in range(2))
    assert TABLE.of(asked("a")) is not met and TABLE.of(asked("a")).claims == met.claims
