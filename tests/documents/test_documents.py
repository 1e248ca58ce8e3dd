"""The documents tell the truth: their Python runs and prints what they show."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documents.blocks import NOT_RUN, Block, blocks, fences
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("blocks.py")
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROSE = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of(document: Path) -> list[Block]:
    return blocks(document.read_text("utf-8"))


def disagreements(document: Path, cwd: Path, redis: RedisServer | None = None) -> list[str]:
    """Run the document's blocks in a process of their own; say where they differ from the text."""
    left_out = ("CASCADA", "REDIS")
    environment = {
        key: value for key, value in os.environ.items() if not any(word in key for word in left_out)
    }
    if redis is not None and "REDIS_URL" in document.read_text("utf-8"):
        redis.flush()
        environment["REDIS_URL"] = redis.url
    done = subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(document)],
        cwd=cwd,
        env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        return [done.stderr]
    wanted = {block.line: block.expected for block in of(document)}
    found = []
    for outcome in json.loads(done.stdout):
        line, printed, expected = outcome["line"], outcome["printed"], wanted[outcome["line"]]
        if outcome["error"]:
            found.append(f"line {line} raises:\n{outcome['error']}")
        elif expected is not None and printed != expected:
            found.append(f"line {line} shows:\n{expected}but prints:\n{printed}")
    return found


@pytest.mark.parametrize("document", [page for page in DOCUMENTS if of(page)], ids=name)
def test_blocks_run_and_print_what_they_show(
    document: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    found = disagreements(document, tmp_path, redis_server)
    assert not found, "\n".join([name(document), *found])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_no_block_escapes_being_run(
    document: Path, record_property: Callable[[str, object], None]
) -> None:
    text = document.read_text("utf-8")
    other = {fence.language for fence in fences(text)} & {"py", "python3", "pycon", "Python"}
    assert not other, "call the language python, so that the block is run"
    marked = [block for block in blocks(text) if block.not_run is not None]
    assert all(block.not_run for block in marked), "say why: <!-- not run: reason -->"
    assert len(marked) == len(NOT_RUN.findall(text)), "a 'not run' that no Python block follows"
    for block in marked:
        record_property("not run", f"{name(document)}:{block.line} {block.not_run}")


def links(document: Path) -> set[tuple[Path, str]]:
    """The files that a document links to, each with the heading that is meant, if one is."""
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", document.read_text("utf-8"))
    local = [target for target in targets if "://" not in target and "mailto:" not in target]
    parts = [target.partition("#") for target in local]
    return {((document.parent / file if file else document).resolve(), at) for file, _, at in parts}


def headings(document: Path) -> set[str]:
    """The headings as a link names them: lower case, hyphens for spaces, no punctuation."""
    titles = re.findall(r"^#+ +(.+)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", PROSE, ids=name)
def test_links_lead_to_a_file_and_a_heading(document: Path) -> None:
    for target, heading in links(document):
        assert target.exists()
        assert not heading or heading in headings(target), f"{target} has no heading {heading!r}"


def test_readme_leads_to_every_page() -> None:
    listed = {target for target, _ in links(ROOT / "README.md")}
    pages = {page for page in DOCUMENTS[1:] if "decisions" not in page.parts}
    assert not {name(page) for page in pages - listed}


@pytest.mark.parametrize("document", PROSE, ids=name)
def test_commands_are_targets(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = set(re.findall(r"(?:`|^\s*\$? ?)make ([a-z]+)", document.read_text("utf-8"), re.M))
    assert named <= targets


def test_the_pages_can_be_read_in_a_day() -> None:
    """What people wrote for users, in English; figures are by programs, tables are looked up in."""
    apart = ("decisions", "es", "benchmarks")
    pages = [page for page in ROOT.glob("docs/**/*.md") if not set(apart) & set(page.parts)]
    read = [
        page
        for page in pages
        if page.name not in ("protocol.md", "comparison.md", "promises-of-the-documents.md")
    ]
    assert sum(len(page.read_text("utf-8").split()) for page in read) <= 17_600
