"""A conformance suite for gateways: a scripted vendor behind any of them, naive clients before it.

It knows nothing of this package's codecs: the vendor's bytes are written out, the clients read by themselves.
"""

from __future__ import annotations
