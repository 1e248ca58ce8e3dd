"""The rules of the house that a machine can hold: sizes, layers, the lock, the commands."""

import ast
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = {name: (ROOT / f"requirements/{name}.txt").read_text("utf-8") for name in ("demo", "dev")}
"""What the demo needs; and that with all that tests, checks and benchmarks need."""

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

LONGEST = 400
MEDIAN = 150
TARGETS = [
    "venv",
    "demo",
    "serve",
    "test",
    "check",
    "bench",
    "rivals",
    "chaos",
    "busy",
    "docs",
    "help",
]


def kept(*patterns: str) -> list[Path]:
    """Files that are tracked, or will be: what git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_no_file_has_more_lines_than_one_subject_needs() -> None:
    files = kept("*.py")
    assert ROOT / "src/cascada/model/clock.py" in files
    assert not {str(path.relative_to(ROOT)): n for path in files if (n := lines(path)) > LONGEST}


def test_the_median_module_fits_on_a_few_screens() -> None:
    sizes = [lines(path) for path in kept("src/*.py") if path.name != "__init__.py"]
    assert statistics.median(sizes) <= MEDIAN


def test_a_module_lies_in_a_layer_and_is_named_for_its_subject() -> None:
    modules = [path.relative_to(ROOT / "src/cascada") for path in kept("src/*.py")]
    assert not [str(module) for module in modules if len(module.parts) > 3], (
        "layer/part/file.py, not deeper"
    )
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
    assert not [str(module) for module in modules if module.stem in vague]


def contracts(kind: str) -> list[dict[str, Any]]:
    return [c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == kind]


def test_the_layer_contract_has_no_holes() -> None:
    (layers,) = contracts("layers")
    assert layers["exhaustive"] is True
    assert layers["containers"] == ["cascada"]
    assert contracts("acyclic_siblings")
    holes = {"ignore_imports", "exhaustive_ignores", "skip_descendants", "allow_indirect_imports"}
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        assert not holes & contract.keys()
    # An import under TYPE_CHECKING is an import: the two modules are read together.
    assert not PROJECT["tool"]["importlinter"].get("exclude_type_checking_imports")


def pins(lock: str) -> dict[tuple[str, str], set[str]]:
    """The hashes of each version of a package that a lock holds."""
    found = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n\s.*)*)", LOCKS[lock], re.M)
    return {
        (canonicalize_name(name), version): set(re.findall(r"--hash=(sha256:\w+)", rest))
        for name, version, rest in found
    }


def asked(*, demo: bool) -> list[Requirement]:
    """What the project says that it needs: all of it, or what the demo does."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    chosen = ["redis", "example"] if demo else [*extras]
    for extra in chosen:
        texts += extras[extra]
    for group in ["build", "demo"] if demo else groups:
        texts += [item for item in groups[group] if isinstance(item, str)]
    requirements = list(map(Requirement, texts))
    within = {extra for each in requirements if each.name == "cascada" for extra in each.extras}
    requirements += [Requirement(text) for extra in within for text in extras[extra]]
    return [each for each in requirements if each.name != "cascada"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_hashes_every_pin(lock: str) -> None:
    assert "://" not in LOCKS[lock]
    blocks = re.split(r"^(?=\S)", LOCKS[lock], flags=re.M)[1:]
    assert len(blocks) > 30
    # Every line that is not indented is a pin with its hashes: no option such as --find-links.
    unhashed = [pin for pin in blocks if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", pin, re.S)]
    assert not unhashed
    assert len(pins(lock)) == len(blocks)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_asks_for(lock: str) -> None:
    locked = dict(pins(lock))
    for requirement in asked(demo=lock == "demo"):
        versions = [v for name, v in locked if name == canonicalize_name(requirement.name)]
        assert versions, f"{requirement}: refresh the lock (CONTRIBUTING.md)"
        assert all(map(requirement.specifier.contains, versions)), str(requirement)


def test_the_locks_agree() -> None:
    """`make test` adds one to the other: no package changes, none is fetched twice."""
    every = pins("dev")
    assert {pin: every.get(pin) for pin in pins("demo")} == pins("demo")


def test_the_demo_installs_no_test_tools() -> None:
    heavy = {canonicalize_name(each.name) for each in asked(demo=False)}
    heavy -= {canonicalize_name(each.name) for each in asked(demo=True)}
    # Extras of the core are light, and the demo's packages may need one themselves.
    extras = PROJECT["project"]["optional-dependencies"].values()
    heavy -= {canonicalize_name(Requirement(text).name) for extra in extras for text in extra}
    assert {"pytest", "langchain-tests", "openai", "matplotlib", "aiocache"} <= heavy
    assert not heavy & {name for name, _ in pins("demo")}


def test_nothing_kept_names_a_machine() -> None:
    # Where this checkout, its interpreter and its user are, whatever it is called here.
    here = {ROOT.parent, Path(sys.prefix).parent, Path(sys.base_prefix).parent, Path.home()}
    folders = {re.escape(str(each)) for each in here if each not in (Path("/"), Path("/usr"))}
    folders |= {"/opt", "/root", "/Users", r"/home/\w+", r"/tmp/\w+"}
    path_of_a_machine = re.compile(
        rf"(?<![\w.])(?:{'|'.join(sorted(folders))})/|\.\./\.\w|-{5}BEGIN".encode()
    )
    found = {
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in kept()
        if path != Path(__file__)
        for match in path_of_a_machine.finditer(path.read_bytes())
    }
    assert not found


OWN_PRIVATES = {
    "tests/api/test_cache_aside_callbacks.py": "a table of functions, which belongs to no cache",
    "tests/chaos/mutants.py": "a mutant replaces a private function: that is what it is",
    "tests/chaos/mutants_ahead.py": "as above",
    "tests/chaos/mutants_redis.py": "as above",
    "tests/chaos/mutants_sqlite.py": "as above",
    "tests/chaos/mutants_synced.py": "as above",
    "tests/examples/restart.py": "asyncio has no public way to time what a loop runs",
    "tests/examples/serving.py": "uvicorn has no public way to serve on a loop that runs",
    "tests/examples/test_isolation.py": "the example's own engine, to see its statements",
    "tests/examples/test_writes.py": "the example's own engine, to see its commits",
}
"""Tests that reach into private parts themselves, with the reason."""

PUBLIC = {"_replace", "_asdict", "_make", "_fields", "_exit"}
"""Names of the standard library that begin with an underscore for another reason."""


def reach_ins(path: Path) -> set[str]:
    """Private names of others that a file uses, as attributes or by `setattr` and the like."""
    used: set[str] = set()
    own: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                own.add(node.attr)
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                own.add(node.attr)
            case ast.AnnAssign(target=ast.Name(id=name)):  # of a class in this file
                own.add(name)
            case ast.Attribute():
                used.add(node.attr)
            case ast.Call(args=[ast.Constant(value=str(dotted)), *_]) if "." in dotted:
                used.add(dotted.rpartition(".")[2])
            case ast.Call(args=[_, ast.Constant(value=str(name)), *_]):
                used.add(name)
    return {name for name in used - own if re.fullmatch(r"_[a-z]\w*", name)} - PUBLIC


def test_private_parts_are_reached_by_one_door() -> None:
    """`cascada.testing.inside`: whoever moves a part changes that file and no test."""
    found = {
        name: reached for path in kept("tests/*.py")
        if (reached := reach_ins(path)) and (name := str(path.relative_to(ROOT)))
    }  # fmt: skip
    assert {name: found[name] for name in found.keys() - OWN_PRIVATES} == {}
    assert OWN_PRIVATES.keys() <= found.keys(), "an exception that is not needed any more goes"


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Within `make check` the outer make's flags would change what the inner one prints.
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_make_alone_lists_every_target() -> None:
    said = make()
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == make("help").stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert phony.split() == TARGETS
    assert [line.split()[1] for line in said.stdout.splitlines()] == TARGETS
    assert all(len(line.split()) > 3 for line in said.stdout.splitlines()), "each says what it does"


def test_ci_runs_what_a_person_runs() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text("utf-8").splitlines() if "make" in line]
    assert commands == ["exec make test"]


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("README.md", "```python"),
        ("ARCHITECTURE.md", "invalidat"),
        ("CONTRIBUTING.md", "lint-imports"),
        ("CHANGELOG.md", "## [Unreleased]"),
        ("LICENSE", "Version 2.0, January 2004"),
        ("src/cascada/py.typed", ""),
    ],
)
def test_what_a_newcomer_looks_for_is_there(name: str, holds: str) -> None:
    assert holds in (ROOT / name).read_text("utf-8")


def test_the_package_page_is_the_readme() -> None:
    # As the hook makes it: `test_wheel` looks at what comes out.
    assert PROJECT["project"]["dynamic"] == ["readme"]
    assert '"README.md"' in (ROOT / "hatch_build.py").read_text("utf-8")


def test_the_changelog_knows_the_version() -> None:
    version = PROJECT["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == "Unreleased"
    assert version in headings or len(headings) == 1, "after a release its heading stays"
