"""Ways of telling a vendor who we are that are no plain header: whole calls are signed, or a token is fetched first.

Each needs its vendor's own library, which is imported when it is first of use.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from asgi_llmgw.errors import ConfigError

from .amazon import AmazonSigner
from .base import Signer
from .google import GoogleSigner

__all__ = ("EXTRAS", "AmazonSigner", "GoogleSigner", "Signer", "lacks", "make_signer")

EXTRAS: Final = {"sigv4": ("botocore", "bedrock"), "google": ("google.auth", "vertex")}
"""For each style the library it needs, and the extra that brings it."""


def lacks(style: str) -> str | None:
    """The extra that has to be installed for a style; None if nothing is missing."""
    library, extra = EXTRAS.get(style, (None, None))
    if library is None:
        return None
    try:
        return None if find_spec(library) else extra
    except ModuleNotFoundError:
        return extra


def make_signer(style: str, *, region: str | None = None) -> Signer | None:
    """What carries out a style; None for one that is a header.

    Raises:
        ConfigError: a library is missing, or the region.
    """
    if style not in EXTRAS:
        return None
    extra = lacks(style)
    if extra is not None:
        raise ConfigError(f'auth = "{style}" needs a library: pip install "asgi-llmgw[{extra}]"')
    if style == "google":
        return GoogleSigner()
    if region is None:
        raise ConfigError('auth = "sigv4" needs a region: write region = "us-east-1", or set AWS_REGION')
    return AmazonSigner(region=region)
