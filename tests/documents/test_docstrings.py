"""Examples in docstrings are documents: whoever pastes one gets what it says."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NAMED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
A_LINE_OF_CODE = re.compile(r"^(?:async |await |from \w|import \w|class \w|def |with |@\w)|\w+ = ")


def examples() -> Iterator[tuple[str, str]]:
    """Where each indented block stands that has a line of Python in it, and its text."""
    for path in sorted(ROOT.glob("src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, NAMED) or (text := ast.get_docstring(node)) is None:
                continue
            for block in re.findall(r"(?:^|\n\n)((?:    .*(?:\n|$)|\n)+)", text):
                code = textwrap.dedent(block).strip()
                if any(A_LINE_OF_CODE.match(line) for line in code.splitlines()):
                    where = f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}"
                    yield where.rstrip(":"), code


EXAMPLES = dict(examples())


@pytest.mark.parametrize("where", EXAMPLES)
async def test_it_runs_as_it_is_pasted(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program: dict[str, Any] = {"__name__": "example"}
    code = compile(EXAMPLES[where], where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    if inspect.CO_COROUTINE & code.co_flags:
        await eval(code, program)
    else:
        exec(code, program)


def test_a_contract_that_is_pasted_tests_something() -> None:
    """pytest runs each of its tests; here it is one of each class, on a loop of its own."""
    ran = []
    for code in EXAMPLES.values():
        if "class Test" not in code:
            continue
        program: dict[str, Any] = {"__name__": "example"}
        exec(code, program)
        (made,) = [each() for name, each in program.items() if name.startswith("Test")]
        for name in [name for name in dir(made) if name.startswith("test_")][:3]:
            getattr(made, name)()
            ran.append(name)
    assert len(ran) == 6


def test_there_are_examples() -> None:
    files = {where.partition(":")[0] for where in EXAMPLES}
    assert {f"src/cascada/testing/{each}.py" for each in ("nodes", "flaky", "contract")} <= files
