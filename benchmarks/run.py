"""`make bench`: every script in turn, and of all their rows one table (Markdown, JSON) and a plot.

Each script runs in a process of its own, so that none finds what another has left behind. What is
written names the machine by its kind alone. `--quick` is for tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from _plot import plot
from _rows import HEADING, Row
from _taken import pretty, sentence, taken

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
INTO: Final = ROOT / "docs" / "benchmarks"

SCRIPTS: Final = {
    "l1": "A hit in memory",
    "sizes": "Bytes in memory",
    "fills": "Misses, sets and loads in memory alone",
    "l2": "A hit in Redis",
    "sqlite": "A hit in SQLite",
    "encryption": "A value of 1 KB encrypted",
    "embeddings": "1000 embeddings, 800 of them cached",
    "stampede": "A stampede: 500 callers, a loader of 50 ms",
    "by_hand": "The pattern that people write by hand",
    "invalidation": "Invalidating 100 values",
    "many": "A thousand set and deleted at once",
    "cascades": "The cascade of an agent with 100,000 cached messages",
    "loop": "The longest block of the event loop by one call of 10,000 keys",
    "sync_rows": "Changed rows that a sync writes, beside an upsert by hand",
    "startup": "Start-up",
    "route": "A route of the example service",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds, for tests")
    parser.add_argument("--into", type=Path, default=INTO, help="the folder that is written")
    parser.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    options = parser.parse_args()
    sections = []
    for number, name in enumerate(options.only, 1):
        began = time.perf_counter()
        print(f"bench: {number} of {len(options.only)}, {name}", end="", flush=True)
        rows = rows_of(name, quick=options.quick)
        sections.append({"script": name, "title": SCRIPTS[name], "rows": rows})
        missed = sum(row.verdict == "missed" for row in rows)
        spent = time.perf_counter() - began
        print(f": {len(rows)} rows, {missed} over their reach, {spent:.0f} s", flush=True)
    told = {"taken": taken(quick=options.quick), "sections": sections}
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "benchmarks.json").write_bytes(pretty(told))
    (options.into / "README.md").write_text(markdown(told), "utf-8")
    plot(sections, options.into / "benchmarks.png")
    print(f"bench: wrote {options.into.name}/README.md, benchmarks.json and benchmarks.png")
    return 0


def rows_of(script: str, *, quick: bool) -> list[Row]:
    """The rows of one script; what it prints is for whoever runs it alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{script}.py"), "--json", str(path)]
        done = subprocess.run(
            [*command, *(["--quick"] if quick else [])], capture_output=True, text=True, check=False
        )
        if not path.exists():
            sys.stderr.write(done.stdout + done.stderr)
            raise SystemExit(f"bench: {script} has failed")
        return msgspec.json.decode(path.read_bytes(), type=list[Row])


def shown(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the page: what a figure took is in the JSON beside it; `〃` is "of the same".

    What others are a ratio to says nothing by itself, and is left out.
    """
    before = ""
    for row in rows:
        if row.unit == "x" and row.value == 1 and row.reach is None and "BASE" not in row.name:
            continue
        name, figure, against, reach, verdict, _ = row.cells()
        same = "〃" if against and against == before else against
        yield name, figure, same, f"{reach} ✓" if verdict == "reached" else reach
        before = against


def markdown(told: dict[str, Any]) -> str:
    """The one table, a part of it for each script."""
    parts = [
        "# Benchmarks\n",
        "Written by `make bench`; do not edit. Medians, measured by turns in one process: "
        "what counts are the ratios (the times are in `benchmarks.json`). `of` says what a ratio "
        "is to, `reach` what cascada is held to (✓: reached). Each part is a script of its own.\n",
        f"{sentence(told['taken'])}\n",
        "![Figures that have a reach, as a share of it](benchmarks.png)\n",
    ]
    for section in told["sections"]:
        parts.append(f"## {section['title']}\n")
        parts.append(f"`python benchmarks/{section['script']}.py`\n")
        rows = [HEADING[:4], *shown(section["rows"])]
        lines = ["| " + " | ".join(cells) + " |" for cells in rows]
        lines.insert(1, "|" + "---|" * 4)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
