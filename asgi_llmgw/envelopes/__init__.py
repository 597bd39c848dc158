"""Vendors that speak a known protocol, but wrapped in something of their own."""

from __future__ import annotations

from .base import Dressed, Envelope, Unwrapper

__all__ = ("Dressed", "Envelope", "Unwrapper")
