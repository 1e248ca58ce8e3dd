"""docs/comparison.md is what its figures give, and each of them says where it comes from."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_committed_figures_give() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "benchmarks/comparison.py", "--check"], check=False
    )
    assert said.returncode == 0, "make rivals, or python benchmarks/comparison.py, writes it anew"


def test_every_figure_names_a_command_that_is_there() -> None:
    page = (ROOT / "docs/comparison.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "|---" not in line]
    figures = [row for row in rows if not row.endswith("| command |")]
    assert len(figures) > 12
    for row in figures:
        command = re.search(r"\| `python (benchmarks/\w+\.py)` \|$", row)
        assert command is not None, row
        assert (ROOT / command[1]).is_file()


def test_it_tells_what_was_asked_for() -> None:
    page = (ROOT / "docs/comparison.md").read_text("utf-8")
    for figure in (
        "late reads", "with kills: rows that stay old", "500 callers of one process",
        "another tenant's answers", "a hit in the process", "at 64 workers",
    ):  # fmt: skip
        assert figure in page
    head = next(line for line in page.splitlines() if line.endswith("| command |"))
    for library in ("cascada", "cashews", "aiocache", "valkey-glide", "redis-py"):
        assert f"| {library} |" in head


def test_the_table_of_the_readme_is_taken_from_it() -> None:
    rows = [
        line
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if re.search(r"\| (`python benchmarks/\w+\.py`|command) \|$", line)
    ]
    assert len(rows) > 4
    assert not set(rows) - set((ROOT / "docs/comparison.md").read_text("utf-8").splitlines())
