"""Every page passes a strict type checker, as a reader's editor would show it."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.documents.blocks import blocks
from tests.documents.test_documents import DOCUMENTS, ROOT

ALONE = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


# The rest is as in `make check`: what it has read, of others too, is then read from its cache.
SETTINGS = '# mypy: disable-error-code="top-level-await, no-any-return"\n'


def waits(statement: ast.stmt) -> bool:
    """Whether an `async with` or `async for` stands in it, outside of a function of its own."""
    if isinstance(statement, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef):
        return False
    found = ast.walk(statement)
    return any(
        isinstance(each, ast.AsyncWith | ast.AsyncFor)
        or (isinstance(each, ast.comprehension) and each.is_async)
        for each in found
    )


def module_of(document: Path) -> str:
    """The blocks of a page as one module; what waits outside of a function stands in one.

    mypy takes a bare `await` (as a notebook has it), but no bare `async with` or `async for`.
    """
    source = "\n".join(
        block.source for block in blocks(document.read_text("utf-8")) if block.not_run is None
    )
    lines = source.splitlines()
    for number, each in reversed(list(enumerate(compile(source, "page", "exec", ALONE).body))):
        if waits(each):
            inside = [f"    {line}" for line in lines[each.lineno - 1 : each.end_lineno]]
            start = f"async def part_{number}() -> None:"
            lines[each.lineno - 1 : each.end_lineno] = [start, *inside]
    return "\n".join([*lines, ""])


def test_every_page_passes_a_strict_type_checker(tmp_path: Path) -> None:
    modules = []
    for document in DOCUMENTS:
        if text := module_of(document).strip():
            name = document.relative_to(ROOT).with_suffix("").as_posix()
            modules.append(tmp_path / f"{name.replace('/', '_').replace('-', '_')}.py")
            modules[-1].write_text(SETTINGS + text, "utf-8")
    assert len(modules) > 20
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.replace(f"{tmp_path}/", "")
