"""The recorded traffic beside the repository, as the tests read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from asgi_llmgw.json import JSONObject, as_list, as_str, loads_object

ROOT = Path(__file__).resolve().parents[2] / "shared" / "wire"

needs_wire = pytest.mark.skipif(
    not ROOT.is_dir(), reason="the recorded traffic (../shared/wire) is not beside the repository"
)


@dataclass(frozen=True)
class Recording:
    """One exchange between a real client and a real vendor. What was not recorded is None."""

    folder: Path
    meta: JSONObject
    request: bytes | None
    response: bytes | None
    stream: bytes | None

    @property
    def id(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def path(self) -> str:
        return as_str(self.meta.get("path")) or ""

    @property
    def status(self) -> int:
        status = self.meta.get("status")
        return status if isinstance(status, int) else 200

    @property
    def features(self) -> frozenset[str]:
        return frozenset(f for f in as_list(self.meta.get("features")) if isinstance(f, str))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def recordings(*protocols: str) -> list[Recording]:
    """Every exchange in these folders, in a stable order; none where the traffic is absent."""
    if not ROOT.is_dir():
        return []
    return [
        Recording(
            folder=folder,
            meta=loads_object((folder / "meta.json").read_bytes()),
            request=_read(folder / "request.json"),
            response=_read(folder / "response.json"),
            stream=_read(folder / "response.sse"),
        )
        for protocol in protocols
        for folder in sorted((ROOT / protocol).iterdir())
    ]
