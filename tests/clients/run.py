"""Let real agents, as they come from the npm registry and PyPI, finish a task through the gateway.

    python -m tests.clients.run [agent …]

Each one gets an empty home, a gateway before a scripted vendor of another protocol, and must have a file written. The
packages are installed into `.clients/` first. Prints a table; ends with 1 if something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import PROTOCOLS, SERVED
from tests.clients.agents import AGENTS, KEY, PACKAGES, Agent, prepare
from tests.clients.scripted_vendor import CONTENT, FILE, ScriptedVendor
from tests.servers import background, uvicorn_server

SECONDS = 180


@dataclass
class Outcome:
    """How one agent fared before one vendor."""

    passed: bool
    detail: str
    requests: int


def install(agents: dict[str, Agent]) -> None:
    """Install what is missing, with a Node of its own: some agents want a newer one than is at hand."""
    PACKAGES.mkdir(exist_ok=True)
    wanted = ["node@24", *(name for agent in agents.values() if agent.registry == "npm" for name in agent.packages)]
    missing = [name for name in wanted if not (PACKAGES / "node_modules" / name.removesuffix("@24")).is_dir()]
    if missing:
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(PACKAGES), *dict.fromkeys(missing)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    for agent in agents.values():
        if agent.registry == "pypi" and not (_venv(agent) / "bin").is_dir():
            subprocess.run([sys.executable, "-m", "venv", str(_venv(agent))], check=True)
            subprocess.run([_venv(agent) / "bin" / "pip", "install", "-q", *agent.packages], check=True)
    shutil.copy(Path(__file__).with_name("ai_sdk.mjs"), PACKAGES)


def _venv(agent: Agent) -> Path:
    return PACKAGES / f"venv-{agent.packages[0]}"


def version(agent: Agent) -> str:
    """The installed version of an agent."""
    if agent.registry == "pypi":
        (info,) = _venv(agent).glob(f"lib/*/site-packages/{agent.packages[0].replace('-', '_')}-*.dist-info")
        return info.name.removesuffix(".dist-info").rpartition("-")[2]
    return str(json.loads((PACKAGES / "node_modules" / agent.packages[0] / "package.json").read_text())["version"])


def attempt(agent: Agent, upstream: Protocol, log: Path) -> Outcome:
    """One agent, one vendor."""
    home = Path(tempfile.mkdtemp(prefix="agent-"))
    vendor = ScriptedVendor(upstream, home / "work", text_only=agent.text_only)
    lines: list[bytes] = []
    try:
        with background() as running:
            vendor_url = running.enter(uvicorn_server(vendor))
            base = f"{vendor_url}/v1" if upstream.startswith("openai") else vendor_url
            config = parse_config(
                {
                    "keys": [{"name": "agent", "key": KEY}],
                    "providers": {"vendor": {"protocol": upstream, "base_url": base, "api_key": "upstream-key"}},
                    "models": {agent.model: {"targets": ["vendor/the-model"]}, "*": {"targets": ["vendor/the-model"]}},
                },
                environ={},
            )
            url = running.enter(uvicorn_server(build_app(config, access_log=lines.append)))
            prepare(agent, home, url, KEY)
            output, failure = _drive(agent, home, url)
        written = home / "work" / FILE
        text = written.read_text() if written.exists() else None
        passed = text is not None and text.strip() == CONTENT.strip() and not failure
        detail = failure or ("" if passed else f"the file holds {text!r}")
        report = [output, *vendor.problems, *(line.decode() for line in lines)]
        log.write_text("\n".join(report))
        return Outcome(passed, detail, len(vendor.requests))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _drive(agent: Agent, home: Path, url: str) -> tuple[str, str]:
    """What the agent printed, and why it failed (empty if it did not)."""
    programs = [PACKAGES / "node_modules" / ".bin", _venv(agent) / "bin"]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1", **agent.environment(url, KEY)}
    try:
        done = subprocess.run(
            agent.command(url),
            cwd=home / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return str(expired.stdout) + str(expired.stderr), f"not finished after {SECONDS} s"
    return done.stdout + done.stderr, f"exit code {done.returncode}" if done.returncode else ""


def main() -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", metavar="agent", help=f"one of {', '.join(AGENTS)}; all if none is named")
    parser.add_argument("--upstream", action="append", help="try this vendor protocol alone (may be repeated)")
    arguments = parser.parse_args()
    chosen = {name: AGENTS[name] for name in arguments.agents or AGENTS}
    install(chosen)
    logs = PACKAGES / "logs"
    logs.mkdir(exist_ok=True)
    failed = 0
    for name, agent in chosen.items():
        for upstream in agent.upstreams:
            if agent.protocol not in SERVED or upstream not in PROTOCOLS:
                print(f"{name:18} {version(agent):10} {upstream:20} skipped: not served yet", flush=True)  # noqa: T201
                continue
            if arguments.upstream and upstream not in arguments.upstream:
                continue
            log = logs / f"{name}-{upstream}.log"
            outcome = attempt(agent, upstream, log)
            failed += not outcome.passed
            told = "passed" if outcome.passed else f"FAILED: {outcome.detail} (see {log})"
            print(f"{name:18} {version(agent):10} {upstream:20} {outcome.requests:2} requests  {told}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
