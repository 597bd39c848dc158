"""Fixtures of the transports' tests."""

from __future__ import annotations

import shutil

import pytest

from tests.upstream.tls import SelfSigned, make_self_signed


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    return make_self_signed(tmp_path_factory.mktemp("tls"))
