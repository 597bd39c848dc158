"""The vendors we know, one row each. A vendor that speaks a known protocol is a row here and nothing else.

What of a client's headers is passed on is a decision of its own. Feature headers go to the vendor that defined them.
Account headers (`openai-organization`, `openai-project`) stay here: the account is the operator's.
`idempotency-key` stays here: all clients share the operator's account, so two of them with one key would get each
other's answer. Trace context (`traceparent`) goes to servers of the operator's own, not to vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import structs

from asgi_llmgw.envelopes.bedrock import BedrockMessages
from asgi_llmgw.envelopes.converse import BedrockConverse
from asgi_llmgw.envelopes.vertex import VertexMessages
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.providers import families
from asgi_llmgw.providers.entry import CatalogEntry, Place

DEMO: Final = "demo"

_COMPATIBLE: Final = Profile(max_tokens_field="max_tokens", system_role="system")
"""A server that imitates OpenAI's older API."""

_USAGE_UNASKED: Final = Profile(max_tokens_field="max_tokens", system_role="system", stream_usage=False)
"""As above, but it tells the usage of a stream by itself and does not know `stream_options`."""

_NEWER: Final = Profile(system_role="system")
"""A server that imitates OpenAI's API as it is now, `max_completion_tokens` included."""

_KIMI: Final = Profile(
    max_tokens_field="max_tokens",
    system_role="system",
    forced_tool_choice=False,
    reasoning_field="reasoning_content",
)
"""Moonshot's models think, want their thoughts back, and cannot be forced to call a tool while they think."""

_TRACE: Final = frozenset({b"traceparent", b"tracestate"})
_OPENAI: Final = frozenset({"count_tokens", "stored_response", "compact", "realtime"})
# https://learn.microsoft.com/en-us/azure/foundry/openai/how-to/realtime-audio-websockets,
# https://docs.x.ai/docs/guides/voice
_OPENAI_PARTLY: Final = frozenset({"stored_response", "realtime"})
_COUNTS: Final = frozenset({"count_tokens"})

_AWS_REGION: Final = Place(name="region", variables=("AWS_REGION", "AWS_DEFAULT_REGION"), pattern=r"[a-z0-9-]{1,32}")
_AZURE_ENDPOINT: Final = Place(
    name="endpoint", variables=("AZURE_OPENAI_ENDPOINT",), pattern=r"https://[A-Za-z0-9.-]{1,255}/?"
)
# https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle: the newest that is no preview
_AZURE_VERSION: Final = Place(
    name="api_version", variables=("OPENAI_API_VERSION",), default="2024-10-21", pattern=r"[a-z0-9-]{1,32}"
)
_GOOGLE_PROJECT: Final = Place(name="project", variables=("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID"))
_GOOGLE_REGION: Final = Place(
    name="region",
    variables=("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION"),
    default="global",
    pattern=r"[a-z0-9-]{1,32}",
)
_VERTEX_PATH: Final = "/v1/projects/{project}/locations/{region}"
_VERTEX: Final = "https://{region}-aiplatform.googleapis.com" + _VERTEX_PATH
# https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations, and what Google's own client calls
_VERTEX_REGIONS: Final = (
    ("global", "https://aiplatform.googleapis.com" + _VERTEX_PATH),
    ("us", "https://aiplatform.us.rep.googleapis.com" + _VERTEX_PATH),
    ("eu", "https://aiplatform.eu.rep.googleapis.com" + _VERTEX_PATH),
)


def _local(title: str, port: int, page: str) -> CatalogEntry:
    """A server on this machine; it may ask for a key, but seldom does."""
    return CatalogEntry(
        title=title,
        page=page,
        base_url=f"http://127.0.0.1:{port}/v1",
        key_required=False,
        forward_headers=_TRACE,
        profile=_COMPATIBLE,
    )


