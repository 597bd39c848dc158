"""`asgi-llmgw conformance`: any gateway, or this one, in front of the scripted vendor."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.conformance.cases import CASES, Case
from asgi_llmgw.conformance.run import MODELS, Result, Selection, model_name, run_cases
from asgi_llmgw.conformance.upstream import BASES, scripted_vendor
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.protocols import PROTOCOLS

LISTEN: Final = "127.0.0.1:9100"
"""Where the scripted vendor is, unless told otherwise."""

CLIENT_KEY: Final = "conformance-client-key"
"""The key of the clients, unless told otherwise."""

VENDOR_KEY: Final = "sk-conformance-00000000000000000000000000000000"
"""What the gateway has for the vendor's key; no client may ever see it."""


def config_text(address: str, *, models: str = MODELS) -> str:
    """A configuration of this gateway whose vendors are the scripted one at this address, as TOML."""
    blocks = ["# one client key, four providers and four models: all that the conformance suite needs"]
    # every case meets a vendor that nobody has heard of: what failed in one must not rest in the next
    blocks.append("[retry]\nattempts = 1\n\n[breaker]\nenabled = false")
    blocks.append(f'[[keys]]\nname = "conformance"\nkey = "{CLIENT_KEY}"')
    for protocol in PROTOCOLS:
        name = f"conformance-{protocol.replace('_', '-')}"
        blocks.append(
            f'[providers.{name}]\nprotocol = "{protocol}"\nbase_url = "{address}{BASES[protocol]}"\n'
            f'api_key = "{VENDOR_KEY}"'
        )
        blocks.append(f'[models."{model_name(models, protocol)}"]\ntargets = ["{name}/vendor-model"]')
    return "\n\n".join(blocks) + "\n"


def cases_named(names: Sequence[str]) -> Sequence[Case]:
    """The cases of these names, or all.

    Raises:
        ConfigError: there is no case of one of the names.
    """
    known = {case.name for case in CASES}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no case {name!r}; choose from {', '.join(sorted(known))}")
    return [case for case in CASES if not names or case.name in names]


async def check_gateway(selection: Selection, *, listen: str = LISTEN) -> list[Result]:
    """Check the gateway at `selection.base_url`; an empty one stands for this gateway, started for the purpose.

    Raises:
        ConfigError: the scripted vendor cannot listen, or this gateway cannot be served.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"write where to listen as host:port, such as {LISTEN}, not {listen!r}")
    async with scripted_vendor(host, int(port)) as (vendor, address):
        if selection.base_url:
            return await run_cases(selection, vendor)
        async with this_gateway(config_text(address, models=selection.models)) as url:
            return await run_cases(replace(selection, base_url=url, api_key=CLIENT_KEY), vendor)


@asynccontextmanager
async def this_gateway(config: str) -> AsyncIterator[str]:
    """This gateway with a configuration, on a free port of this machine; gives its URL.

    Raises:
        ConfigError: there is no server to run it.
    """
    if importlib.util.find_spec("uvicorn") is None:
        raise ConfigError("uvicorn is not installed: pip install 'asgi-llmgw[server]', or name a gateway by --base-url")
    import uvicorn

    app = build_app(parse_config(tomllib.loads(config), environ={}), access_log=None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
