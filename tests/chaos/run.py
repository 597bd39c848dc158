"""A storm by command: `python -m tests.chaos.run --seed 7 --requests 20000`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.chaos.storm import Report, Storm


def show(report: Report) -> str:
    """The report as a table, with the first few of whatever went wrong."""
    rows = [
        ("seed", str(report.seed)),
        ("requests", str(report.requests)),
        ("streams that broke after their first content", str(report.lost_after_content)),
        ("clients that left", str(report.left)),
        ("served of those that could be", f"{report.served} of {report.could_be_served} = {report.served_share:.3%}"),
        ("attempts per request", f"{report.attempts_per_request:.3f}"),
        ("faulty times", ", ".join(f"{name} {count}" for name, count in sorted(report.faults.items()))),
    ]
    for name, found in (
        ("refused", report.refused),
        ("silent successes", report.silent),
        ("wrong answers", report.wrong),
        ("leaks", report.leaks),
    ):
        rows.append((name, str(len(found))))
        rows += [("", line) for line in found[:5]]
    return "\n".join(f"{name:46}{value}" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same and breaks the same")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--faults", type=float, default=0.3, help="the share of the vendors that are sick at any time")
    parser.add_argument("--vendors", type=int, default=10)
    parser.add_argument("--clients", type=int, default=32, help="requests at the same time")
    parser.add_argument(
        "--strategy", default="least_latency", choices=["fallback", "weighted", "least_latency", "least_busy"]
    )
    arguments = parser.parse_args()

    def progress(report: Report) -> None:
        sys.stderr.write(f"\r{report.requests} requests, {report.served} served")
        sys.stderr.flush()

    report = asyncio.run(Storm(progress=progress, **vars(arguments)).run())
    sys.stderr.write("\n")
    sys.stdout.write(show(report) + "\n")
    good = report.served_share >= 0.999 and report.attempts_per_request <= 1.2
    return 0 if good and not (report.silent or report.wrong or report.leaks) else 1


if __name__ == "__main__":
    sys.exit(main())
