"""Takes out of a vendor's message what must not leave the house: keys and account ids."""

from __future__ import annotations

import re
from typing import Final

MAX_MESSAGE: Final = 2_000
_SECRETS: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|fw|csk|pplx|sess)[-_][A-Za-z0-9_*.-]{6,}"  # API keys, masked ones included
    r"|\bAIza[0-9A-Za-z_-]{10,}"  # Google API keys
    r"|\bBearer\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|\b(?:org|proj|user|acct)[-_][A-Za-z0-9]{8,}"  # account ids
    r"|\bprojects?/[A-Za-z0-9_-]{4,}"
)


def scrub(text: str) -> str:
    """The message without secrets, at most `MAX_MESSAGE` characters of it."""
    return _SECRETS.sub("[redacted]", text)[:MAX_MESSAGE]
