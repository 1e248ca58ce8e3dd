"""A user's first minutes: the wheel alone, in a new environment, runs README's first lines."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.documents.blocks import blocks

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # hatchling itself, from the lock: no isolated build that would fetch it again.
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and its core dependencies only."""
    home = tmp_path_factory.mktemp("user") / "env"
    python = home / "bin" / "python"
    if importlib.util.find_spec("pip"):
        run(sys.executable, "-m", "venv", "--without-pip", home, cwd=ROOT)
        install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
        run(*install, "--no-compile", wheel, cwd=home)
    else:  # .venv was made by uv
        uv = shutil.which("uv")
        assert uv, "needs pip or uv"
        run(uv, "venv", "--quiet", "--python", sys.executable, home, cwd=ROOT)
        run(uv, "pip", "install", "--quiet", "--python", python, wheel, cwd=home)
    return python


def test_the_index_shows_a_readme_whose_links_lead_somewhere(wheel: Path) -> None:
    """A relative link is dead there."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    assert "one load per key, `explain` (docs/cache-aside.md)" in metadata
    assert "![" not in metadata
    assert not re.findall(r"\]\((?!https?://|#)[^)]*\)", metadata)


def test_every_extra_installs_what_the_package_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    source = "".join(path.read_text("utf-8") for path in ROOT.glob("src/cascada/**/*.py"))
    for name, asked in project["optional-dependencies"].items():
        if name in ("all", "example"):  # others' names; a program of its own
            continue
        modules = [Requirement(each).name.replace("-", "_") for each in asked]
        for module in modules:
            assert re.search(rf"\b{module}\b", source), f"the extra {name} installs {module}"
    own = sorted(project["optional-dependencies"].keys() - {"all", "example"})
    assert project["optional-dependencies"]["all"] == [f"cascada[{','.join(own)}]"]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "cascada/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cascada", next(top for top in tops if top.endswith(".dist-info"))}
    source = {
        path.relative_to(ROOT / "src").as_posix() for path in ROOT.glob("src/cascada/**/*.py")
    }
    assert source == {name for name in names if name.endswith(".py")}


def test_readme_s_first_lines_run_on_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    first = blocks((ROOT / "README.md").read_text("utf-8"))[0]
    assert first.not_run is None
    assert first.expected, "README's first block shows what it prints"
    runner = ROOT / "tests/documents/blocks.py"
    # -I: neither this folder nor PYTHONPATH, so that only the environment can provide cascada.
    report = run(python, "-I", "-W", "error", runner, ROOT / "README.md", "1", cwd=tmp_path)
    (outcome,) = json.loads(report)
    assert outcome["error"] is None, outcome["error"]
    assert outcome["printed"] == first.expected


def test_every_public_name_is_there_without_an_extra(python: Path, tmp_path: Path) -> None:
    program = "import cascada\nfor name in cascada.__all__: print(getattr(cascada, name))"
    assert "Cache" in run(python, "-I", "-W", "error", "-c", program, cwd=tmp_path)


def test_the_command_is_there_and_says_what_it_needs(python: Path, tmp_path: Path) -> None:
    command = python.with_name("cascada")
    version = run(command, "--version", cwd=tmp_path)
    assert version.startswith("cascada ")
    assert run(python, "-m", "cascada", "--version", cwd=tmp_path) == version
    assert run(python, "-m", "cascada", "--help", cwd=tmp_path) == run(
        command, "--help", cwd=tmp_path
    )
    sick = subprocess.run(
        [python, "-m", "cascada", "doctor", "--redis", "redis://localhost"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (sick.returncode, sick.stderr) == (2, "")
    assert "hiredis is not installed" in sick.stdout
    said = subprocess.run(
        [command, "report", "-"],
        input="",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "cascada: `cascada report` needs prometheus-client; run `pip install cascada[prometheus]`\n"
    )
