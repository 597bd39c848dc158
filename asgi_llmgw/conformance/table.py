"""The results as people read them: a table of cases and pairs, then a line for each failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from asgi_llmgw.conformance.cases import CASES
from asgi_llmgw.conformance.run import Result
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue

_SHORT: Final[dict[Protocol, str]] = {
    "openai_chat": "c",
    "openai_responses": "r",
    "anthropic_messages": "a",
    "gemini_generate": "g",
}
_CELL: Final = {"pass": "ok", "fail": "FAIL", "skip": "skip"}
_LEGEND: Final = (
    "client>upstream: c openai_chat, r openai_responses, a anthropic_messages, g gemini_generate;"
    " - the upstream's protocol has no such case"
)


def table(results: Sequence[Result]) -> str:
    """The whole report."""
    pairs = list(dict.fromkeys((result.client, result.upstream) for result in results))
    used = {result.case.label for result in results}
    labels = [case.label for case in CASES if case.label in used]
    cells = {(result.case.label, result.client, result.upstream): _CELL[result.outcome] for result in results}
    width = max(map(len, labels), default=4)
    lines = [_LEGEND, "", _row("case", width, [_pair(*pair) for pair in pairs])]
    lines += [_row(label, width, [cells.get((label, *pair), "-") for pair in pairs]) for label in labels]
    return "\n".join([*lines, "", *_details(results), _sum(results)]) + "\n"


def summary(results: Sequence[Result]) -> JSONObject:
    """The whole report for programs."""
    counts = Counter(result.outcome for result in results)
    rows: list[JSONValue] = [result.as_json() for result in results]
    return {"passed": counts["pass"], "failed": counts["fail"], "skipped": counts["skip"], "results": rows}


def failed(results: Sequence[Result]) -> bool:
    """Whether something is wrong; a gateway of which nothing could be checked has not passed."""
    counts = Counter(result.outcome for result in results)
    return counts["fail"] > 0 or counts["pass"] == 0


def _row(label: str, width: int, cells: list[str]) -> str:
    return f"{label:<{width}}  {' '.join(f'{cell:<4}' for cell in cells)}".rstrip()


def _details(results: Sequence[Result]) -> Iterator[str]:
    """A line for each thing that went wrong, with the pairs it went wrong between."""
    groups: dict[tuple[str, tuple[str, ...]], list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.outcome, CASES.index(result.case))):
        if result.outcome != "pass":
            # where the vendor was not asked, the case makes no difference
            label = result.case.label if result.asked else ""
            groups.setdefault((label, result.details), []).append(result)
    for (label, details), group in groups.items():
        case, count = group[0].case, len(group)
        ids = f" [{case.ids}]" if case.ids else ""
        what = f"{label}{ids}, {case.about}" if label else "1 result" if count == 1 else f"{count} results"
        pairs = " ".join(dict.fromkeys(_pair(result.client, result.upstream) for result in group))
        yield f"{_CELL[group[0].outcome]} {what}: {pairs}"
        yield from (f"     {detail}" for detail in details)


def _pair(client: Protocol, upstream: Protocol) -> str:
    return f"{_SHORT[client]}>{_SHORT[upstream]}"


def _sum(results: Sequence[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    return f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
