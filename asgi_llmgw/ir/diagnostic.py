"""What a translation could not carry over, said aloud."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["info", "warning", "error"]
DiagnosticCode: TypeAlias = Literal["dropped", "approximated", "clamped", "renamed", "defaulted", "rejected"]


class Diagnostic(msgspec.Struct, frozen=True):
    """One thing that is not the same after a translation.

    Args:
        path: where it stood, in the words of the protocol it came from (`messages[2].content[0].cache_control`).
        code: what became of it.
        severity: `info` changes nothing a user would notice, `warning` may, `error` would make the answer wrong
            (such a request is refused).
        detail: one sentence for a human.
    """

    path: str
    code: DiagnosticCode
    severity: Severity = "warning"
    detail: str = ""
