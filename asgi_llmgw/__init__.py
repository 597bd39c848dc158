"""An LLM gateway made of raw ASGI components: one key and one base URL for every model of every vendor.

Names are loaded when they are first used, so that the translator alone does not pay for the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asgi_llmgw.app import Gateway, build_app
    from asgi_llmgw.components.auth import AuthMiddleware
    from asgi_llmgw.components.cache import CacheMiddleware
    from asgi_llmgw.components.dispatch import DispatchApp
    from asgi_llmgw.components.hooks import HooksMiddleware
    from asgi_llmgw.components.limits import LimitsMiddleware
    from asgi_llmgw.components.metrics import MetricsMiddleware
    from asgi_llmgw.components.proxy import ProxyApp
    from asgi_llmgw.components.router import RouterMiddleware
    from asgi_llmgw.components.translator import TranslatorMiddleware
    from asgi_llmgw.config import load_config
    from asgi_llmgw.errors import GatewayError
    from asgi_llmgw.exchange import Exchange, Principal
    from asgi_llmgw.hooks import Hooks
    from asgi_llmgw.ir import Diagnostic
    from asgi_llmgw.translate import StreamTranslator, Translated, translate_request, translate_response

__version__ = "0.1.0"

__all__ = (
    "AuthMiddleware",
    "CacheMiddleware",
    "Diagnostic",
    "DispatchApp",
    "Exchange",
    "Gateway",
    "GatewayError",
    "Hooks",
    "HooksMiddleware",
    "LimitsMiddleware",
    "MetricsMiddleware",
    "Principal",
    "ProxyApp",
    "RouterMiddleware",
    "StreamTranslator",
    "Translated",
    "TranslatorMiddleware",
    "build_app",
    "load_config",
    "translate_request",
    "translate_response",
)

_HOMES: Final = {
    "AuthMiddleware": "components.auth",
    "CacheMiddleware": "components.cache",
    "Diagnostic": "ir",
    "DispatchApp": "components.dispatch",
    "Exchange": "exchange",
    "Gateway": "app",
    "GatewayError": "errors",
    "Hooks": "hooks",
    "HooksMiddleware": "components.hooks",
    "LimitsMiddleware": "components.limits",
    "MetricsMiddleware": "components.metrics",
    "Principal": "exchange",
    "ProxyApp": "components.proxy",
    "RouterMiddleware": "components.router",
    "StreamTranslator": "translate",
    "Translated": "translate",
    "TranslatorMiddleware": "components.translator",
    "build_app": "app",
    "load_config": "config",
    "translate_request": "translate",
    "translate_response": "translate",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
