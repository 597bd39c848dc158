"""Vendors' error texts, made fit for clients: vendors quote keys and name organisations in them."""

from __future__ import annotations

import re
from typing import Final

MAX_MESSAGE: Final = 2_000
_CUT: Final = " …"

_SECRETS: Final = re.compile(
    r"""
      \b(?:sk|pk|rk|gsk|xai|pplx|fw|nvapi|hf|r8|csk|key)[-_][A-Za-z0-9_*.\-]{6,}   # keys with their maker's prefix
    | \bsess-[A-Za-z0-9]{8,}
    | \bAIza[A-Za-z0-9_\-*]{8,}                                      # Google
    | \bya29\.[A-Za-z0-9_\-.]+                                       # Google's OAuth tokens
    | \b(?:AKIA|ASIA)[A-Z0-9]{8,}                                    # AWS
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)? # JSON web tokens
    | \b(?:org|proj|user|acct)[-_][A-Za-z0-9]{6,}                    # accounts, projects
    | (?<=[?&]key=)[^\s&"'<>]+
    | (?<=Bearer\ )[^\s"',;]+
    | (?<=api\ key\ provided:\ )(?!\[redacted\])[^\s"']+?(?=[.,;]?(?:\s|$))
    """,
    re.VERBOSE | re.IGNORECASE,
)


def scrub(text: str) -> str:
    """The text without keys, tokens and account names, at most `MAX_MESSAGE` characters long; request ids stay."""
    clean = _SECRETS.sub("[redacted]", text[: 2 * MAX_MESSAGE])
    if len(clean) > MAX_MESSAGE:
        return clean[: MAX_MESSAGE - len(_CUT)] + _CUT
    return clean