VENDORS: Final[Mapping[str, CatalogEntry]] = MappingProxyType(
    {
        "openai": CatalogEntry(
            title="OpenAI",
            page="https://platform.openai.com/docs/api-reference/introduction",
            base_url="https://api.openai.com/v1",
            protocols=("openai_chat", "openai_responses"),
            key_variables=("OPENAI_API_KEY",),
            forward_headers=frozenset({b"openai-beta"}),
            profiles=families.OPENAI,
            operations=_OPENAI,
            model_globs=(
                "gpt-*",
                "chatgpt-*",
                "o1*",
                "o3*",
                "o4*",
                "ft:gpt-*",
                "codex-*",
                "computer-use-*",
                "text-embedding-3-*",
                "text-embedding-ada-*",
                "omni-moderation-*",
                "text-moderation-*",
                "dall-e-*",
                "whisper-*",
                "tts-*",
                "davinci-*",
                "babbage-*",
            ),
        ),
        # a model is a deployment's name, which often is the model's
        "azure": CatalogEntry(
            title="Azure OpenAI",
            page="https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle",
            base_url="{endpoint}/openai/v1",
            places=(_AZURE_ENDPOINT,),
            protocols=("openai_chat", "openai_responses"),
            auth="api-key",
            key_variables=("AZURE_OPENAI_API_KEY",),
            profiles=families.OPENAI,
            operations=_OPENAI_PARTLY,
            model_globs=("azure/*",),
        ),
        "azure-deployments": CatalogEntry(
            title="Azure OpenAI, dated versions",
            page="https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference",
            base_url="{endpoint}/openai",
            places=(_AZURE_ENDPOINT, _AZURE_VERSION),
            paths=(("/v1/models", "/models"), ("/v1/", "/deployments/{model}/")),
            query=(("api-version", "{api_version}"),),
            auth="api-key",
            key_variables=("AZURE_OPENAI_API_KEY",),
            automatic=False,
            profiles=families.OPENAI,
            model_globs=("azure-deployments/*",),
        ),
        "anthropic": CatalogEntry(
            title="Anthropic",
            page="https://docs.anthropic.com/en/api/overview",
            base_url="https://api.anthropic.com",
            protocols=("anthropic_messages",),
            auth="x-api-key",
            key_variables=("ANTHROPIC_API_KEY",),
            headers=((b"anthropic-version", b"2023-06-01"),),
            forward_headers=frozenset({b"anthropic-beta", b"anthropic-version"}),
            profiles=families.ANTHROPIC,
            operations=_COUNTS,
            model_globs=("claude-*",),
        ),
        "gemini": CatalogEntry(
            title="Gemini API",
            page="https://ai.google.dev/gemini-api/docs/api-key",
            base_url="https://generativelanguage.googleapis.com",
            protocols=("gemini_generate",),
            auth="x-goog-api-key",
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            profiles=families.GEMINI,
            operations=_COUNTS,
            model_globs=("gemini-*", "gemma-*", "imagen-*", "text-embedding-00*"),
        ),
        "vertex": CatalogEntry(
            title="Vertex AI, Gemini",
            page="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
            base_url=_VERTEX,
            region_urls=_VERTEX_REGIONS,
            places=(_GOOGLE_PROJECT, _GOOGLE_REGION),
            protocols=("gemini_generate",),
            paths=(("/v1beta/models/", "/publishers/google/models/"),),
            auth="google",
            automatic=False,
            profiles=families.GEMINI,
            model_globs=("vertex/*",),
        ),
        "vertex-claude": CatalogEntry(
            title="Vertex AI, Claude",
            page="https://docs.anthropic.com/en/api/claude-on-vertex-ai",
            base_url=_VERTEX,
            region_urls=_VERTEX_REGIONS,
            places=(_GOOGLE_PROJECT, _GOOGLE_REGION),
            protocols=("anthropic_messages",),
            auth="google",
            automatic=False,
            forward_headers=frozenset({b"anthropic-beta"}),
            envelope=VertexMessages(),
            profiles=families.ANTHROPIC,
            operations=_COUNTS,
            model_globs=("vertex-claude/*",),
        ),
        "bedrock": CatalogEntry(
            title="Amazon Bedrock, Claude",
            page="https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html",
            base_url="https://bedrock-runtime.{region}.amazonaws.com",
            places=(_AWS_REGION,),
            protocols=("anthropic_messages",),
            key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
            forward_headers=frozenset({b"anthropic-beta"}),
            envelope=BedrockMessages(),
            profiles=tuple((f"*anthropic.{glob}", facts) for glob, facts in families.ANTHROPIC),
            model_globs=("anthropic.claude-*", "*.anthropic.claude-*"),
        ),
        "bedrock-converse": CatalogEntry(
            title="Amazon Bedrock, every model",
            page="https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference.html",
            base_url="https://bedrock-runtime.{region}.amazonaws.com",
            places=(_AWS_REGION,),
            protocols=("bedrock_converse",),
            key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
            automatic=False,
            envelope=BedrockConverse(),
            profile=families.BEDROCK_PLAIN,
            profiles=families.BEDROCK,
            model_globs=("bedrock-converse/*",),
        ),
        # the schema of its requests is closed: a field it does not know is refused
        "mistral": CatalogEntry(
            title="Mistral",
            page="https://docs.mistral.ai/api",
            base_url="https://api.mistral.ai/v1",
            key_variables=("MISTRAL_API_KEY",),
            profile=Profile(
                max_tokens_field="max_tokens",
                system_role="system",
                stream_usage=False,
                seed_field="random_seed",
                refused_fields=("logit_bias", "metadata", "safety_identifier", "service_tier", "verbosity"),
            ),
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
        "groq": CatalogEntry(
            title="Groq",
            page="https://console.groq.com/docs/openai",
            base_url="https://api.groq.com/openai/v1",
            key_variables=("GROQ_API_KEY",),
            profile=Profile(
                system_role="system",
                refused_fields=("logit_bias", "logprobs", "n", "top_logprobs"),
            ),
            model_globs=("groq/*",),
        ),
        # https://api-docs.deepseek.com/guides/json_mode: JSON, but no schema
        "deepseek": CatalogEntry(
            title="DeepSeek",
            page="https://api-docs.deepseek.com",
            base_url="https://api.deepseek.com",
            protocols=("openai_chat", "openai_responses"),
            key_variables=("DEEPSEEK_API_KEY",),
            profile=Profile(
                max_tokens_field="max_tokens",
                system_role="system",
                native_structured_output=False,
                reasoning_field="reasoning_content",
            ),
            model_globs=("deepseek-*",),
        ),
        "xai": CatalogEntry(
            title="xAI",
            page="https://docs.x.ai/docs/api-reference",
            base_url="https://api.x.ai/v1",
            protocols=("openai_chat", "openai_responses"),
            key_variables=("XAI_API_KEY",),
            profile=_NEWER,
            operations=_OPENAI_PARTLY,
            model_globs=("grok-*",),
        ),
        "openrouter": CatalogEntry(
            title="OpenRouter",
            page="https://openrouter.ai/docs/api-reference/overview",
            base_url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("openrouter/*",),
        ),
        "together": CatalogEntry(
            title="Together",
            page="https://docs.together.ai/docs/openai-api-compatibility",
            base_url="https://api.together.xyz/v1",
            key_variables=("TOGETHER_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("together/*",),
        ),
        "fireworks": CatalogEntry(
            title="Fireworks",
            page="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
            base_url="https://api.fireworks.ai/inference/v1",
            key_variables=("FIREWORKS_API_KEY",),
            profile=_COMPATIBLE,
            model_globs=("fireworks/*",),
        ),
        "cerebras": CatalogEntry(
            title="Cerebras",
            page="https://inference-docs.cerebras.ai/resources/openai",
            base_url="https://api.cerebras.ai/v1",
            key_variables=("CEREBRAS_API_KEY",),
            profile=Profile(
                system_role="system", refused_fields=("frequency_penalty", "logit_bias", "presence_penalty")
            ),
            model_globs=("cerebras/*",),
        ),
        "perplexity": CatalogEntry(
            title="Perplexity",
            page="https://docs.perplexity.ai/guides/chat-completions-guide",
            base_url="https://api.perplexity.ai",
            key_variables=("PERPLEXITY_API_KEY",),
            profile=_USAGE_UNASKED,
            model_globs=("sonar", "sonar-*"),
        ),
        "moonshot": CatalogEntry(
            title="Moonshot",
            page="https://platform.kimi.ai/docs/guide/migrating-from-openai-to-kimi",
            base_url="https://api.moonshot.ai/v1",
            key_variables=("MOONSHOT_API_KEY",),
            profile=_KIMI,
            # https://platform.kimi.ai/docs/api/models-overview: from K3 on a tool can be required
            profiles=(("kimi-k3*", structs.replace(_KIMI, forced_tool_choice=True)),),
            model_globs=("kimi-*", "moonshot-*"),
        ),
        # https://docs.z.ai/api-reference/llm/chat-completion: no tool choice but auto, JSON but no schema
        "zai": CatalogEntry(
            title="Z.ai",
            page="https://docs.z.ai/api-reference/introduction",
            base_url="https://api.z.ai/api/paas/v4",
            key_variables=("ZAI_API_KEY",),
            profile=Profile(
                max_tokens_field="max_tokens",
                system_role="system",
                forced_tool_choice=False,
                native_structured_output=False,
            ),
            model_globs=("glm-*",),
        ),
        "cohere": CatalogEntry(
            title="Cohere",
            page="https://docs.cohere.com/docs/compatibility-api",
            base_url="https://api.cohere.ai",
            paths=(("/v1/rerank", "/v2/rerank"), ("/v1/", "/compatibility/v1/")),
            key_variables=("COHERE_API_KEY", "CO_API_KEY"),
            profile=_USAGE_UNASKED,
            model_globs=("command-*", "embed-*", "rerank-*"),
        ),
        "ollama": _local("Ollama", 11434, "https://docs.ollama.com/api/openai-compatibility"),
        "vllm": _local("vLLM", 8000, "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"),
        "llamacpp": _local("llama.cpp", 8080, "https://github.com/ggml-org/llama.cpp/tree/master/tools/server"),
        "lmstudio": _local("LM Studio", 1234, "https://lmstudio.ai/docs/app/api/endpoints/openai"),
        DEMO: CatalogEntry(
            title="Demo",
            automatic=False,
            page="",
            base_url="demo://localhost",
            protocols=("openai_chat", "anthropic_messages", "gemini_generate"),
            auth="none",
            key_required=False,
            operations=_COUNTS,
            model_globs=("*",),
        ),
    }
)
