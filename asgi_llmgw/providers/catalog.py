"""The vendors we know, one row each. A vendor that speaks a known protocol is a row here and nothing else.

What of a client's headers is passed on is a decision of its own. Feature headers go to the vendor that defined them.
Account headers (`openai-organization`, `openai-project`) stay here: the account is the operator's.
`idempotency-key` stays here: all clients share the operator's account, so two of them with one key would get each
other's answer. Trace context (`traceparent`) goes to servers of the operator's own, not to vendors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.envelopes import Envelope
from asgi_llmgw.envelopes.bedrock import BedrockMessages
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.providers import families
from asgi_llmgw.providers.base import AuthStyle, Provider

DEMO: Final = "demo"
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """What is known about a vendor.

    Args:
        base_url: what the vendor's own SDK takes; `{region}` stands for one.
        protocols: what it speaks, the preferred one first.
        auth: how the key is sent, if there is one.
        key_variables: the environment variables its key is usually in, the first one that is set wins.
        region_variables: the environment variables its region is usually in, where the address has one.
        key_required: whether it can be called without a key.
        headers: sent with every request.
        forward_headers: the client's headers that are passed on.
        envelope: what the vendor wraps the protocol in, if it does.
        profile: facts that hold for all its models.
        profiles: facts about some of its models, as (glob, facts), the first match wins.
        model_globs: the model names it serves, where no configuration says so. Names that begin with the vendor's own
            and a slash (`openrouter/*`) tell the vendor only; it knows its models without them.
    """

    base_url: str
    protocols: tuple[Protocol, ...] = ("openai_chat",)
    auth: AuthStyle = "bearer"
    key_variables: tuple[str, ...] = ()
    region_variables: tuple[str, ...] = ()
    key_required: bool = True
    headers: Headers = ()
    forward_headers: frozenset[bytes] = frozenset()
    envelope: Envelope | None = None
    profile: Profile = Profile()
    profiles: tuple[tuple[str, Profile], ...] = ()
    model_globs: tuple[str, ...] = ()

    def address(self, environ: Mapping[str, str]) -> str | None:
        """The base URL, with the region that the environment names; None if it has to name one and does not."""
        if "{region}" not in self.base_url:
            return self.base_url
        named = (environ.get(variable, "").strip() for variable in self.region_variables)
        region = next((name for name in named if name), "")
        return self.base_url.format(region=region) if _REGION.fullmatch(region) else None

    def lives_at(self, url: str) -> bool:
        """Whether this is the vendor's own address in some region."""
        before, _, after = self.base_url.partition("{region}")
        return after != "" and url.startswith(before) and url.endswith(after)


_COMPATIBLE: Final = Profile(max_tokens_field="max_tokens", system_role="system")
"""A server that imitates OpenAI's older API."""

_USAGE_UNASKED: Final = Profile(max_tokens_field="max_tokens", system_role="system", stream_usage=False)
"""As above, but it tells the usage of a stream by itself and does not know `stream_options`."""

_NEWER: Final = Profile(system_role="system")
"""A server that imitates OpenAI's API as it is now, `max_completion_tokens` included."""

_TRACE: Final = frozenset({b"traceparent", b"tracestate"})


def _local(port: int) -> CatalogEntry:
    """A server on this machine; it may ask for a key, but seldom does."""
    return CatalogEntry(
        base_url=f"http://127.0.0.1:{port}/v1", key_required=False, forward_headers=_TRACE, profile=_COMPATIBLE
    )


