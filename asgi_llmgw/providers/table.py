"""The catalog as a table of vendors and operations, for people: the README has it, `asgi-llmgw vendors` prints it."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.operations.table import family, wire
from asgi_llmgw.providers.catalog import CATALOG, DEMO
from asgi_llmgw.providers.entry import CatalogEntry

_BEGIN: Final = "<!-- vendors -->"
_END: Final = "<!-- /vendors -->"
_PROTOCOLS: Final[dict[Protocol, str]] = {
    "openai_chat": "Chat",
    "openai_responses": "Responses",
    "anthropic_messages": "Messages",
    "gemini_generate": "Gemini",
}
_OPERATIONS: Final = {
    "count_tokens": "token count",
    "stored_response": "stored responses",
    "compact": "compaction",
    "realtime": "realtime",
}
_BESIDE: Final = {
    "embeddings": "embeddings",
    "images": "images",
    "speech": "speech, transcripts",
    "moderations": "moderations",
    "completions": "completions",
    "rerank": "rerank",
}
_TRANSLATED: Final = frozenset({("images", "gemini_generate"), ("speech", "gemini_generate")})
_INSTEAD: Final = {"count_tokens": "estimate"}
"""What is there where the vendor has nothing of its own."""
_INVENTORS: Final = frozenset({"openai", "gemini"})
_KEYLESS: Final = {"google": "Google credentials", "sigv4": "AWS credentials"}


def vendor_table() -> str:
    """One line for each row of the catalog, as Markdown.

    What is asked of the vendor in its own words is `own`, and `passed on` where the words are OpenAI's.
    """
    titles = ("vendor", "`kind`", "key", *_PROTOCOLS.values(), *_OPERATIONS.values(), *_BESIDE.values())
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines += [f"| {' | '.join(_cells(kind, entry))} |" for kind, entry in CATALOG.items() if kind != DEMO]
    return "\n".join(lines) + "\n"


def with_vendor_table(page: str) -> str:
    """The page with the table between its two marks.

    Raises:
        ConfigError: the marks are missing.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ConfigError(f"the page has no {_BEGIN} and {_END}")
    return f"{before}{begin}\n{vendor_table()}{end}{after}"


def _cells(kind: str, entry: CatalogEntry) -> tuple[str, ...]:
    variables = " or ".join(f"`{name}`" for name in entry.key_variables)
    key = _KEYLESS.get(entry.auth, variables or "none needed")
    spoken = ("own" if protocol in entry.protocols else "translated" for protocol in _PROTOCOLS)
    done = ("own" if name in entry.operations else _INSTEAD.get(name, "") for name in _OPERATIONS)
    beside = (_beside(kind, entry, operation) for operation in _BESIDE)
    return (f"[{entry.title}]({entry.page})", f"`{kind}`", key, *spoken, *done, *beside)


def _beside(kind: str, entry: CatalogEntry, operation: str) -> str:
    """What becomes of an operation that is not chat; vendors that imitate OpenAI say themselves what they lack."""
    if entry.envelope is not None or entry.auth == "google":
        return ""
    for protocol in family(entry.protocols):
        if (operation, protocol) in _TRANSLATED:
            return "translated"
        if wire(operation, protocol) is not None:
            return "own" if kind in _INVENTORS else "passed on"
    return ""
