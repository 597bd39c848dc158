"""The command line: `asgi-llmgw serve | check | translate | conformance | vendors | hash-key`."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asgi_llmgw import __version__
from asgi_llmgw.components.auth import hash_key
from asgi_llmgw.config import Config, load_config
from asgi_llmgw.config.load import CONFIG_VARIABLE
from asgi_llmgw.errors import ConfigError, GatewayError
from asgi_llmgw.ir import Diagnostic
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols import PROTOCOLS, SPOKEN
from asgi_llmgw.providers.table import vendor_table, with_vendor_table
from asgi_llmgw.routing.routes import Route
from asgi_llmgw.serve import serve
from asgi_llmgw.translate import StreamTranslator, translate_request, translate_response

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2

_CHUNK: Final = 64 * 1024
_EXAMPLES: Final = """\
examples:
  asgi-llmgw serve                                  the vendors whose keys are in the environment, or a demo
  asgi-llmgw serve --config gateway.toml --port 9000
  asgi-llmgw check --config gateway.toml            is this file all right, and what does it mean?
  asgi-llmgw hash-key --generate                    a new key for a client, and what to write for it
  asgi-llmgw translate --from openai_chat --to anthropic_messages < request.json
  curl -sN https://… | asgi-llmgw translate --from anthropic_messages --to openai_chat --stream
  asgi-llmgw conformance                            does this gateway tell its clients the truth?
  asgi-llmgw conformance --base-url http://127.0.0.1:4000 --api-key KEY     does another one?
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return is the exit code: 0, 1 (it failed), 2 (it cannot be used like this)."""
    arguments = _parser().parse_args(argv)
    try:
        match arguments.command:
            case "serve":
                return _serve(arguments)
            case "check":
                return _check(arguments)
            case "translate":
                return _translate(arguments)
            case "conformance":
                return _conformance(arguments)
            case "vendors":
                return _vendors(arguments)
            case _:
                return _hash_key(arguments)
    except GatewayError as error:
        return _fail(error.message, FAILED)
    except BrokenPipeError:
        # whoever read our output has enough; without this the interpreter complains while it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asgi-llmgw",
        description="An LLM gateway: one key and one base URL for every vendor.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"asgi-llmgw {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="run the gateway"))
    check = commands.add_parser("check", help="say whether a configuration can be used, and what it means")
    check.add_argument("--config", metavar="FILE", help=f"a TOML file (default: ${CONFIG_VARIABLE}, or none)")
    _add_translate(commands.add_parser("translate", help="turn a request or an answer into another protocol's"))
    _add_conformance(commands.add_parser("conformance", help="check what a gateway makes of what vendors send"))
    vendors = commands.add_parser("vendors", help="print the vendors of the catalog and what they do, as a table")
    vendors.add_argument("--write", metavar="FILE", help="put it into a Markdown file, between its two marks")
    hashing = commands.add_parser("hash-key", help="make the hash of a client's key, read from standard input")
    hashing.add_argument("--generate", action="store_true", help="make a new key and print it too")
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"a TOML file (default: ${CONFIG_VARIABLE}, or none)")
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", help="the port to listen on (default: 8080)")
    parser.add_argument("--workers", help="worker processes (default: 1)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error", "critical"))
    parser.add_argument("--server", choices=("uvicorn", "hypercorn"), default="uvicorn")


def _add_translate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads standard input and writes standard output; what gets lost goes to standard error, a line each. "
        "Requests go from the client's protocol to the vendor's, answers from the vendor's to the client's."
    )
    parser.add_argument("--from", dest="source", required=True, choices=SPOKEN, help="what is read")
    parser.add_argument("--to", dest="target", required=True, choices=SPOKEN, help="what is written")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--request", action="store_true", help="a client's request (the default)")
    kind.add_argument("--response", action="store_true", help="a vendor's answer")
    parser.add_argument("--stream", action="store_true", help="a vendor's answer as an event stream, while it comes")
    parser.add_argument("--model", help="the model name to write")
    parser.add_argument("--path", default="", help="the request's URL path, where it holds the model (Gemini)")


def _add_conformance(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Plays the vendors behind a gateway, byte by byte, and reads as a client what the gateway makes of it. The "
        "gateway needs a model for each protocol, whose vendor is this command; --print-config shows how. Without "
        "--base-url this gateway is started and checked."
    )
    parser.add_argument("--base-url", default="", metavar="URL", help="the gateway to check, without a version")
    parser.add_argument("--api-key", default="none", metavar="KEY", help="what the gateway takes for a client's key")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the vendor listens (default: 127.0.0.1:9100)")
    parser.add_argument("--client", action="append", choices=PROTOCOLS, help="clients of these protocols alone")
    parser.add_argument("--upstream", action="append", choices=PROTOCOLS, help="vendors of these protocols alone")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="these cases alone")
    parser.add_argument(
        "--model-prefix",
        metavar="TEMPLATE",
        help="the models' names; {protocol} stands for the vendor's (default: conformance-{protocol})",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the results as one JSON object")
    output.add_argument("--print-config", action="store_true", help="print a configuration of this gateway, and end")


def _serve(arguments: argparse.Namespace) -> int:
    overrides = {
        f"LLMGW_SERVER__{name.upper()}": value
        for name in ("host", "port", "workers", "log_level")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.config is not None:
        overrides[CONFIG_VARIABLE] = arguments.config
    try:
        config = load_config(environ={**os.environ, **overrides})
    except ConfigError as error:
        return _fail(error.message, UNUSABLE)
    os.environ.update(overrides)  # worker processes load the configuration by themselves, and all of them again
    return serve(config, server=arguments.server)


def _check(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    print(describe(config), end="")
    for warning in config.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    return OK


def describe(config: Config) -> str:
    """What a configuration means, without its secrets."""
    lines = [f"listens on {config.server.host}, port {config.server.port}", "providers:"]
    for name, provider in config.providers_by_name().items():
        keys = len(provider.api_keys)
        credentials = "no key" if keys == 0 else "1 key" if keys == 1 else f"{keys} keys"
        lines.append(f"  {name}: {', '.join(provider.protocols)} at {provider.base_url}, {credentials}")
    table = config.route_table()
    lines.append("models:")
    lines += [
        f"  {route.name} -> {_targets(route)}" for route in {route.name: route for route in table.routes}.values()
    ]
    other = table.match("")
    if other is not None:
        lines.append(f"  every other name is taken for {other.name}")
    lines.append("keys:")
    for key in config.keys:
        until = f", until {key.expires}" if key.expires else ""
        lines.append(f"  {key.name}: {', '.join(key.models)}{until}")
    limits = config.limit_table().described()
    if limits:
        lines.append("limits:")
        lines += [f"  {text}" for text in limits]
    return "\n".join(lines) + "\n"


def _targets(route: Route) -> str:
    return ", ".join(f"{target.provider}/{target.model}" for target in route.targets)


def _translate(arguments: argparse.Namespace) -> int:
    if arguments.stream:
        if arguments.request:
            return _fail("--stream is about a vendor's answer: leave --request out", UNUSABLE)
        return _translate_stream(arguments)
    body = sys.stdin.buffer.read()
    source, target, model = arguments.source, arguments.target, arguments.model
    if arguments.response:
        translated = translate_response(body, source=source, target=target, model=model)
    else:
        translated = translate_request(body, source=source, target=target, model=model, path=arguments.path)
        print(f"path: {translated.path}", file=sys.stderr)
    _write(translated.body + b"\n")
    _tell(translated.diagnostics)
    return OK


def _translate_stream(arguments: argparse.Namespace) -> int:
    stream = StreamTranslator(
        source=arguments.source, target=arguments.target, model=arguments.model, include_usage=True
    )
    # gives what has come, where a file's read would wait for a whole chunk
    while chunk := os.read(sys.stdin.fileno(), _CHUNK):
        _write(stream.feed(chunk))
    _write(stream.close())
    _tell(stream.diagnostics)
    return OK if stream.fault is None else _fail(stream.fault.message, FAILED)


def _conformance(arguments: argparse.Namespace) -> int:
    # what a checker needs is not loaded for the other commands
    import asyncio

    from asgi_llmgw.conformance.command import LISTEN, cases_named, check_gateway, config_text
    from asgi_llmgw.conformance.run import MODELS, Selection
    from asgi_llmgw.conformance.table import failed, summary, table

    models = arguments.model_prefix or MODELS
    # our own gateway is told where the vendor is, so that any free port will do
    listen = arguments.listen or (LISTEN if arguments.base_url or arguments.print_config else "127.0.0.1:0")
    if arguments.print_config:
        print(config_text(f"http://{listen}", models=models), end="")
        return OK
    try:
        selection = Selection(
            base_url=arguments.base_url,
            api_key=arguments.api_key,
            models=models,
            clients=arguments.client or PROTOCOLS,
            upstreams=arguments.upstream or PROTOCOLS,
            cases=cases_named(arguments.case),
        )
        results = asyncio.run(check_gateway(selection, listen=listen))
    except ConfigError as error:
        return _fail(error.message, UNUSABLE)
    if arguments.json:
        _write(dumps(summary(results)) + b"\n")
    else:
        print(table(results), end="")
    return FAILED if failed(results) else OK


def _vendors(arguments: argparse.Namespace) -> int:
    if arguments.write is None:
        print(vendor_table(), end="")
        return OK
    path = Path(arguments.write)
    try:
        path.write_text(with_vendor_table(path.read_text(encoding="utf-8")), encoding="utf-8")
    except OSError as error:
        return _fail(f"{path} cannot be written: {error.strerror}", FAILED)
    return OK


def _hash_key(arguments: argparse.Namespace) -> int:
    if arguments.generate:
        key = f"llmgw-{secrets.token_urlsafe(32)}"
        print(f"key:  {key}\nhash: {hash_key(key)}")
        return OK
    key = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        return _fail("there is no key on standard input; --generate makes one", FAILED)
    print(hash_key(key))
    return OK


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _tell(diagnostics: Sequence[Diagnostic]) -> None:
    for found in diagnostics:
        detail = f": {found.detail}" if found.detail else ""
        print(f"{found.severity}: {found.code} {found.path}{detail}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"asgi-llmgw: {message}", file=sys.stderr)
    return code