CATALOG: Final[Mapping[str, CatalogEntry]] = MappingProxyType(
    {
        # https://platform.openai.com/docs/api-reference/introduction
        "openai": CatalogEntry(
            base_url="https://api.openai.com/v1",
            protocols=("openai_chat", "openai_responses"),
            key_variables=("OPENAI_API_KEY",),
            forward_headers=frozenset({b"openai-beta"}),
            profiles=families.OPENAI,
            model_globs=("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "ft:gpt-*", "codex-*", "computer-use-*"),
        ),
        # https://docs.anthropic.com/en/api/overview
        "anthropic": CatalogEntry(
            base_url="https://api.anthropic.com",
            protocols=("anthropic_messages",),
            auth="x-api-key",
            key_variables=("ANTHROPIC_API_KEY",),
            headers=((b"anthropic-version", b"2023-06-01"),),
            forward_headers=frozenset({b"anthropic-beta", b"anthropic-version"}),
            profiles=families.ANTHROPIC,
            model_globs=("claude-*",),
        ),
        # https://ai.google.dev/gemini-api/docs/api-key
        "gemini": CatalogEntry(
            base_url="https://generativelanguage.googleapis.com",
            protocols=("gemini_generate",),
            auth="x-goog-api-key",
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            profiles=families.GEMINI,
            model_globs=("gemini-*", "gemma-*"),
        ),
        # Claude only. https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html
        "bedrock": CatalogEntry(
            base_url="https://bedrock-runtime.{region}.amazonaws.com",
            protocols=("anthropic_messages",),
            key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
            region_variables=("AWS_REGION", "AWS_DEFAULT_REGION"),
            forward_headers=frozenset({b"anthropic-beta"}),
            envelope=BedrockMessages(),
            profiles=tuple((f"*anthropic.{glob}", facts) for glob, facts in families.ANTHROPIC),
            model_globs=("anthropic.claude-*", "*.anthropic.claude-*"),
        ),
        # https://docs.mistral.ai/api
        "mistral": CatalogEntry(
            base_url="https://api.mistral.ai/v1",
            key_variables=("MISTRAL_API_KEY",),
            profile=_USAGE_UNASKED,
            model_globs=(
                "mistral-*",
                "ministral-*",
                "codestral-*",
                "devstral-*",
                "magistral-*",
                "pixtral-*",
                "voxtral-*",
                "open-mistral-*",
                "open-mixtral-*",
            ),
        ),
        # https://console.groq.com/docs/openai
        "groq": CatalogEntry(
            base_url="https://api.groq.com/openai/v1",
            key_variables=("GROQ_API_KEY",),
            profile=_NEWER,
            model_globs=("groq/*",),
        ),
        # https://api-docs.deepseek.com
        "deepseek": CatalogEntry(
            base_url="https://api.deepseek.com/v1",
            key_variables=("DEEPSEEK_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("deepseek-*",),
        ),
        # https://docs.x.ai/docs/api-reference
        "xai": CatalogEntry(
            base_url="https://api.x.ai/v1",
            key_variables=("XAI_API_KEY",),
            profile=_NEWER,
            model_globs=("grok-*",),
        ),
        # https://openrouter.ai/docs/api-reference/overview
        "openrouter": CatalogEntry(
            base_url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("openrouter/*",),
        ),
        # https://docs.together.ai/docs/openai-api-compatibility
        "together": CatalogEntry(
            base_url="https://api.together.xyz/v1",
            key_variables=("TOGETHER_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("together/*",),
        ),
        # https://docs.fireworks.ai/tools-sdks/openai-compatibility
        "fireworks": CatalogEntry(
            base_url="https://api.fireworks.ai/inference/v1",
            key_variables=("FIREWORKS_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("fireworks/*",),
        ),
        # https://inference-docs.cerebras.ai/resources/openai
        "cerebras": CatalogEntry(
            base_url="https://api.cerebras.ai/v1",
            key_variables=("CEREBRAS_API_KEY",),
            profile=_NEWER,
            model_globs=("cerebras/*",),
        ),
        # https://docs.perplexity.ai/guides/chat-completions-guide
        "perplexity": CatalogEntry(
            base_url="https://api.perplexity.ai",
            key_variables=("PERPLEXITY_API_KEY",),
            profile=_USAGE_UNASKED,
            model_globs=("sonar", "sonar-*"),
        ),
        # https://platform.moonshot.ai/docs/api/chat
        "moonshot": CatalogEntry(
            base_url="https://api.moonshot.ai/v1",
            key_variables=("MOONSHOT_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("kimi-*", "moonshot-*"),
        ),
        # https://docs.z.ai/api-reference/introduction
        "zai": CatalogEntry(
            base_url="https://api.z.ai/api/paas/v4",
            key_variables=("ZAI_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("glm-*",),
        ),
        "ollama": _local(11434),  # https://github.com/ollama/ollama/blob/main/docs/openai.md
        "vllm": _local(8000),  # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        "llamacpp": _local(8080),  # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
        "lmstudio": _local(1234),  # https://lmstudio.ai/docs/app/api/endpoints/openai
        DEMO: CatalogEntry(
            base_url="demo://localhost",
            protocols=("openai_chat", "anthropic_messages", "gemini_generate"),
            auth="none",
            key_required=False,
            model_globs=("*",),
        ),
    }
)


def provider_from_catalog(
    name: str,
    kind: str,
    *,
    api_keys: Sequence[str] = (),
    base_url: str | None = None,
    headers: Headers = (),
) -> Provider:
    """A vendor of the catalog under a name of the operator's.

    Args:
        api_keys: the credentials; a vendor that needs none is called without.
        base_url: another address of the same vendor's, a regional one or a proxy.
        headers: more headers for every request; they replace the catalog's of the same name.

    Raises:
        ConfigError: the catalog has no such row.
    """
    entry = CATALOG.get(kind)
    if entry is None:
        raise ConfigError(f"there is no provider kind {kind!r}; choose one of {', '.join(CATALOG)}")
    if base_url is None:
        base_url = entry.address({})
    if base_url is None:
        raise ConfigError(f"the address of {kind!r} has a region in it: give the base_url")
    return Provider(
        name=name,
        base_url=base_url,
        protocols=entry.protocols,
        auth=entry.auth if api_keys or entry.key_required else "none",
        api_keys=tuple(api_keys),
        headers=tuple({**dict(entry.headers), **dict(headers)}.items()),
        forward_headers=entry.forward_headers,
        envelope=entry.envelope,
        profile=entry.profile,
        profiles=entry.profiles,
    )
