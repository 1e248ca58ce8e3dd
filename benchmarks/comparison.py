"""docs/comparison.md, made of what `make bench` and `make rivals` have written.

`--check` writes nothing: the exit status says whether the page is what the figures give.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from _rows import number
from _taken import ROOT, sentence

PAGE: Final = ROOT / "docs" / "comparison.md"
FOLDER: Final = ROOT / "docs" / "benchmarks"
RIVALS: Final = "python benchmarks/rivals.py"
NOT_MEASURED: Final = "-"

Cells = Mapping[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    bench, rivals = (json.loads((FOLDER / f"{each}.json").read_text("utf-8"))
                     for each in ("benchmarks", "rivals"))  # fmt: skip
    page = render(bench, rivals)
    if options.check:
        return int(PAGE.read_text("utf-8") != page)
    PAGE.write_text(page, "utf-8")
    print("wrote docs/comparison.md")
    return 0


def render(bench: Mapping[str, Any], rivals: Mapping[str, Any]) -> str:
    """The whole page."""
    names = [each["name"] for each in rivals["rivals"]]
    configured = [f"- {each['name']}: {each['configured']}." for each in rivals["rivals"]]
    return "\n".join(
        [
            "# cascada beside other libraries",
            "",
            "Made by `make rivals`; do not edit. Every library is used as its documents advise, "
            "on one Redis:",
            "",
            *configured,
            "",
            "## Old data",
            "",
            "Four processes read, load and change twenty rows: the row is written, then the cache "
            "is told. A read is OLD if it began after an invalidation had returned, and gave what "
            "that had ended; LATE if this was more than 0.55 s ago (what cascada promises of its "
            "memory when it is cut off), or made by the reading process itself. A row stays old if "
            "it still is when nothing has moved for four seconds (counted for each process): then "
            "it is until it expires. With kills: processes are killed and stopped, and Redis "
            "closes connections.",
            "",
            table(names, OLD, [each_row(rivals, row) for row in OLD]),
            "",
            "## Many callers, other tenants",
            "",
            "Keys are built as the documents of each library build them, `doc:{tenant}:{id}`; who "
            "escapes the parts of a key by hand is safe. Tenants are named `acme` and `acme:eu`.",
            "",
            table(names, SHARED, [shared_row(bench, rivals, row) for row in SHARED]),
            "",
            "## Time",
            "",
            "CPU time of the calling thread; where a library keeps nothing in it, there is "
            "no hit. More is in [benchmarks](benchmarks/README.md).",
            "",
            table(names, TIMES, [times_row(bench, row) for row in TIMES]),
            "",
            f"Old data and tenants: {sentence(rivals['taken'])}",
            "",
            f"Time: {sentence(bench['taken'])}",
            "",
        ]
    )  # fmt: skip


def table(names: Sequence[str], rows: Sequence[Any], cells: Sequence[Cells]) -> str:
    """Libraries are columns; the last one is the command that a figure comes from."""
    lines = ["| | " + " | ".join(names) + " | command |", "|" + "---|" * (len(names) + 2)]
    for row, found in zip(rows, cells, strict=True):
        values = (found.get(name, NOT_MEASURED) for name in names)
        lines.append(f"| {row[0]} | " + " | ".join(values) + f" | `{row[-1]}` |")
    return "\n".join(lines)


# --- old data ---------------------------------------------------------------------------------


def per_thousand(attack: Mapping[str, Any], what: str) -> str:
    return number(1000 * attack[what] / max(1, attack["reads"]))


def seconds(attack: Mapping[str, Any]) -> str:
    return f"{attack['oldest']:.2f} s" if attack["old"] else "none"


Attacked = Callable[[Mapping[str, Any]], str]

OLD: Final[Sequence[tuple[str, str, Attacked, str]]] = (
    ("late reads, of 1000", "races", lambda each: per_thousand(each, "late"), RIVALS),
    ("old reads, of 1000", "races", lambda each: per_thousand(each, "old"), RIVALS),
    ("the oldest answer", "races", seconds, RIVALS),
    ("rows that stay old", "races", lambda each: f"{each['permanent']}", RIVALS),
    ("with kills: late reads, of 1000", "kills", lambda each: per_thousand(each, "late"), RIVALS),
    ("with kills: the oldest answer", "kills", seconds, RIVALS),
    ("with kills: rows that stay old", "kills", lambda each: f"{each['permanent']}", RIVALS),
    ("with kills: errors that callers saw, of 1000 reads", "kills",
     lambda each: per_thousand(each, "errors"), RIVALS),
    ("reads that were judged", "kills", lambda each: f"{each['reads']:,}", RIVALS),
)  # fmt: skip


def each_row(rivals: Mapping[str, Any], row: tuple[str, str, Attacked, str]) -> Cells:
    _, which, tell, _ = row
    return {each["name"]: tell(each[which]) for each in rivals["rivals"]}


# --- many callers, other tenants ----------------------------------------------------------------

STAMPEDE: Final = "python benchmarks/stampede.py"
LOCKED: Final = "cashews: @cache(lock=True)"

SHARED: Final[Sequence[tuple[str, str | Mapping[str, str], str]]] = (
    ("loader calls for 500 callers of one process", "loads_of_500", RIVALS),
    ("loader calls for 500 callers of four processes", {
        "cascada": "cascada: load: loader calls in four processes",
        "cashews": f"{LOCKED}: loader calls in four processes",
        "aiocache": "aiocache: @cached_stampede: loader calls in four processes",
    }, STAMPEDE),
    ("callers left without a value when the first is cancelled", {
        "cascada": "cascada: load: harmed by a cancelled caller",
        "cashews": "cashews: @cache: harmed by a cancelled caller",
        "aiocache": "aiocache: @cached_stampede: harmed by a cancelled caller",
    }, STAMPEDE),
    ("another tenant's answers, of 100 reads", "foreign_of_100", RIVALS),
)  # fmt: skip


def shared_row(
    bench: Mapping[str, Any],
    rivals: Mapping[str, Any],
    row: tuple[str, str | Mapping[str, str], str],
) -> Cells:
    _, what, _ = row
    if isinstance(what, str):
        return {each["name"]: number(each[what]) for each in rivals["rivals"]}
    rows = rows_of(bench, "stampede")
    # A quick run leaves the slow ones out.
    return {name: number(rows[of]["value"]) for name, of in what.items() if of in rows}


# --- time ---------------------------------------------------------------------------------------

TIMES: Final[Sequence[tuple[str, str, Mapping[str, str], str]]] = (
    ("a hit in the process", "l1", {
        "cascada": "cascada: acme.get(type, id)",
        "cashews": "cashews: get",
        "aiocache": "aiocache: get, timeout=0",
    }, "python benchmarks/l1.py"),
    ("a hit in the process, told by Redis when it changes", "l2", {
        "cascada": "cascada, client-side: a lone get",
        "cashews, client side": "cashews, client-side: a lone get",
        "valkey-glide": "valkey-glide, client-side: a lone get",
    }, "python benchmarks/l2.py"),
    ("a get from Redis at 64 workers", "l2", {
        "cascada": "cascada: 64 workers",
        "cashews": "cashews: 64 workers",
        "aiocache": "aiocache: 64 workers",
        "valkey-glide": "valkey-glide: 64 workers",
        "redis-py": "redis-py: 64 workers",
    }, "python benchmarks/l2.py"),
)  # fmt: skip


def times_row(bench: Mapping[str, Any], row: tuple[str, str, Mapping[str, str], str]) -> Cells:
    _, script, what, _ = row
    rows = rows_of(bench, script)
    return {name: rows[of]["took"] for name, of in what.items()}


def rows_of(bench: Mapping[str, Any], script: str) -> dict[str, Any]:
    section = next(each for each in bench["sections"] if each["script"] == script)
    return {row["name"]: row for row in section["rows"]}


if __name__ == "__main__":
    sys.exit(main())
