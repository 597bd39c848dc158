"""Vendors' error texts, made fit for clients: vendors quote keys and name organisations in them."""

from __future__ import annotations

import re
from typing import Final

MAX_MESSAGE: Final = 2_000
_CUT: Final = " …"

_SECRETS: Final = re.compile(
    r"""
      \b(?:sk|pk|rk)[-_][\w*.\-]{6,}                                   # keys: OpenAI, Anthropic, DeepSeek, ...
    | \b(?:gsk|xai|pplx|nvapi|hf|r8|csk|fw)[-_][\w\-]{16,}            # Groq, xAI, Perplexity, NVIDIA, ...
    | \bsess-\w{8,}
    | \bAIza[\w\-*]{8,}                                              # Google
    | \bya29\.[\w\-.]+                                              # Google's OAuth tokens
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}                                   # AWS
    | \beyJ[\w\-]{8,}\.[\w\-]+(?:\.[\w\-]+)?                       # JSON web tokens
    | \b(?:org|proj|user|acct)[-_](?=[a-z]*\d)[a-z0-9]{8,}           # accounts and projects
    | (?<=projects/)[^\s/`'"]+
    | (?<=[?&]key=)[^\s&"'<>]+
    | (?<=Bearer\ )[^\s"',;]+
    | (?<=api\ key\ provided:\ )[^\s"']+?(?=[.,;]?(?:\s|$))
    """,
    re.VERBOSE | re.IGNORECASE,
)


def scrub(text: str) -> str:
    """The text without keys, tokens and account names, at most `MAX_MESSAGE` characters long; request ids stay."""
    clean = _SECRETS.sub("[redacted]", text[: 2 * MAX_MESSAGE])
    if len(clean) > MAX_MESSAGE:
        return clean[: MAX_MESSAGE - len(_CUT)] + _CUT
    return clean
