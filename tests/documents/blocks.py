"""The Python blocks of a Markdown document: found, and run in order as one program.

Promise: what a reader would get by typing the blocks one after the other, in one event loop, is
what comes out. Standard library only, since the wheel's test runs this file in an environment that
holds nothing but the wheel.
"""

import ast
import asyncio
import contextlib
import contextvars
import inspect
import io
import json
import re
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

FENCE = re.compile(r"^ *(`{3,})\s*(\S*)")
NOT_RUN = re.compile(r"<!--\s*not run\b:?\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Fence:
    """One fenced block of any language."""

    language: str
    line: int
    """The number of the first line within the fence."""
    text: str
    before: str
    """The last line of prose between the fence before and this one; empty when there is none."""


@dataclass(frozen=True)
class Block:
    """One Python block, with what the document says about it."""

    line: int
    source: str
    expected: str | None
    """The text block that directly follows: exactly what the block prints."""
    not_run: str | None
    """The reason in a `<!-- not run: reason -->` directly before; empty when it gives none."""


@dataclass(frozen=True)
class Outcome:
    """What one block printed, and the traceback it ended with, if any."""

    line: int
    printed: str
    error: str | None


def fences(text: str) -> Iterator[Fence]:
    before = ""
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            before = line.strip() or before
            continue
        indent = len(line) - len(line.lstrip(" "))
        body = []
        for _, inner in lines:
            if re.fullmatch(rf"{opening[1]}`*", inner.strip()):
                break
            body.append(inner[min(indent, len(inner) - len(inner.lstrip(" "))) :])
        else:
            raise ValueError(f"line {number}: this fence is never closed")
        yield Fence(opening[2], number + 1, "".join(f"{row}\n" for row in body), before)
        before = ""


def blocks(text: str) -> list[Block]:
    found = list(fences(text))
    result = []
    for fence, after in zip_longest(found, found[1:]):
        if fence.language != "python":
            continue
        shows = after is not None and after.language == "text" and not after.before
        mark = NOT_RUN.fullmatch(fence.before)
        result.append(
            Block(
                line=fence.line,
                source=fence.text,
                expected=after.text if after is not None and shows else None,
                not_run=mark[1] if mark else None,
            )
        )
    return result


def run(path: Path, chosen: Sequence[Block]) -> list[Outcome]:
    """Run the blocks in this process, up to the first that raises."""
    # Blocks are the main program: a class of theirs must find its names in sys.modules["__main__"].
    program = types.ModuleType("__main__")
    sys.modules["__main__"] = program
    # One context for all, so that a context variable set in one block is set in the next.
    context = contextvars.copy_context()
    outcomes: list[Outcome] = []
    with asyncio.Runner() as runner:
        for block in chosen:
            printed = io.StringIO()
            error = None
            try:
                with contextlib.redirect_stdout(printed):
                    _execute(path, block, program, runner, context)
            except Exception:  # noqa: BLE001 - whatever a document raises is what the test reports
                error = traceback.format_exc()
            outcomes.append(Outcome(block.line, printed.getvalue(), error))
            if error:
                break
    return outcomes


def _execute(
    path: Path,
    block: Block,
    program: types.ModuleType,
    runner: asyncio.Runner,
    context: contextvars.Context,
) -> None:
    code = compile(
        "\n" * (block.line - 1) + block.source,  # so that a traceback names the document's own line
        str(path),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(types.FunctionType(code, program.__dict__)(), context=context)
    else:
        # Outside the loop: such a block may call asyncio.run itself.
        context.run(exec, code, program.__dict__)


def main() -> None:
    """`python blocks.py DOCUMENT [COUNT]`: run the first blocks, report as JSON."""
    path = Path(sys.argv[1])
    wanted = [block for block in blocks(path.read_text("utf-8")) if block.not_run is None]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else len(wanted)
    outcomes = run(path, wanted[:count])
    json.dump([vars(outcome) for outcome in outcomes], sys.stdout)


if __name__ == "__main__":
    main()
