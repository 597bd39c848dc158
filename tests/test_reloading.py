"""The configuration's file, read again when it has changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import load_config
from asgi_llmgw.reloading import Reloader, fingerprint

pytestmark = pytest.mark.anyio

ONE = '[providers.openai]\napi_key = "a-secret-canary"\n[models.one]\ntargets = ["openai/gpt-4o"]\n'
TWO = ONE.replace("models.one", "models.two")


class Looks:
    """A `sleep` between looks at the file: a test writes to it there, and ends the watching after the last one."""

    def __init__(self, *acts: Callable[[], object] | None) -> None:
        self._acts = list(acts)
        self.over = anyio.Event()

    async def __call__(self, seconds: float) -> None:
        if not self._acts:
            self.over.set()
            await anyio.sleep_forever()
        act = self._acts.pop(0)
        if act is not None:
            act()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(ONE)
    return path


def write(file: Path, text: str) -> None:
    file.write_text(text)


def gateway_of(file: Path) -> Gateway:
    return build_app(load_config(file, environ={}), access_log=None)


async def watch(gateway: Gateway, file: Path, *acts: Callable[[], object] | None) -> None:
    """Look at the file once after each of these."""
    looks: Callable[[float], Awaitable[None]] = (looking := Looks(*acts))
    reloader = Reloader(gateway, load=lambda: load_config(file, environ={}), path=file, sleep=looks)
    async with anyio.create_task_group() as group:
        group.start_soon(reloader.watch)
        await looking.over.wait()
        group.cancel_scope.cancel()


def models(gateway: Gateway) -> list[str]:
    return list(gateway.config.models)


async def test_a_changed_file_is_loaded_once_it_stands_still(file: Path) -> None:
    """F229."""
    gateway = gateway_of(file)
    await watch(gateway, file, None, None, lambda: file.write_text(TWO))
    assert models(gateway) == ["one"]
    await watch(gateway, file, None, None)
    assert models(gateway) == ["two"]


async def test_a_file_that_was_only_touched_changes_nothing(file: Path) -> None:
    gateway = gateway_of(file)
    before = gateway.config
    await watch(gateway, file, None, None, lambda: os.utime(file, (1, 1)), None, None)
    assert gateway.config is before


async def test_a_half_written_file_is_waited_for(file: Path) -> None:
    """F229: it would be read as a configuration without most of its models."""
    gateway = gateway_of(file)
    whole = ONE + TWO[TWO.index("[models") :]
    half = whole[: whole.index("[models.two")]
    await watch(gateway, file, None, None, lambda: file.write_text(half), lambda: file.write_text(whole), None)
    assert models(gateway) == ["one", "two"]


async def test_a_bad_file_keeps_what_there_is_until_it_is_repaired(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F229, K1: what is wrong is said, and no secret."""
    gateway = gateway_of(file)
    before = gateway.config
    broken = TWO.replace("openai/gpt-4o", "opnai/gpt-4o")
    await watch(gateway, file, lambda: file.write_text(broken), None, None)
    assert gateway.config is before
    assert 'there is no provider "opnai"' in caplog.text
    assert "canary" not in caplog.text
    assert len(caplog.records) == 1, "said once, not at each look"
    await watch(gateway, file, lambda: file.write_text("[models"), None, lambda: file.write_text(TWO), None)
    assert models(gateway) == ["two"]


async def test_a_file_that_is_away_for_a_moment_is_none_the_worse(file: Path) -> None:
    gateway = gateway_of(file)
    await watch(gateway, file, file.unlink, None, lambda: file.write_text(TWO), None)
    assert models(gateway) == ["two"]


def test_a_file_is_known_by_its_content_too(file: Path) -> None:
    before = fingerprint(file)
    times = file.stat()
    file.write_text(TWO)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert fingerprint(file) != before


async def test_an_order_loads_at_once_and_what_needs_a_restart_is_said(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asgi_llmgw")
    gateway = gateway_of(file)
    reloader = Reloader(gateway, load=lambda: load_config(file, environ={}), path=file)
    write(file, TWO + "[server]\nport = 9999\n")
    assert await reloader.reload()
    assert models(gateway) == ["two"]
    assert "after a restart only: server.port" in caplog.text
    assert "the configuration was reloaded" in caplog.text


async def test_a_bug_in_loading_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "-".join(("a", "secret", "canary"))

    def load() -> None:
        raise RuntimeError(secret)

    gateway = gateway_of(file)
    assert not await Reloader(gateway, load=load).reload()  # type: ignore[arg-type]
    assert "RuntimeError" in caplog.text and secret not in caplog.text


async def test_without_a_file_there_is_nothing_to_look_at(file: Path) -> None:
    with anyio.fail_after(5):
        await Reloader(gateway_of(file)).watch()
