"""A certificate for 127.0.0.1 that nobody vouches for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext


@dataclass(frozen=True)
class SelfSigned:
    """The server's side of it, and the file a client may choose to trust."""

    server: SSLContext
    certificate: Path


def make_self_signed(folder: Path) -> SelfSigned:
    """Make one with the openssl program."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=127.0.0.1", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return SelfSigned(context, folder / "certificate.pem")
