"""What the vendors' model families differ in, as (glob, facts): the first match wins.

Names nobody has heard of yet are taken for the newest family, which refuses most: what such a model would have taken
is left out with a diagnostic, while what it refuses would fail the request.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import structs

from asgi_llmgw.protocols.base import Profile

Families: TypeAlias = tuple[tuple[str, Profile], ...]

# https://platform.openai.com/docs/guides/reasoning: sampling is refused unless reasoning can be turned off
_OPENAI_REASONING: Final = Profile(sampling=False)
# https://platform.openai.com/docs/guides/structured-outputs: from gpt-4o on
_OPENAI_BEFORE_4O: Final = Profile(thinking="none", native_structured_output=False)
_OPENAI_CHAT: Final = Profile(thinking="none")

OPENAI: Final[Families] = (
    ("o1*", _OPENAI_REASONING),
    ("o3*", _OPENAI_REASONING),
    ("o4*", _OPENAI_REASONING),
    ("gpt-5-chat*", Profile()),
    ("gpt-5", _OPENAI_REASONING),
    ("gpt-5-*", _OPENAI_REASONING),
    ("gpt-5.*-pro*", _OPENAI_REASONING),
    ("gpt-3.5*", _OPENAI_BEFORE_4O),
    ("gpt-4", _OPENAI_BEFORE_4O),
    ("gpt-4-*", _OPENAI_BEFORE_4O),
    ("gpt-4o*", _OPENAI_CHAT),
    ("gpt-4.*", _OPENAI_CHAT),
    ("chatgpt-4o*", _OPENAI_CHAT),
)

# https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking: thinking counts as output, so the limit that
# has to be sent leaves room for it where the model thinks unasked
_THINKS_UNASKED: Final = 16_384
_CLAUDE_NEWEST: Final = Profile(
    max_output_tokens=_THINKS_UNASKED, sampling=False, forced_tool_choice=False, thinking="adaptive"
)
_CLAUDE_MYTHOS: Final = Profile(
    max_output_tokens=_THINKS_UNASKED,
    sampling=False,
    forced_tool_choice=False,
    thinking="adaptive",
    mid_system="system",
)
_CLAUDE_OPUS_5: Final = Profile(
    max_output_tokens=_THINKS_UNASKED, sampling=False, thinking="adaptive", mid_system="system"
)
_CLAUDE_SONNET_5: Final = Profile(max_output_tokens=_THINKS_UNASKED, sampling=False, thinking="adaptive")
_CLAUDE_4_8: Final = Profile(sampling=False, thinking="adaptive", mid_system="system")
_CLAUDE_4_7: Final = Profile(sampling=False, thinking="adaptive")
_CLAUDE_4_6: Final = Profile(temperature_with_top_p=False, thinking="adaptive")
# structured outputs: the 4.5 generation and later, and Opus 4.1
# https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs
_CLAUDE_4_5: Final = Profile(temperature_with_top_p=False)
_CLAUDE_4: Final = Profile(native_structured_output=False)
_CLAUDE_3: Final = Profile(native_structured_output=False, thinking="none")

ANTHROPIC: Final[Families] = (
    ("claude-fable-5*", _CLAUDE_MYTHOS),
    ("claude-mythos-5*", _CLAUDE_MYTHOS),
    ("claude-opus-5[-.]5*", _CLAUDE_NEWEST),
    ("claude-sonnet-5[-.]5*", _CLAUDE_NEWEST),
    ("claude-opus-5", _CLAUDE_OPUS_5),
    ("claude-opus-5-20*", _CLAUDE_OPUS_5),
    ("claude-sonnet-5", _CLAUDE_SONNET_5),
    ("claude-sonnet-5-20*", _CLAUDE_SONNET_5),
    ("claude-opus-4[-.]8*", _CLAUDE_4_8),
    ("claude-opus-4[-.]7*", _CLAUDE_4_7),
    ("claude-*-4[-.]6*", _CLAUDE_4_6),
    ("claude-*-4[-.]5*", _CLAUDE_4_5),
    ("claude-opus-4[-.]1*", _CLAUDE_4_5),
    ("claude-opus-4*", _CLAUDE_4),
    ("claude-sonnet-4*", _CLAUDE_4),
    ("claude-3[-.]7*", _CLAUDE_4),
    ("claude-3*", _CLAUDE_3),
    ("claude-*", _CLAUDE_NEWEST),
)

# https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html: a model of
# which nothing is known is sent what every model takes
BEDROCK_PLAIN: Final = Profile(
    forced_tool_choice=False, thinking="none", native_structured_output=False, top_k_field=None, cache_points=()
)
_NOVA: Final = Profile(
    thinking="none",
    native_structured_output=False,
    top_k_field="inferenceConfig.topK",
    cache_points=("system", "messages"),
)
_NOVA_2: Final = structs.replace(_NOVA, thinking="reasoning_config")
_GPT_OSS: Final = structs.replace(BEDROCK_PLAIN, thinking="reasoning_effort")
# https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: of Claude 3 and 3.5 only Haiku 3.5 has it
_CLAUDE_3_UNCACHED: Final = structs.replace(_CLAUDE_3, cache_points=())
# https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html: schemas from Claude 4.5 on
_UNLIKE_ANTHROPIC: Final = {"claude-opus-4[-.]1*": structs.replace(_CLAUDE_4_5, native_structured_output=False)}

BEDROCK: Final[Families] = (
    ("*anthropic.claude-3-haiku*", _CLAUDE_3_UNCACHED),
    ("*anthropic.claude-3-sonnet*", _CLAUDE_3_UNCACHED),
    ("*anthropic.claude-3-opus*", _CLAUDE_3_UNCACHED),
    ("*anthropic.claude-3-5-sonnet*", _CLAUDE_3_UNCACHED),
    *((f"*anthropic.{glob}", _UNLIKE_ANTHROPIC.get(glob, facts)) for glob, facts in ANTHROPIC),
    ("*amazon.nova-2*", _NOVA_2),
    ("*amazon.nova-*", _NOVA),
    ("*openai.gpt-oss-*", _GPT_OSS),
)

# https://ai.google.dev/gemini-api/docs/gemini-3 and https://ai.google.dev/gemini-api/docs/thought-signatures
_GEMINI_3: Final = Profile(
    tool_call_ids=True, thought_signatures=True, thinking_level=True, function_response_media=True
)
# https://ai.google.dev/gemini-api/docs/structured-output: JSON Schema as it is from 2.5 on
_GEMINI_2_5: Final = Profile()
_GEMINI_BEFORE_2_5: Final = Profile(thinking="none", json_schema=False)

GEMINI: Final[Families] = (
    ("gemini-1*", _GEMINI_BEFORE_2_5),
    ("gemini-2.0*", _GEMINI_BEFORE_2_5),
    ("gemini-2.5*", _GEMINI_2_5),
    ("gemini-*", _GEMINI_3),
    ("gemma-*", _GEMINI_BEFORE_2_5),
)
