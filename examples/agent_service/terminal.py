"""What the demo shows: with rich on a terminal, in plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

Rows = Sequence[Sequence[str]]
"""A label, and a cell for each column."""

_TOLD: Final = 4  # how often a race is told of in plain lines
_ALARM: Final = "WRONG"
console: Final = Console(highlight=False)


@dataclass(slots=True)
class Node:
    """A line of a tree, and what hangs below it."""

    text: str
    below: list[Node] = field(default_factory=list)


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    if console.is_terminal:
        console.rule(f"[bold]{text}", align="left")
    else:
        say(f"\n{text}")


@contextmanager
def race(columns: Sequence[str], total: int) -> Iterator[Callable[[int, Rows], None]]:
    """Counters side by side; call what it yields with how much is done, and the rows."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            yield lambda done, rows: live.update(
                Group(_table(columns, rows), ProgressBar(total, done, width=60))
            )
        return
    told = 0

    def tell(done: int, rows: Rows) -> None:
        nonlocal told
        if done * _TOLD // total > told:
            told = done * _TOLD // total
            say(f"{done * 100 // total} % of {total} steps")
            table(columns, rows)

    yield tell


def table(columns: Sequence[str], rows: Rows) -> None:
    if console.is_terminal:
        console.print(_table(columns, rows))
        return
    lines = [["", *columns], *rows]
    widths = [max(len(line[at]) for line in lines if at < len(line)) for at in range(len(lines[0]))]
    for label, *cells in lines:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False))
        say(f"  {label.ljust(widths[0])}  {'  '.join(aligned)}".rstrip())


def tree(root: Node) -> None:
    if console.is_terminal:
        console.print(_grown(Tree(Text(root.text)), root))
        return
    for depth, text in _flat(root, 0):
        say(f"  {'   ' * depth}{'- ' if depth else ''}{text}")


def _table(columns: Sequence[str], rows: Rows) -> Table:
    shown = Table("", box=None, padding=(0, 2))
    for name in columns:
        shown.add_column(name, justify="right", min_width=len(name))
    for label, *cells in rows:
        alarm = label.startswith(_ALARM)
        figures = [_coloured(cell) if alarm else Text(cell) for cell in cells]
        shown.add_row(label, *figures, style="bold" if alarm else "")
    return shown


def _coloured(cell: str) -> Text:
    return Text(cell, style="green" if cell in ("0", "") else "red")


def _grown(shown: Tree, node: Node) -> Tree:
    for each in node.below:
        _grown(shown.add(Text(each.text)), each)
    return shown


def _flat(node: Node, depth: int) -> Iterator[tuple[int, str]]:
    yield depth, node.text
    for each in node.below:
        yield from _flat(each, depth + 1)
