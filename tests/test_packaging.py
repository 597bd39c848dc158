"""What leaves the repository: the wheel, the image, the versions."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from asgi_llmgw import __version__
from asgi_llmgw.components.endpoints import EndpointsMiddleware
from asgi_llmgw.components.health import HealthApp
from asgi_llmgw.components.operations import OperationsApp
from asgi_llmgw.json import as_list, loads
from tests.servers import background, uvicorn_server

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "asgi_llmgw"
BUILD_TOOLS = re.compile(r"\b(?:build-essential|gcc|g\+\+|make|apt-get|apk|pip|hatchling|git|curl)\b")


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built with what is installed, so that no network is needed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """F221"""
    told = f"asgi_llmgw-{__version__}.dist-info/"
    shipped = {name for name in wheel.namelist() if not name.startswith(told)}
    here = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert shipped == here
    assert "asgi_llmgw/py.typed" in shipped


def test_nothing_in_the_wheel_runs_when_python_starts(wheel: zipfile.ZipFile) -> None:
    """F221: no .pth, no scripts beside the one entry point."""
    names = wheel.namelist()
    assert [name for name in names if name.endswith(".pth") or ".data/" in name] == []
    entry_points = wheel.read(f"asgi_llmgw-{__version__}.dist-info/entry_points.txt").decode()
    assert entry_points.split() == ["[console_scripts]", "asgi-llmgw", "=", "asgi_llmgw.cli:main"]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"asgi_llmgw-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def stages() -> list[list[str]]:
    """The instructions of the Dockerfile, stage by stage; comments left out, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


def instructions(name: str) -> list[str]:
    """The arguments of one instruction in the last stage."""
    return [line.partition(" ")[2].strip() for line in stages()[-1] if line.partition(" ")[0] == name]


def test_the_image_is_built_in_stages_on_a_slim_python() -> None:
    assert len(stages()) == 2
    assert all(re.match(r"FROM python:3\.\d+-slim\b", stage[0]) for stage in stages())


def test_the_last_stage_runs_without_rights() -> None:
    (user,) = instructions("USER")
    assert user not in ("root", "0")
    assert stages()[-1].index(f"USER {user}") < next(
        number for number, line in enumerate(stages()[-1]) if line.startswith("ENTRYPOINT")
    )


def test_the_last_stage_has_no_build_tools_and_takes_the_environment_alone() -> None:
    assert [line for line in instructions("RUN") if BUILD_TOOLS.search(line)] == []
    (copied,) = instructions("COPY")
    assert copied.startswith("--from=build ")


def test_the_image_checks_its_health_without_further_programs() -> None:
    (check,) = instructions("HEALTHCHECK")
    _, _, command = check.partition("CMD ")
    program, option, script = strings(command)
    assert (program, option) == ("python", "-c")
    compile(script, "HEALTHCHECK", "exec")
    assert "/health" in script


def strings(text: str) -> list[str]:
    """The words of an instruction in its JSON form."""
    return [word for word in as_list(loads(text)) if isinstance(word, str)]


def test_the_image_serves_on_all_addresses_at_the_documented_port() -> None:
    (entry,) = instructions("ENTRYPOINT")
    assert strings(entry) == ["asgi-llmgw", "serve", "--host", "0.0.0.0"]
    assert instructions("EXPOSE") == ["8080"]


def test_everything_the_image_is_built_from_is_let_in_and_nothing_else() -> None:
    """What is not copied is not sent to the builder either."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        word.removeprefix("./") for line in stages()[0] if line.startswith("COPY ") for word in line.split()[1:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in let_in)
    assert [name for name in let_in if fnmatchcase(name, "test*")] == []


def test_what_the_build_reads_is_in_the_image_of_the_build() -> None:
    """The wheel cannot be built without its readme and its licence."""
    data = project()
    first = " ".join(line for line in stages()[0] if line.startswith("COPY "))
    assert str(data["readme"]) in first
    assert str(data["license-files"]).strip("[]'") in first


def healthy(port: int) -> bool:
    """What the image's health check says of a gateway on this port."""
    (check,) = instructions("HEALTHCHECK")
    script = strings(check.partition("CMD ")[2])[2]
    told = subprocess.run(
        [sys.executable, "-c", script], env={"LLMGW_SERVER__PORT": str(port)}, capture_output=True, check=False
    )
    return told.returncode == 0


def test_the_health_check_tells_a_gateway_that_lives_from_none() -> None:
    with background() as running:
        url = running.enter(uvicorn_server(EndpointsMiddleware(OperationsApp({"health": HealthApp()}))))
        assert healthy(int(url.rpartition(":")[2]))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not healthy(taken.getsockname()[1])


def test_the_health_check_takes_an_answer_that_is_no_success_for_none() -> None:
    with background() as running:
        url = running.enter(uvicorn_server(EndpointsMiddleware(OperationsApp({}))))
        assert not healthy(int(url.rpartition(":")[2]))
