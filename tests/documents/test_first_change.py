"""The page "your first change" is followed, step by step, on a copy of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/first-change.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def apply(patch: str, root: Path) -> str:
    """Put a block's `+` lines where its other lines stand, each place once; the file's name."""
    header, *places = re.split(r"^@@\n", patch, flags=re.M)
    name = header.splitlines()[1].removeprefix("+++ b/")
    path = root / name
    text = path.read_text("utf-8")
    for place in places:
        lines = place.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] != "+")
        new = "".join(line[1:] for line in lines if line[0] != "-")
        old, new = (old or "\n"), (new or "\n")
        where = re.findall(rf"^[ \t]*{re.escape(old.lstrip(' '))}", text, re.M)
        assert len(where) == 1, f"{name} has this {len(where)} times, not once:\n{old}"
        text = text.replace(where[0], where[0].replace(old, new))
    path.write_text(text, "utf-8")
    return name


def run(command: str, root: Path) -> "subprocess.CompletedProcess[str]":
    """A command of the page, with this interpreter; the long ones in short."""
    words = [sys.executable, *command.split()[1:]]
    if "test_lifetimes" in command:
        words[-1] += " and memory"
    else:
        words.append("--collect-only")
    return subprocess.run(
        words,
        cwd=root,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_first_change_works_as_it_is_told(tmp_path: Path) -> None:
    for folder in ("src", "tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path / file)
    blocks = [(match[1], match[2]) for match in FENCE.finditer(PAGE)]
    patches = [text for language, text in blocks if language == "diff"]
    test, door = (
        line
        for language, text in blocks
        if language == "bash"
        for line in text.splitlines()
        if "pytest" in line
    )

    changed = [apply(patches[0], tmp_path)]
    failed = run(test, tmp_path)
    assert failed.returncode == 1
    assert "Policy has no field 'min_ttl'" in failed.stdout
    changed.append(apply(patches[1], tmp_path))
    done = run(test, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "KeyError: 'min_ttl'" in run(door, tmp_path).stdout
    changed += [apply(patch, tmp_path) for patch in patches[2:]]
    assert run(door, tmp_path).returncode == 0

    assert sorted(changed) == sorted(re.findall(r"^\+\+\+ b/(.*)", PAGE, re.M))
    python = [name for name in changed if name.endswith(".py")]
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", *python], cwd=tmp_path, check=True)
    subprocess.run([*ruff, "format", "--check", *python], cwd=tmp_path, check=True)


@pytest.mark.parametrize("page", ["docs/first-change.md", "ARCHITECTURE.md"])
def test_the_way_that_a_page_shows_is_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    (way,) = [text for language, text in FENCE.findall(text) if language == "text"]
    named = re.findall(r"[a-z_]+(?:/[a-z_]+)+\.py", way)
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / "src/cascada" / path).is_file()]
    elsewhere = re.findall(r"`((?:src/cascada/)?[a-z_]+(?:/[a-z_]+)+\.py)`", text)
    roots = (ROOT, ROOT / "src/cascada")
    assert not [path for path in elsewhere if not any((root / path).is_file() for root in roots)]
